//! spanaudit: which documented flow is blocked, and which flow nobody documented, from a mirror port alone.
//!
//! Data runs one way: [`capture`] yields packets, [`decode`] reads their headers, [`flow`] keeps one state per flow,
//! [`classify`] proves what each flow is, [`audit`] holds the flows against [`rules`], [`report`] tells the result.
//! [`model`] is the vocabulary they share, [`threads`] how they divide their work.

pub mod model;

pub mod audit;
pub mod capture;
pub mod classify;
pub mod cli;
pub mod decode;
pub mod evidence;
pub mod explain;
pub mod flow;
pub mod pipeline;
pub mod report;
pub mod rules;
pub mod threads;
#[cfg(feature = "watch")]
pub mod watch;
