//! Nothing is allocated for a packet of a flow that is known and decided: counted, not believed.
#![allow(unsafe_code, clippy::indexing_slicing, clippy::unwrap_used)]

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::cell::Cell;

use spanaudit::capture::CaptureError;
use spanaudit::capture::Source;
use spanaudit::model::Input;
use spanaudit::model::InputId;
use spanaudit::model::LinkType;
use spanaudit::model::Packet;
use spanaudit::model::PacketRef;
use spanaudit::model::Timestamp;
use spanaudit::pipeline;

/// The system's allocator, counting the calls of each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came; the counter is a thread-local cell without destructor, which
// allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames one after the other, a millisecond apart.
struct Frames {
    frames: Vec<Vec<u8>>,
    next: usize,
}

impl Source for Frames {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.next += 1;
        Ok(self.next <= self.frames.len())
    }

    fn packet(&self) -> Packet<'_> {
        let bytes =
            self.next.checked_sub(1).and_then(|at| self.frames.get(at)).map_or(&[][..], Vec::as_slice);
        let time = Timestamp::from_nanos(self.next as i64 * 1_000_000);
        let at = PacketRef::new(time, InputId(0), self.next as u64);
        Packet { at, link: LinkType::ETHERNET, interface: 0, original: bytes.len() as u32, bytes }
    }

    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }
}

/// Calls of the allocator in a run over these frames.
fn allocations(frames: Vec<Vec<u8>>) -> u64 {
    let mut source = Frames { frames, next: 0 };
    let before = CALLS.get();
    let observed = pipeline::run(&mut source, &pipeline::Options::default(), &|_, _| ()).unwrap();
    let calls = CALLS.get() - before;
    assert!(observed.tally.adds_up());
    assert_eq!(observed.tally.in_flows as usize, source.frames.len(), "no packet is a duplicate");
    calls
}

fn ipv4(tag: Option<u16>, from: [u8; 4], to: [u8; 4], protocol: u8, number: usize, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, to[3], 2, 0, 0, 0, 0, from[3]];
    if let Some(tag) = tag {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + body.len() as u16).to_be_bytes());
    frame.extend((number as u16).to_be_bytes());
    frame.extend([0, 0, 64, protocol, 0, 0]);
    frame.extend(from);
    frame.extend(to);
    frame.extend(body);
    frame
}

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

/// A Modbus connection over a tagged port: handshake, then requests and responses.
fn modbus(exchanges: usize) -> Vec<Vec<u8>> {
    let (mut theirs, mut ours) = (900_u32, 100_u32);
    let mut frames = Vec::new();
    let mut send = |from_client: bool, flags: u8, payload: &[u8]| {
        let (from, to, source, target) =
            if from_client { (CLIENT, SERVER, 40_000_u16, 502_u16) } else { (SERVER, CLIENT, 502, 40_000) };
        let (sequence, acknowledgement) = if from_client { (ours, theirs) } else { (theirs, ours) };
        let mut body = Vec::new();
        body.extend(source.to_be_bytes());
        body.extend(target.to_be_bytes());
        body.extend(sequence.to_be_bytes());
        body.extend(if flags & 0x10 == 0 { [0; 4] } else { acknowledgement.to_be_bytes() });
        body.extend([0x50, flags, 0x40, 0, 0, 0, 0, 0]);
        body.extend(payload);
        frames.push(ipv4(Some(10), from, to, 6, frames.len() + 1, &body));
        let advance = payload.len() as u32 + u32::from(flags & 0x02 != 0);
        if from_client { ours += advance } else { theirs += advance }
    };
    send(true, 0x02, &[]);
    send(false, 0x12, &[]);
    send(true, 0x10, &[]);
    for number in 0..exchanges {
        let [high, low] = (number as u16).to_be_bytes();
        send(true, 0x18, &[high, low, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1]);
        send(false, 0x18, &[high, low, 0, 0, 0, 5, 1, 3, 2, 0, 7]);
        send(true, 0x10, &[]);
    }
    frames
}

/// Datagrams of no protocol at all, both ways.
fn datagrams(exchanges: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for number in 0..exchanges {
        for (from, to, source, target) in
            [(CLIENT, SERVER, 50_000_u16, 51_000_u16), (SERVER, CLIENT, 51_000, 50_000)]
        {
            let mut body = Vec::new();
            body.extend(source.to_be_bytes());
            body.extend(target.to_be_bytes());
            body.extend([0, 16, 0, 0, 0xf7, 0xe6, 0xd5, 0xc4]);
            body.extend((number as u32).to_be_bytes());
            frames.push(ipv4(None, from, to, 17, frames.len() + 1, &body));
        }
    }
    frames
}

/// Sampled values of one publisher, as far as their header goes (IEC 61850-9-2 section 8.5.2).
fn sampled_values(exchanges: usize) -> Vec<Vec<u8>> {
    let frame = |number: usize| {
        let mut frame = vec![1, 12, 205, 4, 0, 1, 2, 0, 0, 0, 0, 1, 0x88, 0xba, 0x40, 0, 0, 16, 0, 0, 0, 0];
        frame.extend((number as u64).to_be_bytes());
        frame
    };
    (0..2 * exchanges).map(frame).collect()
}

/// Datagrams of no protocol at all over IPv6, both ways.
fn datagrams_v6(exchanges: usize) -> Vec<Vec<u8>> {
    let frame = |number: usize| {
        let ends: [(u8, u16); 2] = [(1, 50_000), (2, 51_000)];
        let (from, to) = if number.is_multiple_of(2) { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
        let mut frame =
            vec![2, 0, 0, 0, 0, to.0, 2, 0, 0, 0, 0, from.0, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 17, 64];
        for (last, _) in [from, to] {
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend([0, 16, 0, 0, 0xf7, 0xe6, 0xd5, 0xc4]);
        frame.extend((number as u32).to_be_bytes());
        frame
    };
    (0..2 * exchanges).map(frame).collect()
}

#[test]
fn a_packet_of_a_known_flow_allocates_nothing() {
    type Frames = fn(usize) -> Vec<Vec<u8>>;
    let cases: [(&str, Frames); 4] = [
        ("modbus", modbus),
        ("datagrams", datagrams),
        ("datagrams of IPv6", datagrams_v6),
        ("sampled values", sampled_values),
    ];
    // What is set up once in a thread's life is not counted.
    allocations(modbus(10));
    for (name, make) in cases {
        let (short, long) = (allocations(make(500)), allocations(make(5_000)));
        assert_eq!(long, short, "{name}: {} packets more", make(5_000).len() - make(500).len());
        assert!(short > 0, "{name}: the counter counts");
    }
}
