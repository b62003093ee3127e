//! SNMP versions 1, 2c and 3 over UDP and TCP, by the shape of the whole message.
//!
//! Read by `ber` alone: a message cut by the prefix must still be known, and request ids below zero are legal
//! (RFC 3416 section 3), which `snmp-parser` refuses.

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::ber;
use super::bytes::Reader;
use super::look;
use super::look::Look;

/// The protocol.
pub struct Snmp;

static ABOUT: About = About {
    name: "snmp",
    title: "Simple Network Management Protocol",
    spec: "RFC 1157 (v1), RFC 1901 and 3416 (v2c), RFC 3412 and 3414 (v3), RFC 3430 (TCP)",
    usual: &["udp/161", "udp/162"],
    answers: true,
    facts: &[
        ("snmp.version", "each version: 1, 2c, 3"),
        (
            "snmp.pdu",
            "each operation: get, get-next, response, set, trap-v1, get-bulk, inform, trap, report, encrypted",
        ),
        ("snmp.access", "what the requests do: read, write; not told of encrypted ones"),
        ("snmp.security", "for version 3: noAuthNoPriv, authNoPriv, authPriv"),
    ],
};

impl Protocol for Snmp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        ber::may_begin_sequence(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let both = match seen.carrier {
            Carrier::Udp => look::both(seen, |side| look::datagrams_and_lengths(side, whole)),
            Carrier::Tcp => look::both(seen, |side| look::stream(side, |bytes| first(bytes, side.complete))),
            Carrier::Ethernet(_) => return Probe::No,
        };
        let both = match both {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = seen.facts();
        let mut client = None;
        let mut notifies = None;
        for (end, messages) in [End::First, End::Second].into_iter().zip(&both) {
            for message in messages.iter().flatten() {
                facts.add("snmp.version", message.version);
                if let Some(pdu) = message.pdu {
                    facts.add("snmp.pdu", pdu);
                }
                if let Some(security) = message.security {
                    facts.add("snmp.security", security);
                }
                if let Some(access) = message.pdu.and_then(access) {
                    facts.add("snmp.access", access);
                }
                match message.pdu {
                    Some("get" | "get-next" | "set" | "get-bulk" | "inform") => client = client.or(Some(end)),
                    Some("response" | "report") => client = client.or(Some(end.other())),
                    // Who reports an event opens the flow, and no answer is due.
                    Some("trap" | "trap-v1") => notifies = notifies.or(Some(end)),
                    _ => {}
                }
            }
        }
        let open = !(seen.first.complete && seen.second.complete);
        // Traps are unconfirmed (RFC 3416 section 2.8), and who wants an answer to what is encrypted says so (RFC 3412 section 6.4).
        let unasked =
            !both.iter().flatten().flatten().any(|message| message.asks || message.pdu == Some("response"));
        // Of a stream only the first message of each end is read.
        let read = if seen.carrier == Carrier::Udp { look::read(seen, &both) } else { [0; 2] };
        Probe::Proven(Proof { client: client.or(notifies), facts, open, unasked, read, ..Proof::default() })
    }

    fn gist(&self, carrier: Carrier, payload: &[u8]) -> Option<u64> {
        let message = whole(payload, payload.len()).filter(|_| carrier == Carrier::Udp)?;
        let version = u64::from(*message.version.as_bytes().first()?);
        // What differs in operation or level of security differs in its length or one of its letters.
        let word = |word: Option<&str>| {
            let letters = word.map_or(&[][..], str::as_bytes);
            let at = |place: usize| letters.get(place).map_or(0, |&letter| u64::from(letter & 0x1f));
            (letters.len() as u64) << 10 | at(0) << 5 | at(letters.len().saturating_sub(1))
        };
        Some(version << 40 | word(message.security) << 17 | word(message.pdu) << 1 | u64::from(message.asks))
    }

    fn glance(&self, carrier: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        let message =
            message(payload).filter(|message| carrier == Carrier::Udp || message.total == payload.len());
        let deed = message.and_then(|message| Deed::of(access(message.pdu?), "snmp.pdu", message.pdu));
        deed.into_iter().for_each(tell);
    }
}

/// What one message is.
#[derive(Clone, Copy, Debug)]
struct Message {
    version: &'static str,
    /// The operation; none where the message ends before it.
    pdu: Option<&'static str>,
    security: Option<&'static str>,
    /// Whether an answer is due.
    asks: bool,
    /// Its length in bytes.
    total: usize,
}

/// What a request does to the agent's values.
fn access(pdu: &str) -> Option<&'static str> {
    match pdu {
        "get" | "get-next" | "get-bulk" => Some("read"),
        "set" => Some("write"),
        _ => None,
    }
}

