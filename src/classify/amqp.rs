//! AMQP, the message queues' protocol: 0-8 to 0-9-1 and 1.0, by protocol header or by frames when that was missed.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::amqp_frames::HEADER;
use super::amqp_frames::Half;
use super::amqp_frames::look_at;
use super::look;
use super::look::Look;
use super::tls;
use crate::model::Facts;

/// The protocol.
pub struct Amqp;

static ABOUT: About = About {
    name: "amqp",
    title: "Advanced Message Queuing Protocol",
    spec: "AMQP 0-9-1 specification and XML definitions; OASIS AMQP 1.0 (ISO/IEC 19464)",
    usual: &["tcp/5672"],
    answers: true,
    facts: &[
        (
            "amqp.version",
            "version of the protocol header or of the frames: 0-9-1, 0-9, 0-8, 0-10, 1.0; two where the ends do not agree",
        ),
        ("amqp.start", "'seen' once the server's Connection.Start (0-9-1) or SASL mechanisms (1.0) is"),
        (
            "amqp.open",
            "'seen' once the server's Connection.Open-Ok or anything after it is, or an open (1.0)",
        ),
        ("amqp.close", "why the connection was closed with an error: code and text"),
    ],
};

impl Protocol for Amqp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || matches!(byte, b'A' | 0..=3 | 8)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let [first, second] =
            [&seen.first, &seen.second].map(|side| look::stream(side, |bytes| look_at(bytes, side.complete)));
        // A server answers a client that speaks something else with its own header and nothing more (section 4.2.2).
        let refused = |client: &Look<Half>, answer: &Look<Half>, side: &Side<'_>| {
            *client == Look::No && !side.is_silent() && matches!(answer, Look::Yes(half) if half.header)
        };
        if refused(&first, &second, &seen.first) || refused(&second, &first, &seen.second) {
            return Probe::No;
        }
        match look::join(first, second) {
            Ok(both) => Probe::Proven(conclude(seen, both)),
            Err(probe) => probe,
        }
    }
}

fn conclude(seen: &Seen<'_>, both: [Option<Half>; 2]) -> Proof {
    let [first, second] = &both;
    let told = |half: &Option<Half>| half.as_ref().and_then(|half| half.is_client);
    // Only 1.0 has both ends send a header; before, the client's alone opens the connection.
    let opens =
        |half: &Option<Half>| half.as_ref().is_some_and(|half| half.header && half.version != Some("1.0"));
    let client = match (told(first), told(second)) {
        (Some(true), _) | (None, Some(false)) => Some(End::First),
        (Some(false), _) | (None, Some(true)) => Some(End::Second),
        (None, None) if both.iter().flatten().filter(|half| half.header).count() == 2 => None,
        (None, None) => match (opens(first), opens(second)) {
            (true, false) => Some(End::First),
            (false, true) => Some(End::Second),
            _ => None,
        },
    };
    let mut facts = Facts::new();
    let halves = || [first, second].into_iter().flatten();
    // What a header says is surer than what frames look like.
    let headers = || halves().filter(|half| half.header).filter_map(|half| half.version);
    if let Some(version) = headers().chain(halves().filter_map(|half| half.version)).next() {
        facts.add("amqp.version", version);
    }
    // A server that does not take a client's header answers with its own (0-9-1 section 4.2.2, 1.0 section 2.2).
    let differ = headers().next() != headers().nth(1);
    for version in headers().skip(1).filter(|_| differ) {
        facts.add("amqp.version", version);
    }
    if halves().any(|half| half.start) {
        facts.add("amqp.start", "seen");
    }
    if halves().any(|half| half.open) {
        facts.add("amqp.open", "seen");
    }
    for close in halves().filter_map(|half| half.close.as_deref()) {
        // 200 is the code of an orderly end (0-9-1 section 1.2).
        if !close.starts_with("200 ") {
            facts.add("amqp.close", close);
        }
    }
    let complete = seen.first.complete && seen.second.complete;
    let mut proof = Proof { client, facts, open: !complete, ..Proof::default() };
    if halves().any(|half| half.tls) {
        let offsets = [first, second].map(|half| if half.is_some() { HEADER } else { 0 });
        tls::goes_on(&mut proof, ABOUT.name, seen, offsets);
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::amqp_frames::FRAME_END;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Amqp, 0, 0);
        harness::check_steps(&Amqp);
    }

    #[test]
    fn either_end_alone_is_enough() {
        if !harness::present() {
            return;
        }
        for flow in harness::flows("amqp/amqp.pcap") {
            for end in [End::First, End::Second] {
                if !flow.seen().side(end).is_silent() {
                    let probe = Amqp.probe(&flow.one_sided(end));
                    assert!(matches!(probe, Probe::Proven(_)), "{} {end:?}", flow.place());
                }
            }
        }
    }

    fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, channel, 0, 0, 0, payload.len() as u8];
        frame.extend_from_slice(payload);
        frame.push(FRAME_END);
        frame
    }

    #[test]
    fn a_refused_login_says_why() {
        let words = b"ACCESS_REFUSED - Login was refused";
        let mut close = hex("000a 0032 0193");
        close.push(words.len() as u8);
        close.extend_from_slice(words);
        close.extend_from_slice(&[0, 0, 0, 0]);
        let Probe::Proven(proof) =
            probe_both(&Amqp, Carrier::Tcp, &[b"AMQP\0\0\x09\x01"], &[&frame(1, 0, &close)])
        else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("amqp.version"), Some("0-9-1"));
        assert_eq!(proof.facts.get("amqp.close"), Some("403 ACCESS_REFUSED - Login was refused"));
    }

    #[test]
    fn version_1_0() {
        let mechanisms = hex("0000001a 02 01 0000 00 53 40 c0 0d 01 e0 0a 01 a3 05 504c41494e 0000");
        let Probe::Proven(proof) =
            probe_both(&Amqp, Carrier::Tcp, &[b"AMQP\x03\x01\0\0"], &[b"AMQP\x03\x01\0\0", &mechanisms])
        else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(
            (proof.facts.get("amqp.version"), proof.facts.get("amqp.start")),
            (Some("1.0"), Some("seen"))
        );
        let close = hex("00000032 02 00 0000 00 53 18 c0 25 01 00 53 1d c0 1f 02 a3 18")
            .into_iter()
            .chain(*b"amqp:unauthorized-access")
            .chain(hex("a1 02 6e6f"))
            .collect::<Vec<u8>>();
        let half = look_at(&close, true).yes().unwrap();
        assert_eq!(half.close.as_deref(), Some("amqp:unauthorized-access no"));
    }

    #[test]
    fn heartbeats_alone() {
        assert!(matches!(probe_messages(&Amqp, Carrier::Tcp, &[&frame(8, 0, &[])]), Probe::Proven(_)));
        let idle = hex("00000008 02 00 0000");
        assert_eq!(probe_messages(&Amqp, Carrier::Tcp, &[&idle]), Probe::NeedMore);
        assert!(matches!(probe_messages(&Amqp, Carrier::Tcp, &[&idle, &idle]), Probe::Proven(_)));
    }

    #[test]
    fn what_is_not_amqp() {
        for stranger in [
            &b"AMQP\x05\x01\0\0"[..],
            &hex("01 0000 00000004 000a 0063 ce"),
            &hex("01 0001 00000004 003c 0028 cd"),
            &hex("03 0001 00000004 61626364 ce"),
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(
                !matches!(probe_messages(&Amqp, Carrier::Tcp, &[stranger]), Probe::Proven(_)),
                "{stranger:02x?}"
            );
        }
    }
}
