//! Packets from an interface, by libpcap. The handle is opened for reading and nothing is ever sent on it.

mod opening;

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use pcap::Active;
use pcap::Capture;
use pcap::Error;

use crate::capture::fanout;
use crate::capture::socket;
use crate::capture::source::CaptureError;
use crate::capture::source::Polled;
use crate::capture::source::Source;
use crate::capture::wire::State;
use crate::capture::wire::Wire;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Stop;
use crate::model::Timestamp;

pub use opening::LiveOptions;
pub use opening::Stamps;

use opening::clocks;
use opening::explain;
use opening::link_of;
use opening::open_capture;

/// The pause after finding no packet. The ring bridges it, and the kernel's own timeout does not end a wait on Linux: with its
/// TPACKET_V3 ring a blocking read of a silent interface comes back never (pcap(3PCAP), "packet buffer timeout").
const PAUSE: Duration = Duration::from_millis(10);
/// Errors in a row that an interface may give while it is up: one comes when it goes down.
const MOST_ERRORS: u32 = 50;
/// After so many packets the kernel is asked again how many it lost.
const PACKETS_PER_LOOK: u64 = 4096;
/// The most packets handed on by one call.
const MOST_AT_ONCE: usize = 4096;

/// An interface that is listened to.
pub struct Live {
    capture: Capture<Active>,
    /// Each of several rings keeps another that shares with nobody: one that shares can't be bound to an interface again.
    spare: Option<Spare>,
    link: LinkType,
    /// The packet handed out by [`Source::poll`], copied out of the ring: it has to outlive the call that found it. Reused for each.
    bytes: Vec<u8>,
    at: PacketRef,
    original: u32,
    left: u64,
    /// The latest stamp's packet.
    last: PacketRef,
    options: LiveOptions,
    input: Input,
    lost: Losses,
    wire: Wire,
    /// Errors in a row.
    errors: u32,
}

/// The kernel's loss counters, which begin again after 2^32.
#[derive(Default)]
struct Losses {
    last: Option<(u32, u32)>,
    total: u64,
}

impl Losses {
    /// Takes the counters as they stand now; says how many were lost in all.
    fn add(&mut self, now: (u32, u32)) -> u64 {
        let (kernel, interface) = self.last.unwrap_or_default();
        // An interface that was taken out and put back counts from nothing: that looks like a step back, and is no loss.
        let at_interface = now.1.wrapping_sub(interface);
        let at_interface = if at_interface.cast_signed() < 0 { 0 } else { at_interface };
        self.total += u64::from(now.0.wrapping_sub(kernel)) + u64::from(at_interface);
        self.last = Some(now);
        self.total
    }

    /// From now on the counters are those of another ring.
    fn begin_anew(&mut self) {
        self.last = None;
    }
}

/// Listens to an interface.
pub fn open_live(options: &LiveOptions) -> Result<Live, CaptureError> {
    let capture = open_capture(options)?;
    let link = link_of(&capture);
    let spare = match options.ring {
        (_, rings) if rings > 1 && options.patient => Some(Spare::open(options)?),
        _ => None,
    };
    Ok(Live {
        capture,
        spare,
        link,
        bytes: Vec::new(),
        at: PacketRef::default(),
        original: 0,
        left: options.count.unwrap_or(u64::MAX),
        last: PacketRef::default(),
        options: options.clone(),
        input: Input { name: options.interface.clone(), format: "live".to_owned(), ..Input::default() },
        lost: Losses::default(),
        wire: Wire::of(&options.interface),
        errors: 0,
    })
}

/// A ring that stands by, while there were the rights to open it: a filter lets nothing in.
struct Spare {
    capture: Capture<Active>,
    used: bool,
}

/// The smallest ring, in bytes.
const LEAST_BUFFER: u32 = 1 << 20;
/// What no packet passes: the least there is of any is its link header.
const NOTHING: &str = "less 0";

