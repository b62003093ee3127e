//! Whether an interface is up, by what Linux says of it: by its number, so that a new name is no loss.

use std::time::Duration;
use std::time::Instant;

use nix::net::if_::if_indextoname;
use nix::net::if_::if_nametoindex;

/// Between two looks, and between two tries to open an interface that came back.
const PAUSE: Duration = Duration::from_millis(500);
/// How often an interface that is back may refuse to be opened before that is taken for good.
const MOST_REFUSALS: u32 = 20;

/// How it is with an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may carry packets.
    Up,
    /// Taken down, or unplugged.
    Down,
    /// Not there any more.
    Gone,
}

/// One interface.
#[derive(Debug)]
pub struct Wire {
    name: String,
    /// The kernel's number of it; `None` for `any`, which is always up.
    index: Option<u32>,
    /// Its kind, by which a frame's link type is told.
    kind: Option<String>,
    state: State,
    looked: Instant,
    tried: Option<Instant>,
    outages: u64,
    refusals: u32,
}

impl Wire {
    /// The interface of that name.
    pub fn of(name: &str) -> Self {
        let index = if_nametoindex(name).ok();
        let mut wire = Self {
            name: name.to_owned(),
            index,
            kind: kind_of(name),
            state: State::Up,
            looked: Instant::now(),
            tried: None,
            outages: 0,
            refusals: 0,
        };
        wire.look_now();
        wire
    }

    /// As last seen.
    pub fn state(&self) -> State {
        self.state
    }

    /// How many IP addresses it has: a port that only listens needs none.
    pub fn addresses(&self) -> usize {
        let Ok(all) = nix::ifaddrs::getifaddrs() else { return 0 };
        all.filter(|one| one.interface_name == self.name)
            .filter(|one| {
                one.address.is_some_and(|address| {
                    address.as_sockaddr_in().is_some() || address.as_sockaddr_in6().is_some()
                })
            })
            .count()
    }

    /// How often it went down or away.
    pub fn outages(&self) -> u64 {
        self.outages
    }

    /// Looks, unless it has just been done.
    pub fn look(&mut self) -> State {
        if self.looked.elapsed() >= PAUSE { self.look_now() } else { self.state }
    }

    /// Looks.
    pub fn look_now(&mut self) -> State {
        self.looked = Instant::now();
        let state = self.index.map_or(State::Up, state_of);
        self.outages += u64::from(self.state == State::Up && state != State::Up);
        self.state = state;
        state
    }

    /// Whether it is time to try to open it again; not at every call.
    pub fn may_reopen(&mut self) -> bool {
        if self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return false;
        }
        self.tried = Some(Instant::now());
        self.is_back()
    }

    /// Whether it has another name now.
    pub fn is_renamed(&self) -> bool {
        self.index.is_some_and(|index| name_of(index).is_some_and(|name| name != self.name))
    }

    /// Whether there is an interface of that name, be it another one.
    pub fn is_back(&self) -> bool {
        if_nametoindex(self.name.as_str()).is_ok()
    }

    /// The number of the interface that has the name now, if it is of the same kind.
    pub fn of_same_kind(&self) -> Option<u32> {
        let index = if_nametoindex(self.name.as_str()).ok()?;
        (kind_of(&self.name) == self.kind).then_some(index)
    }

    /// Counts a refusal; whether there may be more.
    pub fn may_wait(&mut self) -> bool {
        self.refusals += 1;
        self.refusals < MOST_REFUSALS
    }

    /// It was opened again.
    pub fn reopened(&mut self) {
        self.index = if_nametoindex(self.name.as_str()).ok();
        self.refusals = 0;
        self.look_now();
    }
}

/// Documentation/ABI/testing/sysfs-class-net: `type`, an ARPHRD number.
fn kind_of(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/sys/class/net/{name}/type")).ok().map(|kind| kind.trim().to_owned())
}

/// An index of no interface comes back as an empty name instead of an error (seen in nix 0.31).
fn name_of(index: u32) -> Option<String> {
    let name = if_indextoname(index).ok()?.into_string().ok()?;
    Some(name).filter(|name| !name.is_empty())
}

fn state_of(index: u32) -> State {
    let Some(name) = name_of(index) else {
        return State::Gone;
    };
    // Documentation/ABI/testing/sysfs-class-net: operstate in the words of RFC 2863. Where nobody tells, packets will.
    match std::fs::read_to_string(format!("/sys/class/net/{name}/operstate")) {
        Ok(word) if matches!(word.trim(), "down" | "lowerlayerdown" | "notpresent") => State::Down,
        _ => State::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_up_and_what_is_not_there_is_gone() {
        assert_eq!(Wire::of("lo").look_now(), State::Up);
        // The largest index that a kernel can give out: its indices are signed.
        assert_eq!(state_of(i32::MAX as u32), State::Gone);
        assert_eq!(Wire::of("any").look_now(), State::Up);
    }
}
