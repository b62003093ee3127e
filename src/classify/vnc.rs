//! VNC: the remote frame buffer of operator screens.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::text;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Remote frame buffer.
pub struct Vnc;

static ABOUT: About = About {
    name: "vnc",
    title: "VNC (RFB)",
    spec: "RFC 6143 section 7.1.1",
    usual: &["tcp/5900"],
    answers: true,
    facts: &[("vnc.version", "protocol version that an end offers")],
};

impl Protocol for Vnc {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(b"RFB ", at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Length of a version message.
const LENGTH: usize = 12;

/// `RFB 003.008` and a line feed, from the server first and then from the client.
fn step(bytes: &[u8]) -> Step {
    const FORM: &[u8; LENGTH] = b"RFB 000.000\n";
    let fits = bytes
        .iter()
        .zip(FORM)
        .all(|(&is, &should)| if should == b'0' { is.is_ascii_digit() } else { is == should });
    match (fits, bytes.len()) {
        (false, _) => Step::Wrong,
        (true, ..LENGTH) => Step::Cut(0),
        (true, _) => Step::Whole(LENGTH, PROOF),
    }
}

fn tell(_: End, message: &[u8], proof: &mut Proof) {
    if let Some(version) = message.get(4..LENGTH - 1) {
        proof.facts.add("vnc.version", text(version));
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_version_is_offered() {
        let Probe::Proven(proof) =
            harness::probe_messages(&Vnc, Carrier::Tcp, &[b"RFB 003.008\n", b"\x02\x01"])
        else {
            panic!()
        };
        assert_eq!(proof.facts.get("vnc.version"), Some("003.008"));
        assert_eq!(step(b"RFB three\n"), Step::Wrong);
        assert_eq!(step(b"RFB 00"), Step::Cut(0));
    }
}
