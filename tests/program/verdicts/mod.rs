//! Scenarios built packet by packet, for each mechanism and each thing that looks like one: what the report says of them, over IPv4 and IPv6.
//!
//! No recording lies behind these: what happened is known because the scenario made it happen. A scenario is a function that takes a plant in
//! which all works, does one thing differently, and says what has to be told; whatever it does not speak of must not be told as trouble.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

mod blocked;
mod bytes;
mod datagrams;
mod failed;
mod hours;
mod machines;
mod names;
mod plant;
mod scene;
mod strange;
mod talk;
mod wire;
mod works;

use scene::Scene;

/// A scenario's name and how it is set.
pub type Scenario = (&'static str, fn(bool) -> Scene);

/// Plays scenarios over both address families and fails with every difference.
fn play(scenarios: &[Scenario]) {
    let mut wrong = Vec::new();
    for (name, set) in scenarios {
        for v6 in [false, true] {
            let family = if v6 { "IPv6" } else { "IPv4" };
            wrong.extend(set(v6).differences().into_iter().map(|line| format!("{name}, {family}: {line}")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_a_firewall_does() {
    play(blocked::ALL);
}

#[test]
fn what_the_target_does() {
    play(failed::ALL);
}

#[test]
fn what_only_looks_like_trouble() {
    play(works::ALL);
}

#[test]
fn datagrams() {
    play(datagrams::ALL);
}

#[test]
fn names_and_proxies() {
    play(names::ALL);
}

#[test]
fn machines_and_their_addresses() {
    play(machines::ALL);
}

#[test]
fn mirrors_and_undocumented_flows() {
    play(strange::ALL);
}
