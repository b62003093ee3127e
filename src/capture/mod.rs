//! Bytes with their time: the only opener of captures. Files are told apart by content, never by name.

mod source;

pub use source::*;
