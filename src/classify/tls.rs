//! TLS and SSL over TCP: hellos, or records when the beginning was missed; also after an upgrade (STARTTLS, CONNECT).

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::Reader;
use super::look;
use super::look::Look;
use super::ssl2;
use super::tls_hello;
use super::tls_record;
use super::tls_record::Records;
use super::tls_record::Stop;
use super::weigh::agrees;
use crate::model::Facts;

/// The protocol.
pub struct Tls;

static ABOUT: About = About {
    name: "tls",
    title: "Transport Layer Security",
    spec: "RFC 8446, RFC 5246, RFC 4346, RFC 2246, RFC 6101 (SSL 3.0), SSL 2.0 draft-hickman-netscape-ssl-00",
    usual: &["tcp/443", "tcp/636", "tcp/5671", "tcp/6514"],
    answers: true,
    facts: tls_hello::FACTS,
};

impl Protocol for Tls {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let looks = [&seen.first, &seen.second].map(|side| look_at(side, 0, side.from_start));
        let strange = [&seen.first, &seen.second]
            .into_iter()
            .zip(&looks)
            .any(|(side, look)| matches!(look, Look::No) && is_other(side));
        let [first, second] = looks;
        match look::join(first, second) {
            Ok(both) => {
                let asked = both.iter().flatten().any(|half| half.hello == Some(Hello::Client));
                let mut proof = conclude(seen, both);
                if strange && asked {
                    proof.facts.add("tls.answer", "other");
                }
                Probe::Proven(proof)
            }
            Err(probe) => probe,
        }
    }
}

/// Whether what an end begins with is something else, and no alert of which the rest is still to come.
fn is_other(side: &Side<'_>) -> bool {
    let begins_alert =
        agrees(side.bytes, &[tls_record::ALERT, 3]) && side.bytes.len() < tls_record::RECORD_HEADER + 2;
    side.from_start && !side.is_silent() && !begins_alert
}

/// TLS that takes over from another protocol within the stream, no earlier than at these offsets of `first` and `second`.
///
/// It begins there or at a segment boundary after it. The proof's layers are empty: the caller names the stack.
pub fn upgrade(seen: &Seen<'_>, offsets: [usize; 2]) -> Option<Proof> {
    let [first, second] = offsets;
    let both = look::join(look_at(&seen.first, first, false), look_at(&seen.second, second, false)).ok()?;
    // A stray chain of records proves nothing where hellos are due; one hello of either end must be there.
    let hello = both.iter().flatten().any(|seen| seen.hello.is_some());
    hello.then(|| conclude(seen, both))
}

/// Adds to the proof of a protocol that its stream goes on in TLS, where it does after these offsets: the layer and the facts.
pub fn goes_on(proof: &mut Proof, name: &'static str, seen: &Seen<'_>, offsets: [usize; 2]) {
    let Some(inner) = upgrade(seen, offsets) else { return };
    proof.layers = vec![name, ABOUT.name];
    proof.client = proof.client.or(inner.client);
    proof.open = inner.open;
    for fact in inner.facts.iter() {
        proof.facts.add(fact.key, fact.value.as_str());
    }
}

