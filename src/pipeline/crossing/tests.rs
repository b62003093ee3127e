//! Recordings from both sides of a firewall, made byte by byte, read and joined.

use std::path::Path;

use crate::capture;
use crate::model::Crossing;
use crate::model::Lost;
use crate::model::Outcome;

use super::*;

const START: i64 = 1_795_166_043_000_000_000;
/// The other side's clock is this much ahead, in nanoseconds.
const AHEAD: i64 = 350_000_000;

/// One TCP packet on its way: milliseconds, ends, flags, sequence number, payload; and at which of the two sides it is seen.
struct Sent {
    millis: i64,
    from: (u8, u8, u16),
    to: (u8, u8, u16),
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
    payload: &'static [u8],
    inside: bool,
    outside: bool,
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

fn frame(sent: &Sent, ttl: u8, id: u16) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, ttl, 1, 0, 0, 0, 0, ttl, 2, 8, 0, 0x45, 0];
    frame.extend((40 + sent.payload.len() as u16).to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend([0x40, 0, ttl, 6, 0, 0, 10, 0, sent.from.0, sent.from.1, 10, 0, sent.to.0, sent.to.1]);
    frame.extend([sent.from.2, sent.to.2].map(u16::to_be_bytes).concat());
    frame.extend([sent.sequence, sent.acknowledgement].map(u32::to_be_bytes).concat());
    frame.extend([0x50, sent.flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(sent.payload);
    frame
}

fn recording(folder: &Path, name: &str, packets: &[(i64, Vec<u8>)]) -> std::path::PathBuf {
    let mut file = [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (nanos, packet) in packets {
        let length = packet.len() as u32;
        let (seconds, rest) = ((nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32);
        file.extend([seconds, rest, length, length].map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    let path = folder.join(name);
    std::fs::write(&path, file).unwrap();
    path
}

/// Records what was sent on both sides, reads both and joins them.
fn joined(sent: &[Sent]) -> Observed {
    let folder = tempfile::tempdir().unwrap();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (id, one) in (1..).zip(sent) {
        let time = START + one.millis * 1_000_000;
        if one.inside {
            inside.push((time, frame(one, 64, id)));
        }
        if one.outside {
            outside.push((time + AHEAD + 40_000, frame(one, 63, id)));
        }
    }
    let mut vantages = Vantages::default();
    for (name, packets) in [("inside", inside), ("outside", outside)] {
        let path = recording(folder.path(), name, &packets);
        let mut source = capture::open(&[path], &capture::Options::default()).unwrap();
        vantages.read(name, &mut source, &Options::default(), &|_, _| {}).unwrap();
    }
    vantages.join()
}

const CLIENT: (u8, u8) = (1, 10);
const SERVER: (u8, u8) = (2, 20);

fn request(millis: i64, port: u16, service: u16, flags: u8, sequence: u32, there: bool) -> Sent {
    Sent {
        millis,
        from: (CLIENT.0, CLIENT.1, port),
        to: (SERVER.0, SERVER.1, service),
        flags,
        sequence,
        acknowledgement: 0,
        payload: b"",
        inside: true,
        outside: there,
    }
}

fn answer(millis: i64, port: u16, service: u16, flags: u8, here: bool) -> Sent {
    Sent {
        millis,
        from: (SERVER.0, SERVER.1, service),
        to: (CLIENT.0, CLIENT.1, port),
        flags,
        sequence: 7_000,
        acknowledgement: 1_001,
        payload: b"",
        inside: here,
        outside: true,
    }
}

/// A connection on port 22 that is opened and seen at both sides, at the beginning and at the end.
fn through(at: i64, port: u16) -> Vec<Sent> {
    vec![
        request(at, port, 22, SYN, 1_000, true),
        answer(at + 1, port, 22, SYN | ACK, true),
        request(at + 2, port, 22, ACK, 1_001, true),
        Sent { payload: b"SSH-2.0-x\r\n", ..answer(at + 3, port, 22, ACK, true) },
        Sent { acknowledgement: 7_011, ..request(at + 4, port, 22, ACK, 1_001, true) },
    ]
}

fn only(observed: &Observed) -> &Crossing {
    assert_eq!(observed.crossings.len(), 1, "{:?}", observed.crossings);
    observed.crossings.values().next().unwrap()
}

fn with_through(middle: Vec<Sent>) -> Observed {
    let mut all = through(0, 40_000);
    all.extend(middle);
    all.extend(through(60_000, 40_001));
    joined(&all)
}

#[test]
fn a_flow_at_both_sides_counts_once_and_the_clocks_are_compared() {
    let observed = with_through(Vec::new());
    let conversation = observed.conversations.values().next().unwrap();
    assert_eq!((observed.conversations.len(), conversation.flows, conversation.packets), (1, 2, 10));
    assert_eq!(conversation.outcomes.get(&Outcome::Established), Some(&2));
    assert!(observed.crossings.is_empty());
    assert!(observed.tally.adds_up());
    let inputs: Vec<_> = observed.inputs.iter().map(|input| input.vantage.as_deref().unwrap()).collect();
    assert_eq!(inputs, ["inside", "outside"]);
    let note = observed.vantage.notes.join("\n");
    assert!(note.contains("350.040 ms ahead of") && note.contains("10 packets in common"), "{note}");
}

#[test]
fn a_syn_that_never_comes_out_is_told_with_its_packets() {
    let tries = [10_000, 11_000, 13_000].map(|at| request(at, 41_000, 5_672, SYN, 9_000, false));
    let observed = with_through(tries.into());
    let crossing = only(&observed);
    assert_eq!((crossing.lost, crossing.count), (Lost::Requests, 3));
    assert_eq!((crossing.from.as_str(), crossing.to.as_str()), ("inside", "outside"));
    assert_eq!((crossing.first.input().0, crossing.first.number(), crossing.last.number()), (0, 6, 8));
    let (here, there) = crossing.control.unwrap();
    assert_eq!((here.input().0, here.number(), there.input().0, there.number()), (0, 1, 1, 1));
    assert_eq!(crossing.doubt().is_none(), crossing.loss.is_some() || crossing.count >= 3);
}

#[test]
fn answers_that_never_come_back_are_told_from_the_other_side() {
    let mut middle: Vec<Sent> =
        [10_000, 11_000, 13_000].map(|at| request(at, 41_000, 443, SYN, 1_000, true)).into();
    middle.extend([10_001, 11_001, 13_001].map(|at| answer(at, 41_000, 443, SYN | ACK, false)));
    middle.sort_by_key(|sent| sent.millis);
    let observed = with_through(middle);
    let crossing = only(&observed);
    assert_eq!(
        (crossing.lost, crossing.from.as_str(), crossing.to.as_str()),
        (Lost::Answers, "outside", "inside")
    );
    assert_eq!((crossing.count, crossing.first.input().0), (3, 1));
}

#[test]
fn data_that_never_comes_out_after_an_opening_that_did() {
    let data = |at| Sent {
        payload: b"\x16\x03\x01\x00\x05hello",
        acknowledgement: 7_001,
        ..request(at, 41_000, 443, ACK, 1_001, false)
    };
    let observed = with_through(vec![
        request(10_000, 41_000, 443, SYN, 1_000, true),
        answer(10_001, 41_000, 443, SYN | ACK, true),
        Sent { acknowledgement: 7_001, ..request(10_002, 41_000, 443, ACK, 1_001, true) },
        data(10_003),
        data(10_303),
        data(10_903),
        data(12_103),
    ]);
    let crossing = only(&observed);
    assert_eq!((crossing.lost, crossing.count), (Lost::Data, 4));
    assert!(crossing.control.is_some());
}

#[test]
fn a_reset_made_on_the_way_answers_what_never_came_out() {
    let observed = with_through(vec![
        request(10_000, 41_000, 443, SYN, 1_000, false),
        Sent { outside: false, ..answer(10_001, 41_000, 443, RST | ACK, true) },
        request(11_000, 41_001, 443, SYN, 1_000, false),
        Sent { outside: false, ..answer(11_001, 41_001, 443, RST | ACK, true) },
    ]);
    assert_eq!(observed.crossings.len(), 2);
    assert!(observed.crossings.values().all(|crossing| crossing.lost == Lost::Requests));
}

/// What never leads past the other vantage is no loss: neighbours, ways that nothing was seen to take, and times it did not record.
#[test]
fn silence_elsewhere_is_no_proof_by_itself() {
    let local = |at| Sent { to: (CLIENT.0, 99, 102), ..request(at, 41_000, 102, SYN, 9_000, false) };
    let observed = with_through([10_000, 11_000, 13_000].map(local).into());
    assert_eq!(only(&observed).control, None);
    assert!(only(&observed).doubt().is_some());
    let unknown = |at| Sent { to: (77, 1, 443), ..request(at, 41_000, 443, SYN, 9_000, false) };
    let observed = with_through([10_000, 11_000, 13_000].map(unknown).into());
    assert_eq!(only(&observed).control, None);
    // After the end of the other recording.
    let mut all = through(0, 40_000);
    all.extend([10_000, 11_000, 13_000].map(|at| request(at, 41_000, 5_672, SYN, 9_000, false)));
    assert!(joined(&all).crossings.is_empty());
    // Nothing in common at all.
    let mut apart = through(0, 40_000);
    apart.iter_mut().for_each(|sent| sent.outside = false);
    apart.push(Sent { inside: false, ..request(90_000, 50_000, 22, SYN, 1, true) });
    assert!(joined(&apart).crossings.is_empty());
}

#[test]
fn a_receiver_that_lives_beyond_is_control_enough() {
    // Nothing passes to 10.0.3.0/24, but its machine is heard outside, and packets of the client's segment are seen at both.
    let tries = |at| Sent { to: (3, 30, 443), ..request(at, 41_000, 443, SYN, 9_000, false) };
    let mut middle: Vec<Sent> = [10_000, 11_000, 13_000].map(tries).into();
    middle.push(Sent {
        from: (3, 30, 50_000),
        to: (4, 4, 53),
        inside: false,
        ..request(10_500, 1, 1, SYN, 5, true)
    });
    let observed = with_through(middle);
    let crossing = observed.crossings.values().find(|crossing| crossing.from == "inside").unwrap();
    assert!(crossing.control.is_some() && crossing.doubt().is_none());
}

#[test]
fn on_a_quiet_link_those_packets_count_that_the_other_side_would_have_shown() {
    let tries = [10_000, 11_000, 13_000, 17_000].map(|at| request(at, 41_000, 5_672, SYN, 9_000, false));
    let mut sent = through(1_000, 40_000);
    sent.extend(tries);
    // The last that the other side shows: what comes within a second of it, or later, it may have missed.
    sent.extend(through(14_500, 40_001));
    sent.sort_by_key(|sent| sent.millis);
    let observed = joined(&sent);
    let crossing = only(&observed);
    assert_eq!((crossing.lost, crossing.count), (Lost::Requests, 3));
}

#[test]
fn answers_that_one_side_shows_alone_are_told_whichever_record_shows_more() {
    let mut middle: Vec<Sent> =
        [10_000, 11_000, 13_000].map(|at| request(at, 41_000, 443, SYN, 1_000, true)).into();
    let kept = |at| Sent { outside: false, ..answer(at, 41_000, 443, SYN | ACK, true) };
    middle.extend([10_001, 11_001, 13_001].map(kept));
    middle.sort_by_key(|sent| sent.millis);
    let observed = with_through(middle);
    let crossing = only(&observed);
    assert_eq!(
        (crossing.lost, crossing.from.as_str(), crossing.to.as_str(), crossing.count),
        (Lost::Answers, "inside", "outside", 3)
    );
}

/// A device that translates the addresses of who opens lets answers to others' flows pass as they are: they are no control for openings.
#[test]
fn answers_to_others_prove_nothing_of_what_a_host_opens() {
    let turned = |sent: Sent| Sent { from: sent.to, to: sent.from, ..sent };
    let mut sent: Vec<Sent> = through(0, 40_000).into_iter().map(turned).collect();
    sent.extend([10_000, 11_000, 13_000].map(|at| request(at, 41_000, 5_672, SYN, 9_000, false)));
    sent.extend(through(20_000, 40_001).into_iter().map(turned));
    let observed = joined(&sent);
    let crossing = only(&observed);
    assert_eq!((crossing.lost, crossing.control), (Lost::Requests, None));
    assert!(crossing.doubt().is_some());
}