/// Whether an operation is of the confirmed class (RFC 3411 section 2.8).
fn asks(pdu: &str) -> bool {
    matches!(pdu, "get" | "get-next" | "set" | "get-bulk" | "inform")
}

/// In a datagram the message is all there is, as long as that was when it was sent.
fn whole(bytes: &[u8], length: usize) -> Option<Message> {
    message(bytes).filter(|message| message.total == length)
}

/// In a stream (RFC 3430) messages follow each other bare.
fn first(bytes: &[u8], complete: bool) -> Look<look::Messages<Message>> {
    /// Every field up to the variables has been seen in that many bytes, engine ids and community being short.
    const ENOUGH: usize = 400;
    match message(bytes).filter(|message| message.pdu.is_some()) {
        Some(message) => Look::Yes(look::Messages::from_buf([message])),
        None if !complete && bytes.len() < ENOUGH && may_begin(bytes) => Look::More,
        None => Look::No,
    }
}

/// Whether a message may begin so: a sequence, then an integer of one octet that is a version.
fn may_begin(bytes: &[u8]) -> bool {
    if bytes.first().is_some_and(|&tag| tag != ber::SEQUENCE) {
        return false;
    }
    let mut reader = Reader::new(bytes);
    match ber::enter(&mut reader, ber::SEQUENCE) {
        Some(head) if head.length > reader.left() => {
            reader.rest().iter().zip([ber::INTEGER, 1]).all(|(byte, want)| *byte == want)
                && reader.rest().get(2).is_none_or(|version| matches!(version, 0 | 1 | 3))
        }
        Some(_) => false,
        None => bytes.len() < 6,
    }
}

fn message(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes);
    let head = ber::enter(&mut reader, ber::SEQUENCE)?;
    match ber::integer(&mut reader)? {
        // RFC 1157 section 4, RFC 1901 section 3.
        version @ (0 | 1) => {
            let _community = ber::expect(&mut reader, ber::OCTET_STRING)?;
            let pdu = pdu(&mut reader, version == 0)?;
            let fits = reader.position() + pdu.1 == head.total();
            let version = if version == 0 { "1" } else { "2c" };
            fits.then_some(Message {
                version,
                pdu: Some(pdu.0),
                security: None,
                asks: asks(pdu.0),
                total: head.total(),
            })
        }
        3 => version_3(&mut reader, head.total()),
        _ => None,
    }
}

/// The operation's name, and how many bytes its element has from the reader on (RFC 3416 section 3, RFC 1157 section 4.1).
fn pdu(reader: &mut Reader<'_>, first_version: bool) -> Option<(&'static str, usize)> {
    let before = reader.position();
    let head = ber::header(reader.rest()).ok()?;
    let name = match head.tag {
        0xa0 => "get",
        0xa1 => "get-next",
        0xa2 => "response",
        0xa3 => "set",
        0xa4 if first_version => "trap-v1",
        0xa5 if !first_version => "get-bulk",
        0xa6 if !first_version => "inform",
        0xa7 if !first_version => "trap",
        0xa8 if !first_version => "report",
        _ => return None,
    };
    reader.skip(head.size)?;
    if head.tag == 0xa4 {
        // Enterprise, agent address (application tag 0), generic trap 0 to 6, specific trap.
        ber::expect(reader, ber::OBJECT_IDENTIFIER)?;
        let address = ber::expect(reader, 0x40)?;
        let generic = ber::integer(reader)?;
        ber::integer(reader)?;
        if address.len() != 4 || !(0..=6).contains(&generic) {
            return None;
        }
    } else {
        let _request = ber::integer(reader)?;
        let status = ber::integer(reader)?;
        let index = ber::integer(reader)?;
        // Error status and index; for get-bulk non-repeaters and max-repetitions. Statuses to 18 are defined, agents
        // have been seen to send others.
        let range = if head.tag == 0xa5 { 0..=i64::from(i32::MAX) } else { 0..=255 };
        if !range.contains(&status) || !(0..=i64::from(i32::MAX)).contains(&index) {
            return None;
        }
        // Variable bindings: a sequence that ends with the operation.
        let list = ber::header(reader.rest()).ok()?;
        let inside = reader.position() - before - head.size;
        if list.tag != ber::SEQUENCE || inside + list.total() != head.length {
            return None;
        }
    }
    Some((name, head.total().checked_sub(reader.position() - before)?))
}

