//! Other explanations for what a verdict rests on, each weighed by what the report knows: ruled out and by what, or still possible.

use std::time::Duration;

use crate::model::Timestamp;
use crate::report::Archive;
use crate::report::ArchivedConversation;
use crate::report::ArchivedEvidence;
use crate::report::ArchivedHeard;
use crate::report::ArchivedRequirement;

/// What else could look like the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The mirror may not carry the answers.
    Audible,
    /// The mirror lost the answers.
    Loss,
    /// The target is off.
    Dead,
    /// The capture ended before the answer.
    End,
    /// Mirror copies were counted as repetitions.
    Copies,
    /// A packet filter on one of the two machines.
    OwnFilter,
    /// The sender of the ICMP error is the target.
    HostFilter,
    /// Several machines under one address.
    Overlap,
    /// A capture filter hid the answers.
    Filtered,
    /// Roles were guessed.
    Guessed,
    /// An ICMP error that does not belong to the attempt.
    Forged,
    /// Address translation.
    Nat,
    /// Answers take another path.
    Asymmetric,
    /// The reset's marks.
    Marks,
    /// Virtual router addresses.
    Virtual,
    /// Load balancers.
    Balancer,
    /// A firewall that resets in the target's name.
    RejectsInName,
    /// A filter that says unreachable.
    SaysUnreachable,
    /// Full-size packets lost on the way.
    BlackHole,
    /// The server crashed or hung.
    Crash,
    /// TLS ended on the way.
    Intercepted,
    /// The server's own access list.
    AccessList,
    /// Search suffixes.
    Suffix,
    /// Different answers inside and outside.
    SplitHorizon,
    /// Names resolved before the capture.
    Cached,
    /// Encrypted DNS.
    EncryptedDns,
    /// The target's own HTTP status.
    OwnStatus,
    /// Another service took the port.
    OtherService,
    /// Payload cut by the snap length.
    Payload,
}

/// What is known of one case.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The report.
    pub archive: &'a Archive,
    /// The requirement.
    pub told: &'a ArchivedRequirement,
    /// The conversations in which it was tried.
    pub tried: &'a [&'a ArchivedConversation],
}

/// What a doubt comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// The capture rules it out.
    RuledOut(String),
    /// It remains.
    Remains(String),
    /// It is no question here.
    Nothing,
}

use Weighed::Nothing;
use Weighed::Remains;
use Weighed::RuledOut;

/// The share above which the audit caps grades (evidence 3.3.3).
const LOSSY: f64 = 0.01;

impl<'a> Case<'a> {
    /// Whether a host of the report is one end of the requirement.
    fn heard(&self, of: fn(&ArchivedRequirement) -> &str, server: bool) -> Option<&'a ArchivedHeard> {
        let is_end = |host: &str| {
            of(self.told).split(" or ").any(|end| end.split('@').next() == Some(host))
                || self.tried.iter().any(|one| if server { one.server == host } else { one.client == host })
        };
        let heard = &self.archive.vantage.heard;
        heard.iter().filter(|one| is_end(&one.host)).max_by_key(|one| one.packets)
    }

    /// The source as it was heard.
    pub fn source_heard(&self) -> Option<&'a ArchivedHeard> {
        self.heard(|told| &told.source, false)
    }

    /// The target as it was heard.
    pub fn target_heard(&self) -> Option<&'a ArchivedHeard> {
        self.heard(|told| &told.target, true)
    }

    /// A conversation of the same two machines that got answers.
    pub fn same_pair_works(&self) -> Option<&'a ArchivedConversation> {
        let between = |one: &&ArchivedConversation| {
            let pairs = self.tried.iter().map(|tried| (&tried.client, &tried.server));
            pairs.chain([(&self.told.source, &self.told.target)]).any(|(a, b)| {
                let named = one.hosts.iter().any(|host| host == b);
                (one.client == *a && (one.server == *b || named)) || (one.client == *b && one.server == *a)
            })
        };
        self.archive
            .conversations
            .iter()
            .filter(between)
            .filter(|one| answered(one) && !self.tried.iter().any(|tried| tried.id == one.id))
            .max_by_key(|one| one.packets)
    }

    /// Another client of the same service that got answers.
    pub fn others_work(&self) -> Option<&'a ArchivedConversation> {
        let same = |one: &&ArchivedConversation| {
            self.tried.iter().any(|tried| {
                one.server == tried.server
                    && one.port == tried.port
                    && one.transport == tried.transport
                    && one.client != tried.client
            })
        };
        self.archive
            .conversations
            .iter()
            .filter(same)
            .filter(|one| answered(one))
            .max_by_key(|one| one.packets)
    }

    /// Whether two vantages show it: a packet was seen on the one side of a device and never on the other.
    pub fn is_crossing(&self) -> bool {
        self.told.by.as_ref().is_some_and(|by| by.who.starts_with(BETWEEN))
    }

    fn latest_evidence(&self) -> Option<&'a ArchivedEvidence> {
        self.told.evidence.iter().max_by_key(|piece| piece.at.time)
    }

    fn cut_packets(&self) -> u64 {
        self.archive.vantage.cut_packets
    }
}

