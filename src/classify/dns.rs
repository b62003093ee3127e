//! DNS over UDP and TCP, and what its messages say of names.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::dns_message;
use super::dns_message::Kind;
use super::dns_message::Message;
use super::dns_message::code_name;
use super::look;
use super::look::Look;
use super::look::Messages;
use crate::model::Host;
use crate::model::Statement;

/// The protocol.
pub struct Dns;

static ABOUT: About = About {
    name: "dns",
    title: "Domain Name System",
    spec: "RFC 1035, RFC 6891 (EDNS), RFC 7766 (TCP), RFC 8914 (extended errors)",
    usual: &["udp/53", "tcp/53"],
    answers: true,
    facts: &[
        ("dns.question", "each question of the prefix: name in lower case, and type"),
        ("dns.answer", "each address or further name that an answer of the prefix gives"),
        ("dns.code", "each response code of the prefix: mnemonic and number"),
    ],
};

impl Protocol for Dns {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match carrier {
            Carrier::Tcp => at < 2 || dns_message::may_begin(at - 2, byte),
            _ => dns_message::may_begin(at, byte),
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let both = match seen.carrier {
            Carrier::Udp => look_at_datagrams(seen, Kind::Dns),
            Carrier::Tcp => look::both(seen, |side| {
                look::stream(side, |bytes| stream(bytes, side.from_start, side.complete))
            }),
            Carrier::Ethernet(_) => return Probe::No,
        };
        match both {
            Ok(both) => Probe::Proven(conclude(seen, &both, "dns.question", Some("dns.code"))),
            Err(probe) => probe,
        }
    }

    fn listens(&self) -> bool {
        true
    }

    fn hear(&self, carrier: Carrier, message: &[u8], heard: &mut Vec<Statement>) {
        match carrier {
            Carrier::Udp => {
                let message = Message::read(message, true).or_else(|| Message::refusal(message));
                heard.extend(message.map(|message| Statement::Dns(message.statement())));
            }
            Carrier::Tcp => {
                let mut reader = Reader::new(message);
                while let Some(length) = reader.be16() {
                    let body = reader.rest().get(..usize::from(length)).unwrap_or(reader.rest());
                    let Some(message) = Message::read(body, true) else { break };
                    heard.push(Statement::Dns(message.statement()));
                    if reader.skip(body.len()).is_none() {
                        break;
                    }
                }
            }
            Carrier::Ethernet(_) => {}
        }
    }
}

/// Judges datagrams as messages of one of the kinds that are on the local link.
pub(super) fn probe_local(seen: &Seen<'_>, kind: Kind, question: &'static str) -> Probe {
    if seen.carrier != Carrier::Udp {
        return Probe::No;
    }
    match look_at_datagrams(seen, kind) {
        Ok(both) => Probe::Proven(conclude(seen, &both, question, None)),
        Err(probe) => probe,
    }
}

/// Longest datagram prefix that a side keeps; what is that long may go on.
const KEPT: usize = 512;

/// The datagrams of both ends that are messages of this kind; of one that was cut, as far as it goes.
fn look_at_datagrams<'a>(seen: &Seen<'a>, kind: Kind) -> Result<[Option<Messages<Message<'a>>>; 2], Probe> {
    look::both(seen, |side| {
        look::datagrams_and_lengths(side, |bytes, length| {
            let cut = bytes.len() >= KEPT || bytes.len() < length;
            Message::read(bytes, cut).filter(|message| message.kind() == kind)
        })
    })
}

/// Messages in a stream, each after its length (RFC 1035 section 4.2.2).
fn stream(bytes: &[u8], from_start: bool, complete: bool) -> Look<Messages<Message<'_>>> {
    /// A header and the shortest question.
    const SHORTEST: u16 = 17;
    let mut messages = Messages::new();
    let mut reader = Reader::new(bytes);
    while let Some(length) = reader.be16() {
        if length < SHORTEST {
            break;
        }
        let body = reader.rest().get(..usize::from(length)).unwrap_or(reader.rest());
        let cut = body.len() < usize::from(length);
        match Message::read(body, cut) {
            Some(message) => messages.push(message),
            // Too little of it to tell.
            None if cut && !complete && body.len() < 300 && may_begin(body) => {
                return if messages.is_empty() { Look::More } else { Look::Yes(messages) };
            }
            None => break,
        }
        if cut || reader.skip(body.len()).is_none() {
            break;
        }
    }
    match messages.is_empty() {
        false => Look::Yes(messages),
        true if bytes.len() < 2 && from_start => Look::More,
        true => Look::No,
    }
}

/// Whether a message that is cut within its first question may begin so: flags and counts as far as they are there.
fn may_begin(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    let (Some(_id), Some(flags)) = (reader.be16(), reader.be16()) else { return true };
    let reserved = flags & 0x0040;
    reserved == 0 && reader.be16().is_none_or(|questions| dns_message::may_ask(flags, questions))
}

