//! OMRON FINS: controller commands in UDP datagrams and in FINS/TCP frames.

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;
use super::weigh::client_is;

/// OMRON FINS.
pub struct Fins;

static ABOUT: About = About {
    name: "fins",
    title: "OMRON FINS",
    spec: "OMRON W227 FINS Commands Reference Manual, section 3; W421 Ethernet Units, section 7 (FINS/TCP)",
    usual: &["udp/9600", "tcp/9600"],
    answers: true,
    facts: &[
        ("fins.command", "command by name, such as memory-area-read"),
        (
            "fins.access",
            "what the commands do: read, write (memory, files, clock), program (program and parameters), control (run, stop, reset)",
        ),
    ],
};

impl Protocol for Fins {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Tcp, _) => is_at(TCP_MAGIC, at, byte),
            (_, 0) => byte & 0xbe == 0x80,
            (_, 1) => byte == 0,
            (_, 2) => byte <= 7,
            (_, 3 | 6) => byte <= 127,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step_frame, tell_frame),
            Carrier::Tcp => weigh::probe(seen, step_tcp, tell_tcp),
            Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn glance(&self, carrier: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        let mut frame = |frame: &[u8]| {
            let Some(header) = frame.first_chunk::<HEADER>() else { return };
            let deed = Deed::of(access(header), "fins.command", command_name(header[10], header[11]));
            deed.into_iter().for_each(&mut *tell);
        };
        match carrier {
            Carrier::Tcp => weigh::each_whole(payload, step_tcp, |bytes| {
                if let Some((&[.., 0, 0, 0, 2, _, _, _, _], inside)) = bytes.split_first_chunk::<TCP_HEADER>()
                {
                    frame(inside);
                }
            }),
            _ => weigh::each_whole(payload, step_frame, frame),
        }
    }
}

/// ICF, RSV, GCT, DNA, DA1, DA2, SNA, SA1, SA2, SID, then the command code (W227 section 3-3).
const HEADER: usize = 12;
/// FINS/TCP: magic, length of what follows it, command, error code (W421 section 7-4).
const TCP_HEADER: usize = 16;
const TCP_MAGIC: &[u8] = b"FINS";
/// The longest FINS frame: 2012 bytes of text (W227 section 2).
const LONGEST: usize = 2048;
/// ICF bit 6: the frame is a response.
const RESPONSE: u8 = 0x40;

fn step_frame(bytes: &[u8]) -> Step {
    let Some(&[icf, rsv, gateways, dna, _, da2, sna, _, sa2, _, main, sub]) = bytes.first_chunk::<HEADER>()
    else {
        return Step::Wrong;
    };
    // ICF: bit 7 always set, bits 1 to 5 reserved; at most seven gateways; networks 0 to 127.
    if icf & 0xbe != 0x80 || rsv != 0 || gateways > 7 || dna > 127 || sna > 127 || bytes.len() > LONGEST {
        return Step::Wrong;
    }
    // The unit that executes the command: CPU, CPU bus units, serial ports, inner board, the unit connected to the network.
    let unit = if icf & RESPONSE == 0 { da2 } else { sa2 };
    if !matches!(unit, 0x00 | 0x10..=0x1f | 0x80..=0x97 | 0xe1 | 0xfc..=0xfe) {
        return Step::Wrong;
    }
    let text = bytes.len() - HEADER;
    let fits = match ((main, sub), icf & RESPONSE != 0) {
        // A response has an end code.
        (_, true) => text >= 2,
        // Area, address, bit and number of items; a write has the items too.
        ((1, 1), false) => text == 6,
        ((1, 2 | 3), false) => text > 6,
        _ => true,
    };
    if !fits || command_name(main, sub).is_none() { Step::Wrong } else { Step::Whole(bytes.len(), PROOF) }
}

fn step_tcp(bytes: &[u8]) -> Step {
    if !agrees(bytes, TCP_MAGIC) {
        return Step::Wrong;
    }
    let Some(header) = bytes.first_chunk::<TCP_HEADER>() else { return Step::Cut(0) };
    let [_, _, _, _, l0, l1, l2, l3, 0, 0, 0, command, ..] = *header else { return Step::Wrong };
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let right = match command {
        // Client and server node address.
        0 => length == 12,
        1 => length == 16,
        // A frame; error notification; confirmation of the connection.
        2 => (20..=LONGEST).contains(&length),
        3 | 6 => length == 8,
        _ => false,
    };
    if !right {
        return Step::Wrong;
    }
    let whole = 8 + length;
    if bytes.len() < whole { Step::Cut(PROOF) } else { Step::Whole(whole, PROOF) }
}

fn tell_frame(end: End, frame: &[u8], proof: &mut Proof) {
    let Some(header) = frame.first_chunk::<HEADER>() else { return };
    client_is(proof, if header[0] & RESPONSE == 0 { end } else { end.other() });
    if let Some(name) = command_name(header[10], header[11]) {
        proof.facts.add("fins.command", name);
    }
    if let Some(access) = access(header) {
        proof.facts.add("fins.access", access);
    }
}

/// What a request does to the controller, by its command code (W227 section 5-1); nothing for tests and access rights.
fn access(header: &[u8; HEADER]) -> Option<&'static str> {
    if header[0] & RESPONSE != 0 {
        return None;
    }
    match (header[10], header[11]) {
        (0x01, 0x01 | 0x04)
        | (0x02, 0x01)
        | (0x03, 0x06)
        | (0x05 | 0x06, _)
        | (0x07, 0x01)
        | (0x09, 0x20)
        | (0x21, 0x02 | 0x40)
        | (0x22, 0x01 | 0x02 | 0x09 | 0x0f | 0x10)
        | (0x23, 0x0a)
        | (0x26, 0x03) => Some("read"),
        (0x01, 0x02 | 0x03 | 0x05)
        | (0x07, 0x02)
        | (0x21, 0x01 | 0x03 | 0x41)
        | (0x22, 0x03..=0x08 | 0x0a | 0x11 | 0x15 | 0x20)
        | (0x23, 0x01 | 0x02)
        | (0x26, 0x01 | 0x02) => Some("write"),
        (0x02, 0x02 | 0x03) | (0x03, 0x04 | 0x05 | 0x07 | 0x08) | (0x22, 0x0b | 0x0c) => Some("program"),
        (0x04, _) => Some("control"),
        _ => None,
    }
}