/// How the audit names a device that it knows by what did not come through it.
const BETWEEN: &str = "the device between ";

/// Whether both ends spoke.
fn answered(one: &ArchivedConversation) -> bool {
    ["established", "answered", "midstream"].iter().any(|word| one.outcomes.contains_key(*word))
}

/// Weighs one doubt.
pub fn weigh(doubt: Doubt, case: &Case<'_>) -> Weighed {
    let told = case.told;
    let (source, target) = (&told.source, &told.target);
    if case.is_crossing()
        && let Some(why) = by_both_sides(doubt, target)
    {
        return RuledOut(why);
    }
    match doubt {
        Doubt::Audible => audible(case),
        Doubt::Loss => loss(case),
        Doubt::Dead => dead(case),
        Doubt::End => end(case),
        Doubt::Copies => match case.archive.vantage.duplicates {
            0 => RuledOut("Mirror copies taken for repetitions: this mirror delivers no packet twice.".into()),
            copies => RuledOut(format!(
                "Mirror copies taken for repetitions: {copies} copies (the same bytes within 5 ms) were set aside before anything was counted."
            )),
        },
        Doubt::OwnFilter => Remains(format!(
            "A packet filter on {target} itself: it drops as silently as one on the way, and the mirror does not stand inside the machine."
        )),
        Doubt::HostFilter => match &told.by {
            Some(by) if by.kind == "host" => {
                Remains(format!("The error comes from {} itself: it is that machine's own filter.", by.who))
            }
            Some(by) => RuledOut(format!("A filter on {target} itself: the error comes from {}, not from it.", by.who)),
            None => Nothing,
        },
        Doubt::Overlap => overlap(case),
        Doubt::Filtered => match case.archive.inputs.iter().map(|input| input.filtered).sum::<u64>() {
            0 => Nothing,
            n => Remains(format!("{n} packets were left out by the filter of this run; answers may be among them.")),
        },
        Doubt::Guessed if case.archive.site.provisional => {
            Remains("The roles were guessed from the traffic: the machines may not be what they are taken for.".into())
        }
        Doubt::Forged => RuledOut(
            "A stray or forged ICMP error: it quotes a packet of this attempt that was captured as well.".into(),
        ),
        Doubt::Nat => Remains("Address translation: a translating router answers for addresses behind it. If it does, it stands in the way all the same.".into()),
        Doubt::Asymmetric => Remains(format!(
            "Acknowledgements of {source} that take another path, past this mirror; that {source} goes on repeating its SYN speaks against it."
        )),
        Doubt::Marks => RuledOut(format!("A reset of {target} itself: {}", told.reason)),
        Doubt::Virtual => RuledOut(
            "A virtual router's address (VRRP, HSRP): resets that carry one are not taken for foreign.".into(),
        ),
        Doubt::Balancer => Remains(format!(
            "A load balancer in front of {target} that answers in its name: then its operator is the one to ask."
        )),
        Doubt::RejectsInName => Remains(format!(
            "A firewall that rejects with resets in the name of {target}: without marks that differ, it looks the same."
        )),
        Doubt::SaysUnreachable => {
            Remains("A filter that says unreachable instead of prohibited: some are set up so.".into())
        }
        Doubt::BlackHole if told.reason.contains("path-MTU") => Remains(
            "A path-MTU black hole: the segment that is not acknowledged is a full-size one, and routers that drop those silently look the same.".into(),
        ),
        Doubt::BlackHole => RuledOut("A path-MTU black hole: what is not acknowledged is smaller than a full-size segment.".into()),
        Doubt::Crash => Remains(match case.others_work() {
            Some(other) => format!("{target} hanging: less likely, since it answers {} on the same port.", other.client),
            None => format!("A service on {target} that hangs; its kernel would still acknowledge the data, though."),
        }),
        Doubt::Intercepted => Remains(
            "Something on the way that ends TLS and begins it anew: the other end of the handshake is then that device.".into(),
        ),
        Doubt::AccessList => match case.others_work() {
            Some(other) => Remains(format!(
                "The access list of the service itself: it answers {}, so it runs, and may be told not to answer {source}.",
                other.client
            )),
            None => Remains("The service being off: no other client was seen getting answers from it.".into()),
        },
        Doubt::Suffix => RuledOut(
            "A search suffix tried before the real name: the lookups cited are of the documented name itself.".into(),
        ),
        Doubt::SplitHorizon => Remains("Name service that answers inside otherwise than outside on purpose.".into()),
        Doubt::Cached => match case.same_pair_works() {
            Some(_) => Remains(format!("A connection to {target} by an address that was looked up before.")),
            None => RuledOut(format!("A name known from before the capture: no connection to {target} was seen at all.")),
        },
        Doubt::EncryptedDns => {
            Remains("Lookups over encrypted DNS (DoT, DoH): those are not legible on a mirror.".into())
        }
        Doubt::OwnStatus => Remains(format!("{target} itself answering with that status, passed on by the proxy.")),
        Doubt::OtherService => Remains("Another service that took the port, or traffic that is not the product's.".into()),
        Doubt::Payload => match case.cut_packets() {
            0 => Nothing,
            cut => Remains(format!("{cut} packets of this capture were cut by a snap length; what follows the cut is not known.")),
        },
        Doubt::Guessed => Nothing,
    }
}