impl Spare {
    fn open(options: &LiveOptions) -> Result<Self, CaptureError> {
        // All of them together are as large as one.
        let buffer = (options.buffer / options.ring.1.max(1)).max(LEAST_BUFFER);
        let filter = Some(NOTHING.to_owned());
        Ok(Self { capture: open_capture(&LiveOptions { filter, buffer, ..options.clone() })?, used: false })
    }

    /// Binds it to an interface, and lets in what the ring had before. A group can't be joined after the first time that its members are
    /// bound, so it is a filter of its own that leaves what is for other rings.
    fn take_over(&mut self, interface: u32, options: &LiveOptions) -> bool {
        // A pending error of the interface that went is told once or twice.
        for _ in 0..MOST_ERRORS {
            while self.capture.dispatch(Some(MOST_AT_ONCE), |_| ()).is_ok_and(|count| count > 0) {}
        }
        // Filters first: once it is bound, not one packet is to come in that is another ring's.
        let socket = self.capture.as_raw_fd();
        let (ring, rings) = options.ring;
        let asked = options.filter.as_deref().unwrap_or_default();
        self.capture.filter(asked, true).is_ok()
            && socket::filter_of(socket).is_ok_and(|asked| {
                let own = fanout::filter(options.shards, rings, ring, &asked);
                socket::set_filter(socket, &own).is_ok()
            })
            && socket::bind(socket, interface, options.promiscuous).is_ok()
    }
}

impl Live {
    /// The descriptor that packets come through.
    pub fn descriptor(&self) -> i32 {
        self.capture.as_raw_fd()
    }