fn tell_tcp(end: End, bytes: &[u8], proof: &mut Proof) {
    let Some((header, frame)) = bytes.split_first_chunk::<TCP_HEADER>() else { return };
    match header[11] {
        0 => client_is(proof, end),
        1 => client_is(proof, end.other()),
        2 => tell_frame(end, frame, proof),
        _ => {}
    }
}

/// Command codes MRC and SRC (W227 section 5-1).
fn command_name(main: u8, sub: u8) -> Option<&'static str> {
    Some(match (main, sub) {
        (0x01, 0x01) => "memory-area-read",
        (0x01, 0x02) => "memory-area-write",
        (0x01, 0x03) => "memory-area-fill",
        (0x01, 0x04) => "multiple-memory-area-read",
        (0x01, 0x05) => "memory-area-transfer",
        (0x02, 0x01) => "parameter-area-read",
        (0x02, 0x02) => "parameter-area-write",
        (0x02, 0x03) => "parameter-area-clear",
        (0x03, 0x04) => "program-area-protect",
        (0x03, 0x05) => "program-area-protect-clear",
        (0x03, 0x06) => "program-area-read",
        (0x03, 0x07) => "program-area-write",
        (0x03, 0x08) => "program-area-clear",
        (0x04, 0x01) => "run",
        (0x04, 0x02) => "stop",
        (0x04, 0x03) => "reset",
        (0x05, 0x01) => "controller-data-read",
        (0x05, 0x02) => "connection-data-read",
        (0x06, 0x01) => "controller-status-read",
        (0x06, 0x02) => "network-status-read",
        (0x06, 0x03) => "data-link-status-read",
        (0x06, 0x20) => "cycle-time-read",
        (0x07, 0x01) => "clock-read",
        (0x07, 0x02) => "clock-write",
        (0x08, 0x01) => "loop-back-test",
        (0x08, 0x02) => "broadcast-test-results-read",
        (0x08, 0x03) => "broadcast-test-data-send",
        (0x09, 0x20) => "message-read",
        (0x0c, 0x01) => "access-right-acquire",
        (0x0c, 0x02) => "access-right-forced-acquire",
        (0x0c, 0x03) => "access-right-release",
        (0x21, 0x01) => "error-clear",
        (0x21, 0x02) => "error-log-read",
        (0x21, 0x03) => "error-log-clear",
        (0x21, 0x40) => "access-log-read",
        (0x21, 0x41) => "access-log-clear",
        (0x22, 0x01) => "file-name-read",
        (0x22, 0x02) => "file-read",
        (0x22, 0x03) => "file-write",
        (0x22, 0x04) => "memory-format",
        (0x22, 0x05) => "file-delete",
        (0x22, 0x06) => "volume-label-create",
        (0x22, 0x07) => "file-copy",
        (0x22, 0x08) => "file-name-change",
        (0x22, 0x09) => "file-data-check",
        (0x22, 0x0a) => "memory-area-file-transfer",
        (0x22, 0x0b) => "parameter-area-file-transfer",
        (0x22, 0x0c) => "program-area-file-transfer",
        (0x22, 0x0f) => "file-memory-index-read",
        (0x22, 0x10) => "file-memory-read",
        (0x22, 0x11) => "file-memory-write",
        (0x22, 0x15) => "directory-create",
        (0x22, 0x20) => "memory-cassette-transfer",
        (0x23, 0x01) => "forced-set-reset",
        (0x23, 0x02) => "forced-set-reset-cancel",
        (0x23, 0x0a) => "multiple-forced-status-read",
        (0x26, 0x01) => "name-set",
        (0x26, 0x02) => "name-delete",
        (0x26, 0x03) => "name-read",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const READ: [u8; 18] = [0x80, 0, 2, 0, 1, 0, 0, 9, 0, 7, 1, 1, 0x82, 0, 100, 0, 0, 1];
    const NODE_ADDRESS: &[u8] = b"FINS\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn a_read_asks_and_its_response_answers() {
        let Probe::Proven(proof) = harness::probe_messages(&Fins, Carrier::Udp, &[&READ]) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("fins.command"), Some("memory-area-read"));
        let mut response = READ[..14].to_vec();
        response[0] = 0xc0;
        let Probe::Proven(proof) = harness::probe_messages(&Fins, Carrier::Udp, &[&response]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn fins_over_tcp_begins_with_a_node_address() {
        let Probe::Proven(proof) = harness::probe_messages(&Fins, Carrier::Tcp, &[NODE_ADDRESS]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(
            harness::probe_both(&Fins, Carrier::Tcp, &[b"FINSH\r\n\0\0\0\0\0\0\0\0\0"], &[b"x"]),
            Probe::No
        );
    }

    #[test]
    fn rtp_begins_alike_and_is_wrong() {
        // RTP version 2, payload type 0, sequence 0x0201, a source whose number ends like a memory area read.
        let mut rtp = vec![0x80, 0, 2, 1, 0, 0, 0, 160, 0, 2, 1, 1];
        rtp.resize(172, 0x7f);
        assert_eq!(step_frame(&rtp), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Fins, 0, 0);
        harness::check_steps(&Fins);
    }
}
