//! ONC RPC: port mapper, NFS, and the debug agents of controllers.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// Remote procedure calls.
pub struct Oncrpc;

static ABOUT: About = About {
    name: "oncrpc",
    title: "ONC RPC (NFS, port mapper)",
    spec: "RFC 5531 sections 9 and 11; RFC 1833; program numbers of the IANA registry",
    usual: &["tcp/111", "udp/111", "tcp/2049", "udp/17185"],
    answers: true,
    facts: &[
        ("oncrpc.program", "program called, by name or decimal number"),
        ("oncrpc.version", "version of the program"),
    ],
};

impl Protocol for Oncrpc {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Udp, 4..=6) => byte == 0,
            (Carrier::Udp, 7) => byte <= 1,
            (Carrier::Tcp, 0) => byte & 0x7f == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => stacked(weigh::probe(seen, step_record, |end, record, proof| {
                tell(end, record.get(4..).unwrap_or_default(), proof);
            })),
            Carrier::Udp => stacked(weigh::probe(seen, step, tell)),
            Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Message types and the version of the protocol (RFC 5531 section 9).
const CALL: u32 = 0;
const REPLY: u32 = 1;
const VERSION: u32 = 2;
/// The longest credentials (section 8.2), and the largest record accepted.
const LONGEST_CREDENTIALS: u32 = 400;
const LARGEST: u32 = 1 << 22;
/// The NFS program.
const NFS: &str = "nfs";

/// Over TCP each message is a record: the last-fragment bit and the length (section 11).
fn step_record(bytes: &[u8]) -> Step {
    let Some((mark, body)) = bytes.split_first_chunk::<4>() else {
        return if bytes.first().is_none_or(|&first| first & 0x7f == 0) { Step::Cut(0) } else { Step::Wrong };
    };
    let mark = u32::from_be_bytes(*mark);
    let length = mark & 0x7fff_ffff;
    if !(24..=LARGEST).contains(&length) {
        return Step::Wrong;
    }
    let length = length as usize;
    match (step(body.get(..length.min(body.len())).unwrap_or_default()), body.len() < length) {
        (Step::Whole(_, weight), false) => Step::Whole(4 + length, weight),
        // A call's head shows it before the rest is there.
        (Step::Whole(_, weight), true) => Step::Cut(weight),
        (Step::Wrong, true) if body.len() < 40 => Step::Cut(0),
        _ => Step::Wrong,
    }
}

fn step(message: &[u8]) -> Step {
    if call(message).is_some() {
        return Step::Whole(message.len(), PROOF);
    }
    // A reply is mostly zeros: two of them, or one beside a call.
    if reply(message).is_some() { Step::Whole(message.len(), 30) } else { Step::Wrong }
}

/// Program and version of a call: transaction, type, RPC version, program, version, procedure, credentials, verifier.
fn call(message: &[u8]) -> Option<(u32, u32)> {
    let mut reader = Reader::new(message);
    reader.skip(4)?;
    if reader.be32()? != CALL || reader.be32()? != VERSION {
        return None;
    }
    let (program, version, procedure) = (reader.be32()?, reader.be32()?, reader.be32()?);
    authentication(&mut reader)?;
    authentication(&mut reader)?;
    (program > 0 && version < 1 << 16 && procedure < 1 << 16).then_some((program, version))
}

/// A reply that was accepted, or denied.
fn reply(message: &[u8]) -> Option<()> {
    let mut reader = Reader::new(message);
    if reader.be32()? == 0 || reader.be32()? != REPLY {
        return None;
    }
    match reader.be32()? {
        0 => {
            authentication(&mut reader)?;
            (reader.be32()? <= 5).then_some(())
        }
        1 => (reader.be32()? <= 1 && reader.left() >= 4).then_some(()),
        _ => None,
    }
}

/// Flavor (none, system, short, DES, Kerberos, GSS) and opaque body in units of four bytes.
fn authentication(reader: &mut Reader<'_>) -> Option<()> {
    let (flavor, length) = (reader.be32()?, reader.be32()?);
    if flavor > 7 || length > LONGEST_CREDENTIALS {
        return None;
    }
    reader.skip(length.next_multiple_of(4) as usize)
}

/// Programs by name (IANA: rpc-program-numbers); WDB is the debug agent of VxWorks.
fn program_name(program: u32) -> Option<&'static str> {
    Some(match program {
        100_000 => "portmap",
        100_003 => NFS,
        100_005 => "mount",
        100_021 => "nlockmgr",
        100_024 => "status",
        100_227 => "nfs-acl",
        395_180 => "vxi-11",
        0x5555_5555 => "wdb",
        _ => return None,
    })
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    match call(message) {
        Some((program, version)) => {
            client_is(proof, end);
            match program_name(program) {
                Some(name) => proof.facts.add("oncrpc.program", name),
                None => proof.facts.add("oncrpc.program", program.to_compact_string()),
            }
            proof.facts.add("oncrpc.version", version.to_compact_string());
        }
        None if reply(message).is_some() => client_is(proof, end.other()),
        None => {}
    }
}

/// NFS is a layer of its own.
fn stacked(probe: Probe) -> Probe {
    let Probe::Proven(mut proof) = probe else { return probe };
    proof.layers.push("oncrpc");
    if proof.facts.all("oncrpc.program").any(|program| program == NFS) {
        proof.layers.push(NFS);
    }
    Probe::Proven(proof)
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    /// A null call of the port mapper.
    fn null_call() -> Vec<u8> {
        let words = [7, CALL, VERSION, 100_000, 2, 0, 0, 0, 0, 0];
        words.iter().flat_map(|word| u32::to_be_bytes(*word)).collect()
    }

    #[test]
    fn a_call_names_its_program() {
        let Probe::Proven(proof) = harness::probe_messages(&Oncrpc, Carrier::Udp, &[&null_call()]) else {
            panic!()
        };
        assert_eq!((proof.client, proof.facts.get("oncrpc.program")), (Some(End::First), Some("portmap")));
        let record = [&0x8000_0028_u32.to_be_bytes()[..], &null_call()].concat();
        let Probe::Proven(proof) = harness::probe_messages(&Oncrpc, Carrier::Tcp, &[&record]) else {
            panic!()
        };
        assert_eq!(proof.layers, ["oncrpc"]);
    }

    #[test]
    fn zeros_are_no_call() {
        assert_eq!(step(&[0; 40]), Step::Wrong);
        let mut call = null_call();
        call[11] = 3;
        assert_eq!(step(&call), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        // Replies alone do not tell that the program is NFS, which the label names.
        harness::check(&Oncrpc, 0, 1);
        harness::check_steps(&Oncrpc);
    }
}
