//! Several interfaces as one source, and interfaces that go down and come back.
//!
//! Two legs of a tap carry one conversation, each in rings of their own that hand packets over late and together. So what comes from
//! several is held back for a moment and handed on in the order of its time; what comes from one is handed on where it lies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use std::time::Instant;

use crate::capture::fanout;
use crate::capture::live::Live;
use crate::capture::live::LiveOptions;
use crate::capture::live::open_live;
use crate::capture::socket;
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
/// Packets taken from an interface before the others have their turn.
const TURN: usize = 64;
/// Buffers kept for packets to come.
const MOST_SPARE: usize = 4096;
/// The pause after finding nothing.
const PAUSE: Duration = Duration::from_millis(5);

/// Several interfaces.
pub struct LiveGroup {
    lives: Vec<Live>,
    held: BinaryHeap<Reverse<Held>>,
    /// The packet handed out, where it was held.
    current: Option<Held>,
    /// Buffers of packets handed on, for those to come.
    spare: Vec<Vec<u8>>,
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
    Ok(LiveGroup { lives, held: BinaryHeap::new(), current: None, spare: Vec::new() })
}

/// Listens to interfaces through so many rings each. The groups have a ring of every interface; in each are whole host pairs, as far as
/// the kernel can tell: `shards` is how many shards there are, of which ring `i` of `n` gets those that leave `i` when divided by `n`.
pub fn open_rings(options: &[LiveOptions], rings: u32, shards: u32) -> Result<Vec<LiveGroup>, CaptureError> {
    let rings = rings.max(1);
    if rings == 1 {
        return Ok(vec![open_all_live(options)?]);
    }
    let program = fanout::program(shards, rings);
    let mut groups: Vec<LiveGroup> = Vec::new();
    // All rings of an interface, one after the other: the program counts them in this order.
    for interface in options {
        let mut group = None;
        for ring in 0..rings {
            let live = open_live(&LiveOptions { ring: (ring, rings), shards, ..interface.clone() })?;
            let shared = socket::share(live.descriptor(), group, &program);
            group = Some(shared.map_err(|error| CaptureError::Live {
                interface: interface.interface.clone(),
                why: format!(
                    "{error}: its packets can't be spread over {rings} rings; --threads 1 needs one"
                ),
            })?);
            let place = ring as usize;
            if groups.len() <= place {
                groups.push(LiveGroup {
                    lives: Vec::new(),
                    held: BinaryHeap::new(),
                    current: None,
                    spare: Vec::new(),
                });
            }
            if let Some(group) = groups.get_mut(place) {
                group.lives.push(live);
            }
        }
    }
    Ok(groups)
}

impl LiveGroup {
    /// The descriptors that packets come through.
    pub fn descriptors(&self) -> Vec<i32> {
        self.lives.iter().flat_map(Live::descriptors).collect()
    }

    /// What is listened to, in words: its name, link type and state.
    pub fn about(&self) -> Vec<String> {
        self.lives.iter().flat_map(Live::about).collect()
    }

    /// Takes what is there from every interface and holds it. Says whether there was something, and whether all have ended.
    fn hold(&mut self) -> (bool, bool) {
        let Self { lives, held, spare, .. } = self;
        let (mut found, mut over) = (false, true);
        for (id, live) in (0..).zip(lives) {
            let polled = live.drain_now(TURN, &mut |packet| {
                let mut bytes = spare.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(packet.bytes);
                held.push(Reverse(Held {
                    at: packet.at.within(InputId(id)),
                    arrived: Instant::now(),
                    link: packet.link,
                    original: packet.original,
                    bytes,
                }));
            });
            found |= polled == Polled::Packet;
            over &= polled == Polled::End;
        }
        (found, over)
    }

    /// The earliest that has waited long enough.
    fn ripe(&mut self, over: bool) -> Option<Held> {
        let Reverse(first) = self.held.peek()?;
        let ripe = over || self.held.len() > MOST_HELD || first.arrived.elapsed() >= HOLD;
        if ripe { self.held.pop().map(|Reverse(held)| held) } else { None }
    }

    /// A packet's buffer serves again.
    fn recycle(&mut self, held: Held) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(held.bytes);
        }
    }
}

impl Held {
    fn packet(&self) -> Packet<'_> {
        Packet {
            at: self.at,
            link: self.link,
            interface: self.at.input().0,
            original: self.original,
            bytes: &self.bytes,
        }
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

    fn poll(&mut self) -> Result<Polled, CaptureError> {
        if let [live] = &mut *self.lives {
            return live.poll();
        }
        if let Some(held) = self.current.take() {
            self.recycle(held);
        }
        let (found, over) = self.hold();
        self.current = self.ripe(over);
        Ok(match self.current {
            Some(_) => Polled::Packet,
            None if over => Polled::End,
            None => {
                if !found {
                    std::thread::sleep(PAUSE);
                }
                Polled::Idle
            }
        })
    }

    fn drain(&mut self, most: usize, take: &mut dyn FnMut(&Packet<'_>)) -> Result<Polled, CaptureError> {
        if let [live] = &mut *self.lives {
            return live.drain(most, take);
        }
        let (found, over) = self.hold();
        let mut done = 0;
        while done < most
            && let Some(held) = self.ripe(over)
        {
            take(&held.packet());
            self.recycle(held);
            done += 1;
        }
        if done > 0 {
            return Ok(Polled::Packet);
        }
        if over {
            return Ok(Polled::End);
        }
        if !found {
            std::thread::sleep(PAUSE);
        }
        // Something came and nothing is ripe: neither a packet nor a pause.
        Ok(Polled::Idle)
    }

    #[inline]
    fn packet(&self) -> Packet<'_> {
        match (&self.current, self.lives.first()) {
            (Some(held), _) => held.packet(),
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