/// RFC 3412 section 6: global data, security parameters, then the scoped operation, perhaps encrypted.
fn version_3(reader: &mut Reader<'_>, total: usize) -> Option<Message> {
    /// Flags (RFC 3412 section 6.4): authentication, privacy, reportable.
    const AUTH: u8 = 1;
    const PRIV: u8 = 2;
    const REPORTABLE: u8 = 4;
    /// The security model of RFC 3414.
    const USER_BASED: i64 = 3;
    let mut global = Reader::new(ber::expect(reader, ber::SEQUENCE)?);
    let (_id, size) = (ber::integer(&mut global)?, ber::integer(&mut global)?);
    let flags = ber::expect(&mut global, ber::OCTET_STRING)?;
    let model = ber::integer(&mut global)?;
    let &[flags] = flags else { return None };
    // The least that every engine takes is 484 bytes.
    if !global.is_empty() || !(484..=i64::from(i32::MAX)).contains(&size) || flags > 7 || model < 1 {
        return None;
    }
    let security = match (flags & AUTH, flags & PRIV) {
        (0, 0) => "noAuthNoPriv",
        (_, 0) => "authNoPriv",
        (0, _) => return None,
        _ => "authPriv",
    };
    // What follows has been told by the flags; here it may be cut.
    let is_cut = reader.position() + reader.left() < total;
    let head = ber::header(reader.rest()).ok()?;
    if head.tag != ber::OCTET_STRING || reader.position() + head.total() >= total {
        return None;
    }
    // Of the user-based model a sequence that fills them (RFC 3414 section 2.4).
    let mut parameters = Reader::new(reader.rest().get(head.size..)?);
    let fills = |inner: ber::Header| inner.total() == head.length;
    if is_cut && model == USER_BASED && !ber::enter(&mut parameters, ber::SEQUENCE).is_some_and(fills) {
        return None;
    }
    let pdu = match (scoped(reader, total, flags & PRIV != 0), is_cut) {
        (Some(name), _) => Some(name),
        (None, true) => (flags & PRIV != 0).then_some("encrypted"),
        (None, false) => return None,
    };
    let asks = flags & REPORTABLE != 0 || pdu.is_some_and(asks);
    Some(Message { version: "3", pdu, security: Some(security), asks, total })
}

