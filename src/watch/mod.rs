//! The audit that does not end: a mirror port listened to for months, told in events, metrics and reports.
//!
//! One thread reads packets and keeps the pipeline (`service`); now and then it hands a snapshot to the desk (`desk`), which audits
//! it and tells what changed since the last look (`tracker`, `mirror`). Outlets of events have threads and bounded queues of their own
//! (`sink`). What was told outlives the process in an embedded store (`store`). Nothing but the outlets sends anything.

mod archive;
mod board;
mod calls;
mod clock;
mod confine;
mod desk;
mod event;
mod exhibits;
mod http;
mod memory;
mod metrics;
mod mirror;
mod notify;
mod past;
mod resident;
mod rows;
mod service;
mod sink;
mod store;
mod syslog;
mod tracker;

#[cfg(test)]
mod tests;

pub use archive::Archive;
pub use board::Board;
pub use board::Figures;
pub use board::Look;
pub use clock::Clock;
pub use clock::Monotonic;
pub use confine::Needs;
pub use confine::confine;
pub use confine::drop_privileges;
pub use desk::Desk;
pub use desk::Hear;
pub use desk::Setup;
pub use desk::Word;
pub use event::Event;
pub use event::Level;
pub use http::Http;
pub use http::Listen;
pub use notify::Notifier;
pub use service::Around;
pub use service::Controls;
pub use service::Feed;
pub use service::Plan;
pub use service::watch;
pub use sink::Journal;
pub use sink::Outlet;
pub use sink::Sink;
pub use sink::Stdout;
pub use store::Store;
pub use syslog::Address;
pub use syslog::Syslog;