    /// The descriptors of all its rings.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> {
        std::iter::once(&self.capture)
            .chain(self.spare.as_ref().map(|spare| &spare.capture))
            .map(AsRawFd::as_raw_fd)
    }

    /// What is listened to, in words, a line each.
    pub fn about(&self) -> Vec<String> {
        let LiveOptions { interface, filter, snaplen, buffer, promiscuous, .. } = &self.options;
        let state = match self.wire.state() {
            State::Up => "up",
            State::Down | State::Gone => "DOWN",
        };
        let filter = filter.as_ref().map_or("no filter".to_owned(), |filter| format!("filter '{filter}'"));
        let promiscuous = if *promiscuous { "" } else { "not " };
        let clocks: Vec<&str> = clocks(&self.capture).into_iter().map(Stamps::name).collect();
        let mut lines = vec![
            format!("{interface}: {state}, link type {}, {promiscuous}promiscuous, {filter}", self.link.0),
            format!("{interface}: {} MB ring, {snaplen} bytes a packet", buffer >> 20),
            format!(
                "{interface}: {} time stamps in nanoseconds (it has: {})",
                self.options.stamps.name(),
                clocks.join(", ")
            ),
        ];
        if self.wire.addresses() > 0 {
            lines.push(format!("{interface}: it has an IP address, so this machine itself may speak there"));
        }
        lines
    }

    /// Asks the kernel how many packets it lost.
    fn look_at_losses(&mut self) {
        if let Ok(stat) = self.capture.stats() {
            // What the interface lost is the same number for all its rings: the first one tells it.
            let at_interface = if self.options.ring.0 == 0 { stat.if_dropped } else { 0 };
            self.input.dropped = Some(self.lost.add((stat.dropped, at_interface)));
        }
    }

    /// Hands on packets where they lie in the ring, at most so many, without waiting for any.
    pub fn drain_now(&mut self, most: usize, take: &mut dyn FnMut(&Packet<'_>)) -> Polled {
        if self.left == 0 || self.options.stop.load(Ordering::Relaxed) {
            return self.end();
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(most).min(MOST_AT_ONCE);
        let Self { capture, input, last, link, options, .. } = self;
        let (ring, rings) = options.ring;
        let looked = input.packets / PACKETS_PER_LOOK;
        let done = capture.dispatch(Some(most), |packet| {
            let stamp = packet.header.ts;
            // With nanosecond precision the field for microseconds holds nanoseconds.
            #[allow(clippy::useless_conversion, reason = "the fields are narrower on 32-bit systems")]
            let nanos = i64::from(stamp.tv_sec)
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::from(stamp.tv_usec));
            let time = Timestamp::from_nanos(nanos);
            // Rings number their packets in turns, so that no two of one interface have the same number.
            let number = input.packets * u64::from(rings) + u64::from(ring) + 1;
            let held = packet.data.len() as u64;
            let original = packet.header.len.max(u32::try_from(held).unwrap_or(u32::MAX));
            input.time_reversals += u64::from(input.packets > 0 && time < last.time);
            input.packets += 1;
            input.bytes += held;
            input.cut_packets += u64::from(held < u64::from(original));
            input.first = Some(input.first.map_or(time, |first| first.min(time)));
            input.last = Some(input.last.map_or(time, |last| last.max(time)));
            *last = PacketRef::new(time, InputId(0), number);
            take(&Packet { at: *last, link: *link, interface: 0, original, bytes: packet.data });
        });
        match done {
            Ok(0) => {
                if self.wire.look() == State::Gone && self.options.patient {
                    self.reopen();
                }
                Polled::Idle
            }
            Ok(count) => {
                self.errors = 0;
                self.left -= count as u64;
                if self.input.packets / PACKETS_PER_LOOK != looked {
                    self.look_at_losses();
                }
                Polled::Packet
            }
            Err(error) => self.survive(&error),
        }
    }

    /// An error of the interface: waits for its return, or ends.
    fn survive(&mut self, error: &Error) -> Polled {
        self.errors += 1;
        let state = self.wire.look_now();
        // An interface that is up and gives errors all the time will not be cured by waiting. (Of one that has another name now libpcap says
        // that it is gone whenever nothing waits in its ring, and reads it all the same.)
        if self.options.patient && (state != State::Up || self.errors < MOST_ERRORS || self.wire.is_renamed())
        {
            if state == State::Gone {
                self.reopen();
            }
            return Polled::Idle;
        }
        let why = format!("the interface gave out: {}", explain(error, &self.input.name));
        let after = (self.last.number() > 0).then_some(self.last);
        self.input.stopped = Some(Stop { after, why });
        self.end()
    }

    /// Goes on with an interface of the same name, where there is one again: the socket is bound to it, which needs no rights.
    fn reopen(&mut self) {
        if !self.wire.may_reopen() {
            return;
        }
        self.look_at_losses();
        if self.wire.of_same_kind().is_some_and(|index| self.listen_to(index)) {
            self.wire.reopened();
            self.errors = 0;
        } else if !self.wire.may_wait() {
            // Most likely of another kind: whoever watches over this program is to start it anew.
            let why = "the interface is back, and can't be listened to again".to_owned();
            let after = (self.last.number() > 0).then_some(self.last);
            self.input.stopped = Some(Stop { after, why });
            self.left = 0;
        }
    }

    /// Listens to another interface.
    fn listen_to(&mut self, interface: u32) -> bool {
        if socket::bind(self.capture.as_raw_fd(), interface, self.options.promiscuous).is_ok() {
            return true;
        }
        let Some(spare) = &mut self.spare else { return false };
        if spare.used || !spare.take_over(interface, &self.options) {
            return false;
        }
        // The old one stays open, so that its descriptor, on which nothing may be sent, is nobody else's.
        std::mem::swap(&mut self.capture, &mut spare.capture);
        spare.used = true;
        self.lost.begin_anew();
        true
    }

    /// No packet any more.
    fn end(&mut self) -> Polled {
        self.look_at_losses();
        self.bytes.clear();
        self.original = 0;
        self.at = PacketRef::default();
        self.left = 0;
        Polled::End
    }
}