fn audible(case: &Case<'_>) -> Weighed {
    let target = &case.told.target;
    match (case.same_pair_works(), case.target_heard()) {
        (Some(works), _) => RuledOut(format!(
            "A mirror that does not carry the answers: the same two machines talk on {}{}, both ways, in {} packets.",
            works.transport,
            works.port.map(|port| format!("/{port}")).unwrap_or_default(),
            works.packets
        )),
        (None, Some(heard)) => RuledOut(format!(
            "A mirror that does not hear {target}: {} packets of it are in the capture, from packet {} to packet {}.",
            heard.packets, heard.first.packet, heard.last.packet
        )),
        (None, None) => Remains(format!(
            "{target} was never heard; that answers from there would be seen is concluded from its neighbours alone."
        )),
    }
}

fn loss(case: &Case<'_>) -> Weighed {
    let vantage = &case.archive.vantage;
    let dropped = match vantage.dropped {
        Some(dropped) if dropped > 0 => {
            format!(", and the capturing machine says that it dropped {dropped} packets")
        }
        _ => String::new(),
    };
    match vantage.loss {
        None => Remains(format!(
            "Loss on the mirror: too little traffic to tell ({} acknowledged bytes){dropped}.",
            vantage.acknowledged_bytes
        )),
        Some(share) if share > LOSSY || !dropped.is_empty() => Remains(format!(
            "Loss on the mirror: about {:.1} % of acknowledged bytes were never captured{dropped}. Grades are capped at C for it; chance alone does not explain that every answer is missing.",
            share * 100.0
        )),
        Some(_) => RuledOut(format!(
            "Loss on the mirror: {} of {} acknowledged bytes were never captured.",
            vantage.unseen_bytes, vantage.acknowledged_bytes
        )),
    }
}

fn dead(case: &Case<'_>) -> Weighed {
    let target = &case.told.target;
    if let Some(works) = case.same_pair_works() {
        return RuledOut(format!(
            "{target} being off, or no route to it: it talks with {} on {}{}.",
            case.told.source,
            works.transport,
            works.port.map(|port| format!("/{port}")).unwrap_or_default()
        ));
    }
    let Some(heard) = case.target_heard() else {
        return Remains(format!("{target} being off: it was never heard in this capture."));
    };
    let meanwhile = |from: Timestamp, to: Timestamp| heard.first.time <= to && heard.last.time >= from;
    match (case.told.first, case.told.last) {
        (Some(first), Some(last)) if meanwhile(first, last) => RuledOut(format!(
            "{target} being off: it was heard from packet {} to packet {}, and the attempts fall into that time.",
            heard.first.packet, heard.last.packet
        )),
        _ => Remains(format!(
            "{target} being off at that time: it was heard in this capture, but not meanwhile."
        )),
    }
}

fn end(case: &Case<'_>) -> Weighed {
    let (Some(end), Some(last)) = (case.archive.vantage.last, case.latest_evidence()) else { return Nothing };
    let after = end.since(last.at.time);
    if after >= Duration::from_secs(1) {
        RuledOut(format!(
            "An answer after the end of the capture: it goes on for {:.1} s after the last packet cited.",
            after.as_secs_f64()
        ))
    } else {
        RuledOut(
            "An answer after the end of the capture: the last packet cited stands near the end, but those before it were left without an answer for long enough."
                .into(),
        )
    }
}

fn overlap(case: &Case<'_>) -> Weighed {
    let known = &case.archive.vantage.overlapping_addresses;
    let concerned = known.iter().find(|text| {
        [&case.told.source, &case.told.target]
            .into_iter()
            .any(|end| text.split_whitespace().any(|word| word == end))
    });
    match concerned {
        Some(text) => Remains(format!("Two machines under one address: {text}.")),
        None => RuledOut("Two machines under one address: none of the two was seen with several.".into()),
    }
}

/// What is no question where the packets are missing before they come as far as the target.
fn by_both_sides(doubt: Doubt, target: &str) -> Option<String> {
    let what = match doubt {
        Doubt::OwnFilter | Doubt::Crash | Doubt::AccessList => {
            format!("A filter or a fault of {target} itself")
        }
        Doubt::Dead => format!("{target} being off"),
        Doubt::Loss => {
            "Loss at the other vantage: it was weighed with the number of packets that are missing there"
                .to_owned()
        }
        Doubt::BlackHole => "A path-MTU black hole further on".to_owned(),
        Doubt::Balancer => format!("A load balancer in front of {target}"),
        _ => return None,
    };
    Some(format!("{what}: the packets are missing between the two vantages already."))
}
