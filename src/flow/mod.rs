//! One state per flow: who opened it, how it went, and the first bytes of each direction.
//!
//! Knows decoded frames and the model, not what payload means: the caller keeps that in its own state beside each flow.

mod duplicate;
mod hot;
mod index;
mod key;
mod live;
mod lone;
mod opener;
mod outcome;
mod prefix;
mod record;
mod side;
mod slots;
mod table;
mod tcp;

pub use duplicate::*;
pub use hot::Sort;
pub use key::*;
pub use live::*;
pub use lone::Lone;
pub use outcome::is_unreachable;
pub use prefix::*;
pub use record::*;
pub use side::Side;
pub use table::*;
