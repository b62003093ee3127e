//! Several interfaces as one source, and interfaces that go down and come back.
//!
//! Two legs of a tap carry one conversation, each in rings of their own that hand packets over late and together. So what comes from
//! several is held back for a moment and handed on in the order of its time; what comes from one is handed on where it lies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use std::time::Instant;

use crate::capture::live::Live;
use crate::capture::live::LiveOptions;
use crate::capture::live::open_live;
use crate::capture::source::CaptureError;
use crate::capture::source::Polled;
use crate::capture::source::Source;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;

/// For how long a packet is held back: longer than a ring keeps one (50 ms) and a loop pauses.
const HOLD: Duration = Duration::from_millis(120);
/// The most packets held back; beyond it the earliest go on at once.
const MOST_HELD: usize = 65_536;

/// Several interfaces.
pub struct LiveGroup {
    lives: Vec<Live>,
    held: BinaryHeap<Reverse<Held>>,
    /// The packet handed out, where it was held.
    current: Option<Held>,
    /// The one that is polled next.
    next: usize,
}

/// A packet that waits for earlier ones of other interfaces.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    at: PacketRef,
    arrived: Instant,
    link: LinkType,
    original: u32,
    bytes: Vec<u8>,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Listens to interfaces, each an input of its own in the order given.
pub fn open_all_live(options: &[LiveOptions]) -> Result<LiveGroup, CaptureError> {
    let lives = options.iter().map(open_live).collect::<Result<Vec<_>, _>>()?;
    Ok(LiveGroup { lives, held: BinaryHeap::new(), current: None, next: 0 })
}

impl LiveGroup {
    /// The descriptors that packets come through.
    pub fn descriptors(&self) -> Vec<i32> {
        self.lives.iter().map(Live::descriptor).collect()
    }

    /// What is listened to, in words: its name, link type and state.
    pub fn about(&self) -> Vec<String> {
        self.lives.iter().map(Live::about).collect()
    }

    fn poll_one(&mut self) -> Result<Polled, CaptureError> {
        self.lives.first_mut().map_or(Ok(Polled::End), Source::poll)
    }

    /// Takes what is there from every interface, then hands on the earliest that has waited long enough.
    fn poll_several(&mut self) -> Result<Polled, CaptureError> {
        let count = self.lives.len();
        let mut ended = 0;
        let mut found = false;
        for step in 0..count {
            let index = (self.next + step) % count;
            let Some(live) = self.lives.get_mut(index) else { continue };
            match live.poll_now()? {
                Polled::Packet => {
                    let packet = live.packet();
                    let input = InputId(u32::try_from(index).unwrap_or(u32::MAX));
                    self.held.push(Reverse(Held {
                        at: packet.at.within(input),
                        arrived: Instant::now(),
                        link: packet.link,
                        original: packet.original,
                        bytes: packet.bytes.to_vec(),
                    }));
                    found = true;
                }
                Polled::Idle => {}
                Polled::End => ended += 1,
            }
        }
        self.next = (self.next + 1) % count.max(1);
        let over = ended == count;
        let ripe = self.held.len() > MOST_HELD
            || over
            || self.held.peek().is_some_and(|Reverse(held)| held.arrived.elapsed() >= HOLD);
        if ripe && let Some(Reverse(held)) = self.held.pop() {
            self.current = Some(held);
            return Ok(Polled::Packet);
        }
        if over {
            return Ok(Polled::End);
        }
        if !found {
            std::thread::sleep(Duration::from_millis(5));
            return Ok(Polled::Idle);
        }
        // Something came and nothing is ripe: neither a packet nor a pause.
        Ok(Polled::Idle)
    }
}

impl Source for LiveGroup {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        loop {
            match self.poll()? {
                Polled::Packet => return Ok(true),
                Polled::Idle => {}
                Polled::End => return Ok(false),
            }
        }
    }

    #[inline]
    fn poll(&mut self) -> Result<Polled, CaptureError> {
        if self.lives.len() == 1 { self.poll_one() } else { self.poll_several() }
    }

    #[inline]
    fn packet(&self) -> Packet<'_> {
        match (&self.current, self.lives.first()) {
            (Some(held), _) => Packet {
                at: held.at,
                link: held.link,
                interface: held.at.input().0,
                original: held.original,
                bytes: &held.bytes,
            },
            (None, Some(live)) => live.packet(),
            (None, None) => Packet {
                at: PacketRef::default(),
                link: LinkType::ETHERNET,
                interface: 0,
                original: 0,
                bytes: &[],
            },
        }
    }

    fn inputs(&self) -> Vec<Input> {
        self.lives.iter().flat_map(Source::inputs).collect()
    }

    fn notes(&self) -> Vec<String> {
        self.lives.iter().flat_map(Source::notes).collect()
    }

    fn down(&self) -> Vec<String> {
        self.lives.iter().flat_map(Source::down).collect()
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.lives.iter().map(|live| live.progress().0).sum(), None)
    }
}