/// Joins both ends' messages: who asks is the client.
fn conclude(
    seen: &Seen<'_>,
    both: &[Option<Messages<Message<'_>>>; 2],
    question: &'static str,
    code: Option<&'static str>,
) -> Proof {
    let mut facts = seen.facts();
    let mut client = None;
    for (end, messages) in [End::First, End::Second].into_iter().zip(both) {
        for message in messages.iter().flatten() {
            client = client.or(Some(if message.is_response() { end.other() } else { end }));
            if let Some(text) = message.question_text() {
                facts.add(question, text);
            }
            if let Some(code) = code
                && message.is_response()
            {
                let said = message.answer();
                facts.add(code, code_name(said.code));
                said.aliases.into_iter().for_each(|alias| facts.add("dns.answer", alias));
                for address in said.addresses {
                    facts.add("dns.answer", Host::Ip(address).text().as_str());
                }
            }
        }
    }
    let read = if seen.carrier == Carrier::Udp { look::read(seen, both) } else { [0; 2] };
    Proof { client, facts, open: !(seen.first.complete && seen.second.complete), read, ..Proof::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Side;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    const QUERY: &str = "1234 0100 0001 0000 0000 0000 03 777777 05 706c616e74 00 0001 0001";

    #[test]
    fn labelled_captures() {
        harness::check(&Dns, 0, 0);
        harness::check_steps(&Dns);
    }

    #[test]
    fn over_tcp_the_length_may_come_alone() {
        let query = hex(QUERY);
        let length = [0, query.len() as u8];
        assert_eq!(probe_messages(&Dns, Carrier::Tcp, &[&length]), Probe::NeedMore);
        assert_eq!(probe_messages(&Dns, Carrier::Tcp, &[&length, &query[..20]]), Probe::NeedMore);
        let Probe::Proven(proof) = probe_messages(&Dns, Carrier::Tcp, &[&length, &query[..20], &query[20..]])
        else {
            panic!("not proven");
        };
        assert_eq!((proof.client, proof.facts.get("dns.question")), (Some(End::First), Some("www.plant A")));
    }

    /// What may still be a message is not given up for its number of questions.
    #[test]
    fn a_cut_message_with_many_questions_is_waited_for() {
        let mut message = hex("3900 a480 000f 0000 0000 0000");
        message.extend(hex(&QUERY[30..]).repeat(15));
        let length = [0, message.len() as u8];
        let Probe::NeedMore = probe_messages(&Dns, Carrier::Tcp, &[&length, &message[..7]]) else {
            panic!("given up")
        };
    }

    #[test]
    fn a_snap_length_cuts_an_answer_behind_its_question() {
        let answer = hex("1234 8180 0001 0001 0000 0000 03 777777 05 706c616e74 00 0001 0001 c00c 0001 00");
        let side = |lacks: &'static [u16]| Side { lacks, ..Side::of(&answer, &[32]) };
        let probe =
            |first| Dns.probe(&Seen { carrier: Carrier::Udp, first, second: Side::default(), known: None });
        assert_eq!(answer.len(), 32);
        let proof = probe(side(&[11])).proof().unwrap();
        assert_eq!((proof.client, proof.facts.get("dns.question")), (Some(End::Second), Some("www.plant A")));
        assert!(probe(side(&[])).proof().is_none());
    }

    #[test]
    fn messages_are_heard() {
        let mut heard = Vec::new();
        Dns.hear(Carrier::Udp, &hex(QUERY), &mut heard);
        let query = hex(QUERY);
        let framed = [&[0, query.len() as u8][..], &query, &[0, query.len() as u8], &query].concat();
        Dns.hear(Carrier::Tcp, &framed, &mut heard);
        assert_eq!(heard.len(), 3);
        Dns.hear(Carrier::Udp, &hex("1234 8185 0000 0000 0000 0000"), &mut heard);
        assert!(matches!(&heard[3], Statement::Dns(message) if (message.id, message.code) == (0x1234, 5)));
        let Statement::Dns(message) = &heard[0] else { panic!() };
        assert_eq!(message.question, Some(("www.plant".to_owned(), 1)));
    }

    #[test]
    fn what_is_not_dns() {
        for stranger in [
            hex("1234 0100 0001 0000 0000 0000 03 777777 05 706c616e74 00 0001 0007"),
            hex("1234 0140 0001 0000 0000 0000 03 777777 05 706c616e74 00 0001 0001"),
            hex("1234 8180 0000 0000 0000 0000"),
            vec![0; 17],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            assert!(
                !matches!(probe_messages(&Dns, Carrier::Udp, &[&stranger]), Probe::Proven(_)),
                "{stranger:02x?}"
            );
        }
    }
}