/// The operation after the security parameters, where all of it that tells is there.
fn scoped(reader: &mut Reader<'_>, total: usize, is_private: bool) -> Option<&'static str> {
    ber::expect(reader, ber::OCTET_STRING)?;
    let head = ber::header(reader.rest()).ok()?;
    if reader.position() + head.total() != total {
        return None;
    }
    match head.tag {
        ber::OCTET_STRING if is_private => Some("encrypted"),
        ber::SEQUENCE if !is_private => {
            reader.skip(head.size)?;
            // Context engine id and name.
            ber::expect(reader, ber::OCTET_STRING)?;
            ber::expect(reader, ber::OCTET_STRING)?;
            Some(pdu(reader, false)?.0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Side;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    const GET: &str = "30 29 02 01 01 04 06 7075626c6963 a0 1c 02 04 ffffff01 02 01 00 02 01 00 30 0e 30 0c 06 08 2b06010201010100 05 00";

    #[test]
    fn labelled_captures() {
        harness::check(&Snmp, 0, 0);
        harness::check_steps(&Snmp);
    }

    #[test]
    fn the_community_is_no_fact() {
        let Probe::Proven(proof) = probe_messages(&Snmp, Carrier::Udp, &[&hex(GET)]) else {
            panic!("not proven")
        };
        assert_eq!((proof.client, proof.facts.get("snmp.version")), (Some(End::First), Some("2c")));
        assert!(proof.facts.iter().all(|fact| !fact.value.contains("public")));
        assert!(matches!(probe_messages(&Snmp, Carrier::Tcp, &[&hex(GET)]), Probe::Proven(_)));
    }

    #[test]
    fn datagrams_that_a_snap_length_cut_are_told_by_the_length_that_was_sent() {
        if !harness::present() {
            return;
        }
        let (mut seen, mut cut) = (0, 0);
        for (flow, label) in harness::labelled() {
            if flow.carrier != Carrier::Udp || label.protocol.as_deref() != Some("snmp") {
                continue;
            }
            seen += 1;
            for kept in [54, 86, 128] {
                let mut snapped = flow.snapped(kept);
                assert!(harness::proof(&Snmp, &snapped.seen()).is_some(), "{} {kept}", flow.place());
                // The same bytes where the datagrams had another length.
                for sent in &mut snapped.sent {
                    cut += sent.lacks.iter().filter(|&&lacks| lacks > 0).count();
                    sent.lacks.iter_mut().for_each(|lacks| *lacks += 1);
                }
                assert!(harness::proof(&Snmp, &snapped.seen()).is_none(), "{} {kept}", flow.place());
            }
        }
        assert!(seen > 0 && cut > 0);
    }

    /// Version 3, authenticated or not, with the engine's parameters, and a GET inside.
    fn version_3_of(flags: u8) -> Vec<u8> {
        let head = "30 62 02 01 03 30 0f 02 02 1234 02 03 00ffe3 04 01 FF 02 01 03";
        let parameters =
            "04 21 30 1f 04 09 80001f8803020000aa 02 01 05 02 02 0100 04 04 70636c37 04 00 04 03 010203";
        let inside = "30 29 04 09 80001f8803020000aa 04 00 a0 1a 02 02 0007 02 01 00 02 01 00 30 0e 30 0c 06 08 2b06010201010100 05 00";
        hex(&format!("{head} {parameters} {inside}").replace("FF", &format!("{flags:02x}")))
    }

    fn cut(bytes: &[u8], kept: usize, sent: usize) -> Probe {
        let (ends, lacks) = ([kept as u16], [(sent - kept) as u16]);
        let first = Side { lacks: &lacks, ..Side::of(&bytes[..kept], &ends) };
        Snmp.probe(&Seen { carrier: Carrier::Udp, first, second: Side::default(), known: None })
    }

    #[test]
    fn version_3_is_told_by_its_head_where_the_rest_was_cut() {
        let whole = version_3_of(4);
        let facts = |probe: Probe| {
            let proof = probe.proof()?;
            Some((
                proof.facts.get("snmp.security")?.to_owned(),
                proof.facts.get("snmp.pdu").map(str::to_owned),
            ))
        };
        let plain = |pdu: Option<&str>| Some(("noAuthNoPriv".to_owned(), pdu.map(str::to_owned)));
        assert_eq!(facts(cut(&whole, whole.len(), whole.len())), plain(Some("get")));
        for kept in 0..whole.len() {
            let told = facts(cut(&whole, kept, whole.len()));
            // Up to the lengths of the security parameters nothing is proved; the operation is told where it was captured.
            match kept {
                0..26 => assert_eq!(told, None, "{kept}"),
                26..86 => assert_eq!(told, plain(None), "{kept}"),
                _ => assert_eq!(told, plain(Some("get")), "{kept}"),
            }
            // Of another length, or not cut at all.
            assert_eq!(facts(cut(&whole, kept, whole.len() + 1)), None, "{kept}");
            assert_eq!(facts(cut(&whole, kept, kept)), None, "{kept}");
        }
        let private = facts(cut(&version_3_of(7), 40, whole.len()));
        assert_eq!(private, Some(("authPriv".to_owned(), Some("encrypted".to_owned()))));
        // A stream goes on: what is not there yet may still come.
        assert!(probe_messages(&Snmp, Carrier::Tcp, &[&whole[..40]]).proof().is_none());
    }

    #[test]
    fn strangers_as_long_as_they_say_are_not_snmp_because_they_were_cut() {
        let whole = version_3_of(4);
        // Version, length of the global data, flags, model, and the tag and lengths of the parameters: each wrong by itself.
        for (at, wrong) in
            [(4, 2), (6, 0x10), (18, 8), (18, 2), (19, 4), (21, 0), (22, 5), (23, 0x60), (24, 4), (25, 0x20)]
        {
            let mut stranger = whole.clone();
            stranger[at] = wrong;
            assert!(cut(&stranger, 40, whole.len()).proof().is_none(), "{at}");
        }
        // LDAP and a bare certificate, cut, and as long as they say.
        for stranger in [
            "30 60 02 01 03 60 5b 02 01 03 04 00 80 54 41 41",
            "30 60 30 4e a0 03 02 01 02 02 04 01 02 03 04",
        ] {
            let stranger = hex(stranger);
            assert!(cut(&stranger, stranger.len(), 0x62).proof().is_none());
        }
    }

    #[test]
    fn what_is_not_snmp() {
        let get = hex(GET);
        let mut other_version = get.clone();
        other_version[4] = 2;
        let mut other_pdu = get.clone();
        other_pdu[13] = 0xa9;
        let longer = [&get[..], &[0]].concat();
        let ldap = hex("30 0c 02 01 01 60 07 02 01 03 04 00 80 00");
        for stranger in [&other_version, &other_pdu, &longer, &ldap, &get[..40].to_vec()] {
            assert!(
                !matches!(probe_messages(&Snmp, Carrier::Udp, &[stranger]), Probe::Proven(_)),
                "{stranger:02x?}"
            );
        }
    }
}
