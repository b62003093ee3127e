//! DESIGN's words as plain data. No bytes, no I/O, no serialisation: every other module speaks in these.

mod address;
mod conversation;
mod crossing;
mod fact;
mod few;
mod flow;
mod input;
mod lost;
mod name;
mod observed;
mod packet;
pub mod pair;
mod report;
mod sweep;
mod tally;
mod text;
mod time;
mod transport;
mod verdict;

pub use address::*;
pub use conversation::*;
pub use crossing::*;
pub use fact::*;
pub use few::*;
pub use flow::*;
pub use input::*;
pub use name::*;
pub use observed::*;
pub use packet::*;
pub use report::*;
pub use sweep::*;
pub use tally::*;
pub use text::*;
pub use time::*;
pub use transport::*;
pub use verdict::*;
