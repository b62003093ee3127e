//! The program as a whole, from the recording or the command line to what is told.
//!
//! One program for all of these tests, so that the crate is linked once: twenty would take minutes and gigabytes.
//! `cargo test --test program cases` runs those of one file.

mod cases;
mod cli;
mod common;
mod coverage;
mod degradation;
mod evidence;
mod explain;
mod first_hour;
mod lookalikes;
mod noise;
mod require;
mod robust;
mod shuffled_ports;
mod tidy;
mod upgrades;
mod vantage;
mod verdicts;