/// What one direction showed.
#[derive(Debug, Default)]
struct Half {
    /// Whether it sent the client's or the server's hello.
    hello: Option<Hello>,
    facts: Facts,
    /// Alerts in the clear.
    fatal: Option<String>,
    warning: Option<String>,
    application_data: bool,
    /// Any handshake record.
    handshake: bool,
    /// Whether the first that it says encrypted, right after its hello, is a record of TLS 1.3 that can only be an alert.
    gives_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hello {
    Client,
    Server,
}

/// Judges one direction from `offset` on, at that byte alone or at each segment boundary too.
fn look_at(side: &Side<'_>, offset: usize, exact: bool) -> Look<Half> {
    let Some(bytes) = side.bytes.get(offset..) else { return Look::No };
    let later = if exact { &[][..] } else { side.ends };
    let starts =
        std::iter::once(offset).chain(later.iter().map(|&end| usize::from(end)).filter(|&end| end > offset));
    let mut more = bytes.is_empty() || !exact;
    for start in starts.take(MOST_STARTS) {
        match look_from(side, start, exact && start == 0) {
            Look::Yes(half) => return Look::Yes(half),
            Look::More => more = true,
            Look::No => {}
        }
    }
    if !side.complete {
        return if more { Look::More } else { Look::No };
    }
    match (!exact).then(|| scan(side, offset)).flatten() {
        Some(half) => Look::Yes(half),
        None => Look::No,
    }
}

/// An alert as TLS 1.3 encrypts it: two bytes, the type and a tag of 16 (RFC 8446 sections 5.2 and 6). A Finished has 53 at least.
const SEALED_ALERT: usize = 19;

/// Segment boundaries tried: bounds the work on one-byte segments.
const MOST_STARTS: usize = 24;

/// Finds records in a stream whose boundaries fall within segments: the last resort once the prefix is complete.
fn scan(side: &Side<'_>, offset: usize) -> Option<Half> {
    let bytes = side.bytes.get(offset..)?;
    let starts = bytes.windows(3).enumerate().filter(|(_, window)| matches!(window, [23, 3, 1..=3]));
    for (at, _) in starts.take(MOST_STARTS) {
        let rest = bytes.get(at..)?;
        // Two whole records and the header of a third.
        if Records::new(rest).take(3).count() == 3 {
            return Some(read(rest));
        }
    }
    None
}

fn look_from(side: &Side<'_>, start: usize, first_byte: bool) -> Look<Half> {
    let Some(bytes) = side.bytes.get(start..).filter(|bytes| !bytes.is_empty()) else { return Look::More };
    match ssl2::hello(bytes, side.complete) {
        Look::Yes((is_client, facts)) => {
            let hello = Some(if is_client { Hello::Client } else { Hello::Server });
            return Look::Yes(Half { hello, facts, handshake: true, ..Half::default() });
        }
        Look::More if !side.complete => return Look::More,
        Look::No | Look::More => {}
    }
    let mut records = Records::new(bytes);
    let Some(record) = records.next() else {
        return if records.stop == Stop::End { Look::More } else { Look::No };
    };
    match record.kind {
        tls_record::HANDSHAKE => {
            let (messages, stop) = handshake(bytes);
            if tls_record::may_be_hello(&messages) {
                // Version, random and the length of the session id: what follows is the hello's own affair.
                if messages.len() >= 4 + 35 || (side.complete && messages.len() >= 6) {
                    return Look::Yes(read(bytes));
                }
                return if stop == Stop::End { Look::More } else { Look::No };
            }
            if first_byte {
                // A stream heard from its start begins with a hello.
                return Look::No;
            }
            // A later flight: plain messages that chain, or encrypted ones whose record ends with a segment.
            chained(side, start, &record)
        }
        // An endpoint may refuse at once: an alert in the clear is all that it sends.
        tls_record::ALERT if first_byte && record.is_whole() && record.length == 2 => {
            if side.complete || bytes.len() > record.end || side.ends.contains(&7) {
                Look::Yes(read(bytes))
            } else {
                Look::More
            }
        }
        _ if first_byte => Look::No,
        _ => chained(side, start, &record),
    }
}

/// Records without a hello: proven by two that chain, or by one that ends where a segment does.
fn chained(side: &Side<'_>, start: usize, record: &tls_record::Record<'_>) -> Look<Half> {
    if !(1..=3).contains(&record.minor) {
        return Look::No;
    }
    let Some(bytes) = side.bytes.get(start..) else { return Look::No };
    let mut records = Records::new(bytes);
    let count = records.by_ref().take(2).count();
    let aligned = side.ends.iter().any(|&end| usize::from(end) == start + record.end);
    let long_enough = record.length >= 16;
    if count == 2 || (aligned && long_enough) {
        return Look::Yes(read(bytes));
    }
    if records.stop == Stop::Stranger {
        return Look::No;
    }
    if side.complete && long_enough && record.kind == tls_record::APPLICATION_DATA && start == 0 {
        // One long record, its end beyond the prefix.
        return Look::Yes(read(bytes));
    }
    Look::More
}

/// The handshake records at the front put together, and what ended them.
fn handshake(bytes: &[u8]) -> (std::borrow::Cow<'_, [u8]>, Stop) {
    let mut records = Records::new(bytes);
    let mut messages = std::borrow::Cow::Borrowed(&[][..]);
    for record in records.by_ref() {
        if record.kind != tls_record::HANDSHAKE {
            return (messages, Stop::Stranger);
        }
        if messages.is_empty() {
            messages = std::borrow::Cow::Borrowed(record.body);
        } else {
            messages.to_mut().extend_from_slice(record.body);
        }
    }
    (messages, records.stop)
}

/// Reads everything that a direction shows from its first record on.
fn read(bytes: &[u8]) -> Half {
    let mut half = Half::default();
    let mut plain = Vec::new();
    let (mut encrypted, mut only_hello) = (false, true);
    for record in Records::new(bytes) {
        match record.kind {
            tls_record::CHANGE_CIPHER_SPEC => encrypted = true,
            tls_record::HANDSHAKE => {
                half.handshake = true;
                // After a HelloRetryRequest comes a ChangeCipherSpec and yet another hello (RFC 8446 appendix D.4).
                let again = encrypted && record.body.len() > 6 && tls_record::may_be_hello(record.body);
                if !encrypted || again {
                    encrypted = false;
                    plain.extend_from_slice(record.body);
                } else {
                    only_hello = false;
                }
            }
            tls_record::ALERT if record.length == 2 => match (tls_hello::alert(record.body), record.body) {
                (Some(alert), [2, ..]) => half.fatal = half.fatal.or(Some(alert)),
                (Some(alert), _) => half.warning = half.warning.or(Some(alert)),
                (None, _) => {}
            },
            tls_record::APPLICATION_DATA => {
                half.gives_up |= only_hello && !half.application_data && record.length == SEALED_ALERT;
                half.application_data = true;
            }
            _ => {}
        }
    }
    for message in tls_record::messages(&plain) {
        match message.kind {
            tls_record::CLIENT_HELLO if half.hello != Some(Hello::Server) => {
                half.hello = Some(Hello::Client);
                if !message.is_whole() || !tls_hello::client_hello(message.body, &mut half.facts) {
                    cut_client_hello(message.body, message.is_whole(), &mut half.facts);
                }
            }
            tls_record::SERVER_HELLO if half.hello != Some(Hello::Client) => {
                half.hello = Some(Hello::Server);
                if message.is_whole() {
                    tls_hello::server_hello(message.body, &mut half.facts);
                }
            }
            tls_record::HELLO_RETRY_REQUEST if half.hello.is_none() => {
                half.hello = Some(Hello::Server);
                half.facts.add("tls.version", "1.3");
            }
            tls_record::CERTIFICATE if half.hello == Some(Hello::Server) => {
                tls_hello::certificate(message.body, &mut half.facts);
            }
            _ => {}
        }
    }
    half
}

/// States what the part of a ClientHello says that the prefix holds.
fn cut_client_hello(body: &[u8], whole: bool, facts: &mut Facts) {
    facts.add("tls.client_hello", "seen");
    let mut reader = Reader::new(body);
    let mut extensions = || {
        let version = reader.be16()?;
        reader.skip(32)?;
        let session = reader.u8()?;
        reader.skip(usize::from(session))?;
        let suites = reader.be16()?;
        reader.skip(usize::from(suites))?;
        let methods = reader.u8()?;
        reader.skip(usize::from(methods))?;
        reader.be16()?;
        Some((version, reader.rest()))
    };
    if let Some((version, rest)) = extensions() {
        tls_hello::client_extensions(whole.then_some(version), rest, facts);
    }
}

/// Joins what both directions showed.
fn conclude(seen: &Seen<'_>, both: [Option<Half>; 2]) -> Proof {
    let [first, second] = &both;
    let client =
        match (first.as_ref().and_then(|half| half.hello), second.as_ref().and_then(|half| half.hello)) {
            (Some(Hello::Client), _) | (None, Some(Hello::Server)) => Some(End::First),
            (Some(Hello::Server), _) | (None, Some(Hello::Client)) => Some(End::Second),
            (None, None) => None,
        };
    let mut proof = Proof { client, ..Proof::default() };
    let halves = || [(End::First, first.as_ref()), (End::Second, second.as_ref())];
    let of = |end: End| if client == Some(end) { "client" } else { "server" };
    // The client's own facts come first, so that the order does not hang on who was heard first.
    let server_first = client == Some(End::Second);
    let order = if server_first { [1, 0] } else { [0, 1] };
    for (end, half) in order.iter().filter_map(|&at| halves().into_iter().nth(at)) {
        let Some(half) = half else { continue };
        for fact in half.facts.iter() {
            proof.facts.add(fact.key, fact.value.as_str());
        }
        if client == Some(end.other()) && half.handshake {
            proof.facts.add("tls.server_handshake", "seen");
        }
        if client.is_some() && half.application_data {
            proof.facts.add("tls.application_data", of(end));
        }
        if client == Some(end) && half.hello.is_some() && half.gives_up {
            proof.facts.add("tls.gives_up", of(end));
        }
    }
    let worst = |pick: fn(&Half) -> Option<&String>| {
        halves().into_iter().find_map(|(end, half)| Some((end, half.and_then(pick)?.clone())))
    };
    if let Some((end, alert)) =
        worst(|half| half.fatal.as_ref()).or_else(|| worst(|half| half.warning.as_ref()))
    {
        proof.facts.add("tls.alert", alert);
        if client.is_some() {
            proof.facts.add("tls.alert.from", of(end));
        }
    }
    tls_hello::capped_by(&mut proof.facts);
    let talked = halves().iter().all(|(_, half)| half.is_some_and(|half| half.application_data));
    let fatal = halves().iter().any(|(_, half)| half.is_some_and(|half| half.fatal.is_some()));
    let complete = seen.first.complete && seen.second.complete;
    // Without a hello nothing more is to be learnt, except the alert with which the other end refuses.
    proof.open = !complete && !talked && !fatal && client.is_some();
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Tls, 0, 0);
        harness::check_steps(&Tls);
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "all that differs is worth seeing, not the first alone")]
    fn versions_and_names_are_those_labelled() {
        if !harness::present() {
            return;
        }
        let mut wrong = Vec::new();
        let mut right = 0;
        for (flow, label) in harness::labelled() {
            if label.protocol.as_deref() != Some("tls") || label.mixed {
                continue;
            }
            let proof = harness::proof(&Tls, &flow.seen());
            let fact = |key| proof.as_ref().and_then(|proof| proof.facts.get(key)).map(str::to_owned);
            for (key, want) in [("tls.version", &label.tls_version), ("tls.sni", &label.sni)] {
                if want.is_some() && fact(key) != want.as_deref().map(str::to_ascii_lowercase) {
                    wrong.push(format!("{} {key}: {:?}, label {want:?}", flow.place(), fact(key)));
                } else if want.is_some() {
                    right += 1;
                }
            }
        }
        println!("{right} right");
        for line in &wrong {
            println!("{line}");
        }
        assert!(right > 0 && wrong.is_empty(), "{} wrong", wrong.len());
    }

    #[test]
    fn an_alert_is_told_with_its_sender() {
        let hello = hex(&format!("16 0301 002d 01 000029 0303 {} 00 0002 1301 01 00", "11".repeat(32)));
        let Probe::Proven(proof) = probe_both(&Tls, Carrier::Tcp, &[&hello], &[&hex("15 0301 0002 02 46")])
        else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("tls.alert"), Some("fatal protocol_version(70)"));
        assert_eq!(proof.facts.get("tls.alert.from"), Some("server"));
        assert_eq!(proof.facts.get("tls.version"), None);
        assert_eq!(proof.facts.get("tls.offered"), Some("1.2"));
        for (begun, other) in [("15", false), ("15 0303 0002", false), ("48 5454 50", true)] {
            let probe = probe_both(&Tls, Carrier::Tcp, &[&hello], &[&hex(begun)]);
            let told = probe.proof().is_some_and(|proof| proof.facts.get("tls.answer").is_some());
            assert_eq!(told, other, "{begun}");
        }
    }

    #[test]
    fn a_client_that_ends_the_handshake_with_a_sealed_alert_gives_up() {
        let hello = hex(&format!("16 0301 002d 01 000029 0303 {} 00 0002 1301 01 00", "11".repeat(32)));
        let sealed = |length: u8| [&[23, 3, 3, 0, length][..], &vec![0xd1; usize::from(length)]].concat();
        let server = [hex("14 0303 0001 01"), sealed(122), sealed(69)].concat();
        let gives_up = |client: &[&[u8]]| {
            let Probe::Proven(proof) = probe_both(&Tls, Carrier::Tcp, client, &[&server]) else {
                panic!("not proven")
            };
            proof.facts.get("tls.gives_up").map(str::to_owned)
        };
        let change = hex("14 0303 0001 01");
        assert_eq!(gives_up(&[&hello, &change, &sealed(19)]).as_deref(), Some("client"));
        assert_eq!(gives_up(&[&hello, &sealed(19)]).as_deref(), Some("client"), "without a change of cipher");
        assert_eq!(gives_up(&[&hello, &change, &sealed(53), &sealed(19)]), None, "it finished first");
        let before_13 = hex("16 0303 0028 9a9a");
        let finished = [&before_13[..], &[0x9a; 38]].concat();
        assert_eq!(
            gives_up(&[&hello, &change, &finished, &sealed(19)]),
            None,
            "TLS 1.2 finishes in the open"
        );
    }

    #[test]
    fn a_hello_over_many_records_and_segments() {
        let hello = hex(&format!("01 000029 0303 {} 00 0002 1301 01 00", "22".repeat(32)));
        let records: Vec<Vec<u8>> =
            hello.chunks(7).map(|piece| [&[22, 3, 1, 0, piece.len() as u8][..], piece].concat()).collect();
        let segments: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        for count in 1..4 {
            assert_eq!(probe_messages(&Tls, Carrier::Tcp, &segments[..count]), Probe::NeedMore);
        }
        assert!(matches!(probe_messages(&Tls, Carrier::Tcp, &segments), Probe::Proven(_)));
    }

    #[test]
    fn what_is_not_tls() {
        for stranger in
            [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", &hex("16 0301 0100 0b 000100 0303"), &hex("1703")]
        {
            let (bytes, ends) = harness::joined(&[stranger]);
            let side = Side { complete: true, ..Side::of(&bytes, &ends) };
            let silent = Side { complete: true, ..Side::default() };
            let seen = Seen { carrier: Carrier::Tcp, first: side, second: silent, known: None };
            assert_eq!(Tls.probe(&seen), Probe::No, "{stranger:02x?}");
        }
    }
}