impl Source for Live {
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
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut original = 0;
        let polled = self.drain(1, &mut |packet| {
            bytes.clear();
            bytes.extend_from_slice(packet.bytes);
            original = packet.original;
        })?;
        if polled == Polled::Packet {
            (self.bytes, self.original, self.at) = (bytes, original, self.last);
        }
        Ok(polled)
    }

    fn drain(&mut self, most: usize, take: &mut dyn FnMut(&Packet<'_>)) -> Result<Polled, CaptureError> {
        let polled = self.drain_now(most, take);
        if polled == Polled::Idle {
            self.look_at_losses();
            thread::sleep(PAUSE);
        }
        Ok(polled)
    }

    #[inline]
    fn packet(&self) -> Packet<'_> {
        Packet { at: self.at, link: self.link, interface: 0, original: self.original, bytes: &self.bytes }
    }

    fn inputs(&self) -> Vec<Input> {
        vec![self.input.clone()]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let (name, times) = (&self.input.name, self.wire.outages());
        // All rings of an interface lose it together.
        let (ring, rings) = self.options.ring;
        if times > 0 && ring == 0 {
            notes.push(format!("{name} was down or away {times} times: what passed then was not seen"));
        }
        if ring == 0 && self.spare.as_ref().is_some_and(|spare| spare.used) {
            notes.push(format!(
                "{name} was taken out and put back: it comes through {rings} smaller rings since, until the watch is started anew"
            ));
        }
        notes
    }

    fn down(&self) -> Vec<String> {
        match self.wire.state() {
            State::Up => Vec::new(),
            State::Down | State::Gone => vec![self.input.name.clone()],
        }
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.input.bytes, None)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn losses_survive_the_counters_wrapping() {
        let mut lost = Losses::default();
        assert_eq!(lost.add((5, 1)), 6);
        assert_eq!(lost.add((u32::MAX, 1)), u64::from(u32::MAX) + 1);
        assert_eq!(lost.add((2, 1)), u64::from(u32::MAX) + 4);
        // Another interface of the same name begins anew.
        assert_eq!(lost.add((2, 0)), u64::from(u32::MAX) + 4);
        assert_eq!(lost.add((2, 3)), u64::from(u32::MAX) + 7);
    }

    #[test]
    fn an_unknown_interface_is_told() {
        let options = LiveOptions { interface: "no-such-if0".to_owned(), ..LiveOptions::default() };
        let Err(error) = open_live(&options) else { panic!("it opened") };
        assert!(error.to_string().starts_with("no-such-if0: "), "{error}");
    }

    /// The loopback interface, where this machine lets the test listen to it.
    #[allow(clippy::print_stdout, reason = "a test that does not run has to say so")]
    fn loopback(options: LiveOptions) -> Option<Live> {
        match open_live(&LiveOptions { interface: "lo".to_owned(), ..options }) {
            Ok(live) => Some(live),
            Err(error) => {
                println!("not tested: {error}");
                None
            }
        }
    }

    #[test]
    fn stops_when_told_to() {
        let stop = Arc::new(AtomicBool::new(false));
        let Some(mut live) = loopback(LiveOptions { stop: Arc::clone(&stop), ..LiveOptions::default() })
        else {
            return;
        };
        stop.store(true, Ordering::Relaxed);
        assert!(!live.advance().unwrap());
        assert!(live.packet().bytes.is_empty());
        assert!(live.inputs()[0].dropped.is_some());
    }

    #[test]
    fn hears_what_passes_the_filter() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let options = LiveOptions {
            filter: Some(format!("udp dst port {}", to.port())),
            snaplen: 60,
            count: Some(3),
            ..LiveOptions::default()
        };
        let Some(mut live) = loopback(options) else { return };
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut heard = Vec::new();
        // Idle ten seconds in all at most.
        for _ in 0..1000 {
            match live.poll().unwrap() {
                Polled::Packet => {
                    let packet = live.packet();
                    heard.push((packet.at.number(), packet.bytes.len(), packet.original));
                    assert!(packet.at.time.as_nanos() > 1_700_000_000_000_000_000, "{:?}", packet.at.time);
                }
                Polled::Idle => {
                    sender.send_to(&[7; 100], to).unwrap();
                }
                Polled::End => break,
            }
        }
        // Ethernet, IPv4 and UDP headers are 42 bytes.
        assert_eq!(heard, [(1, 60, 142), (2, 60, 142), (3, 60, 142)]);
        let input = &live.inputs()[0];
        assert_eq!((input.packets, input.cut_packets, input.dropped), (3, 3, Some(0)));
    }
}
