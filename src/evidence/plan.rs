//! Which packets belong to which finding: those that it cites, and those of the conversations that it is about.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::decode;
use crate::decode::Body;
use crate::decode::Frame;
use crate::model::Finding;
use crate::model::Packet;
use crate::model::Proofs;
use crate::model::Report;
use crate::model::Timestamp;
use crate::model::Transport;

/// Two machines, what carries their talk, and the server's port.
type Talk = (IpAddr, IpAddr, u8, Option<u16>);

/// IP protocol numbers, by which conversations are compared.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What is wanted of the inputs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By input and packet number: what is cited.
    pub cited: BTreeMap<(u32, u64), Cited>,
    /// By conversation: the findings that are about it, and whether its packets matter beyond opening and end.
    talks: BTreeMap<Talk, Vec<(usize, bool)>>,
}

/// A packet that is cited.
#[derive(Clone, Debug, Default)]
pub struct Cited {
    /// Its time when the audit read it.
    pub time: Timestamp,
    /// The findings that cite it, and what it shows each.
    pub notes: Vec<(usize, String)>,
}

impl Plan {
    /// Looks through a report, for as many findings as are told.
    pub fn of(report: &Report, findings: usize) -> Self {
        let mut plan = Self::default();
        let requirements: BTreeMap<&str, _> =
            report.requirements.iter().map(|told| (told.id.as_str(), told)).collect();
        let conversations: BTreeMap<&str, _> =
            report.conversations.iter().map(|told| (told.id.as_str(), told)).collect();
        for (at, finding) in report.findings.iter().take(findings).enumerate() {
            plan.cite(at, &finding.evidence);
            let concerned: Vec<_> =
                finding.requirements.iter().filter_map(|id| requirements.get(id.as_str())).collect();
            let tried = concerned.iter().flat_map(|told| &told.conversations);
            for id in finding.conversations.iter().chain(tried) {
                let Some(told) = conversations.get(id.as_str()) else { continue };
                let (Ok(client), Ok(server)) = (told.client.parse(), told.server.parse()) else { continue };
                let carrier = match told.transport {
                    Transport::Tcp => TCP,
                    Transport::Udp => UDP,
                    _ => continue,
                };
                let known = plan.talks.entry(talk(client, server, carrier, told.port)).or_default();
                if !known.iter().any(|(known, _)| *known == at) {
                    known.push((at, in_full(finding)));
                }
            }
        }
        plan
    }

    fn cite(&mut self, at: usize, evidence: &Proofs) {
        for piece in evidence.iter() {
            let known = self.cited.entry((piece.at.input().0, piece.at.number())).or_default();
            known.time = piece.at.time;
            if !known.notes.contains(&(at, piece.note.to_string())) {
                known.notes.push((at, piece.note.to_string()));
            }
        }
    }

    /// The last packet of an input that is cited.
    pub fn last(&self, input: u32) -> Option<u64> {
        self.cited.range((input, 0)..=(input, u64::MAX)).next_back().map(|(&(_, number), _)| number)
    }

    /// Whether packets are wanted for the conversation that they are part of.
    pub fn wants_talks(&self) -> bool {
        !self.talks.is_empty()
    }

    /// The findings about the conversation of a packet, and what the packet is in it.
    pub fn talks_of(&self, packet: &Packet<'_>) -> Vec<(usize, &'static str)> {
        let Ok(frame) = decode::decode(packet) else { return Vec::new() };
        let Some((key_of, what)) = part_of(&frame) else { return Vec::new() };
        let mut found: Vec<(usize, &'static str)> = Vec::new();
        for key in key_of {
            for &(at, in_full) in self.talks.get(&key).into_iter().flatten() {
                if (in_full || what.1) && !found.iter().any(|(known, _)| *known == at) {
                    found.push((at, what.0));
                }
            }
        }
        found
    }
}

/// Of what fails every packet counts; of what nobody documented it is enough that it was opened.
fn in_full(finding: &Finding) -> bool {
    finding.kind.cause().is_some()
}

/// The two machines in a fixed order, so that both directions are one talk.
fn talk(a: IpAddr, b: IpAddr, carrier: u8, port: Option<u16>) -> Talk {
    if a <= b { (a, b, carrier, port) } else { (b, a, carrier, port) }
}

/// The conversations that a frame may be part of (either port may be the server's), what it is there, and whether it opens or ends it.
fn part_of(frame: &Frame<'_>) -> Option<([Talk; 2], (&'static str, bool))> {
    let network = frame.network.as_ref()?;
    let (ends, carrier, ports, what) = match frame.body {
        Body::Tcp(tcp) => {
            let flags = tcp.flags;
            let what = match (flags.rst(), flags.syn(), flags.ack(), flags.fin()) {
                (true, ..) => ("a reset", true),
                (_, true, true, _) => ("a SYN-ACK", true),
                (_, true, false, _) => ("a SYN", true),
                (.., true) => ("a FIN", true),
                _ if tcp.payload_length > 0 => ("data", false),
                _ => ("an acknowledgement", false),
            };
            ((network.source, network.destination), TCP, (tcp.source, tcp.destination), what)
        }
        Body::Udp(udp) => {
            ((network.source, network.destination), UDP, (udp.source, udp.destination), ("a datagram", false))
        }
        Body::Icmp(icmp) => {
            let quote = icmp.quote?;
            let ports = quote.ports?;
            let what = ("an ICMP error that quotes it", true);
            ((quote.source, quote.destination), quote.protocol, (ports.source, ports.destination), what)
        }
        _ => return None,
    };
    let key = |port| talk(ends.0, ends.1, carrier, Some(port));
    Some(([key(ports.0), key(ports.1)], what))
}
