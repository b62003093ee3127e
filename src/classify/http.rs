//! HTTP/1 and HTTP/2 in the clear, with what proxies and portals answer; and TLS or WebSocket that begins inside.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::Reader;
use super::http_head;
use super::http_head::Head;
use super::look;
use super::look::Look;
use super::tunnel;
use super::tunnel::Inside;

/// The protocol.
pub struct Http;

static ABOUT: About = About {
    name: "http",
    title: "Hypertext Transfer Protocol",
    spec: "RFC 9110, RFC 9112 (HTTP/1.1), RFC 9113 (HTTP/2), RFC 6455 (WebSocket)",
    usual: &["tcp/80", "tcp/8080", "tcp/3128"],
    answers: true,
    facts: &[
        (
            "http.version",
            "each version: 1.0, 1.1, 2; of HTTP/2 nothing more is told, its heads are compressed (RFC 7541)",
        ),
        ("http.method", "each method"),
        ("http.host", "each host asked for, without its port"),
        ("http.user_agent", "each client program as it calls itself"),
        (
            "http.status",
            "the first status code of an answer that is final, and any that a proxy or portal uses to refuse: 403, 407, 451, 511",
        ),
        ("http.refused_by", "what in a refusal (403) names a proxy on the way: `Via` and the like"),
        ("http.connect", "host and port that a proxy was asked to connect to"),
        ("http.connect.status", "status code of the proxy's answer to that"),
    ],
};

impl Protocol for Http {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            // A method, a version, an empty line before either; the length of a SETTINGS frame.
            0 => byte.is_ascii_uppercase() || matches!(byte, b'-' | b'\r' | b'\n' | 0),
            1 => byte.is_ascii_uppercase() || matches!(byte, b'-' | b' ' | b'\r' | b'\n' | 0),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        judge(seen, true)
    }
}

/// `may_carry` where what it carries is looked at: not in a tunnel within a tunnel.
fn judge(seen: &Seen<'_>, may_carry: bool) -> Probe {
    match look::both(seen, look_at) {
        Ok(both) => Probe::Proven(conclude(seen, both, may_carry)),
        Err(probe) => probe,
    }
}

enum Half {
    /// HTTP/1.
    Heads(Vec<Head>),
    /// HTTP/2, and whether this end sent the client's preface.
    Frames { client: bool },
}

/// The client connection preface (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn look_at(side: &Side<'_>) -> Look<Half> {
    match (look::stream(side, |bytes| frames(bytes, side.complete)), http_head::heads(side)) {
        (Look::Yes(half), _) => Look::Yes(half),
        (_, Look::Yes(heads)) => Look::Yes(Half::Heads(heads)),
        (Look::No, Look::No) => Look::No,
        _ => Look::More,
    }
}

/// HTTP/2 by the client's preface or the server's first frames.
fn frames(bytes: &[u8], complete: bool) -> Look<Half> {
    if bytes.starts_with(PREFACE) {
        Look::Yes(Half::Frames { client: true })
    } else if is_settings(bytes) {
        Look::Yes(Half::Frames { client: false })
    } else if !complete && (PREFACE.starts_with(bytes) || may_be_settings(bytes)) {
        Look::More
    } else {
        Look::No
    }
}

/// Whether a server's part begins here: a SETTINGS frame (RFC 9113 section 6.5) with known identifiers only,
/// and another frame's header after it.
fn is_settings(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let (Some(length), Some(4), Some(0), Some(0)) = (reader.be24(), reader.u8(), reader.u8(), reader.be32())
    else {
        return false;
    };
    if length == 0 || length % 6 != 0 || length > 60 {
        return false;
    }
    let Some(settings) = reader.take(length as usize) else { return false };
    let known = settings.chunks(6).all(|setting| matches!(setting, [0, 1..=9, ..]));
    // The acknowledgement, or WINDOW_UPDATE for the connection, follows (types 4 and 8, stream 0).
    let next = (reader.be24(), reader.u8(), reader.u8(), reader.be32());
    known && matches!(next, (Some(4), Some(8), Some(0), Some(0)) | (Some(0), Some(4), Some(1), Some(0)))
}

/// Whether the bytes are too few to tell a SETTINGS frame.
fn may_be_settings(bytes: &[u8]) -> bool {
    let shape = bytes.iter().zip([0, 0]).all(|(byte, zero)| *byte == zero);
    let kind =
        bytes.get(3).is_none_or(|&kind| kind == 4) && bytes.get(2).is_none_or(|&length| length % 6 == 0);
    shape && kind && bytes.len() < 9 + 60 + 9
}

/// Status codes with which a proxy or portal refuses (RFC 9110 sections 15.5.4, 15.5.8; RFC 7725; RFC 6585).
const REFUSALS: [u16; 4] = [403, 407, 451, 511];
/// Answers after which the one that counts is still to come (RFC 9110 section 15.2, RFC 2518 section 10.1, RFC 8297); 101 is final for HTTP.
const INTERIM: [u16; 3] = [100, 102, 103];

fn conclude(seen: &Seen<'_>, both: [Option<Half>; 2], may_carry: bool) -> Proof {
    let mut proof = Proof { open: !(seen.first.complete && seen.second.complete), ..Proof::default() };
    let ends = || [End::First, End::Second].into_iter().zip(&both);
    for (end, half) in ends() {
        let asks = match half {
            Some(Half::Heads(heads)) => heads.first().map(|head| head.method.is_some()),
            Some(Half::Frames { client }) => Some(*client),
            None => None,
        };
        if let Some(asks) = asks {
            proof.client = proof.client.or(Some(if asks { end } else { end.other() }));
        }
    }
    let server_first = proof.client == Some(End::Second);
    let order = if server_first { [End::Second, End::First] } else { [End::First, End::Second] };
    let half_of = |wanted: End| ends().find(|(end, _)| *end == wanted).and_then(|(_, half)| half.as_ref());
    for end in order {
        match half_of(end) {
            Some(Half::Frames { .. }) => proof.facts.add("http.version", "2"),
            Some(Half::Heads(heads)) => tell(heads, &mut proof),
            None => {}
        }
    }
    let heads_of = |end: End| match half_of(end) {
        Some(Half::Heads(heads)) => heads.as_slice(),
        _ => &[],
    };
    let [requests, responses] = order.map(heads_of);
    // A response answers the request of the same place, once the interim ones (1xx but 101) are left out.
    let finals: Vec<&Head> = responses
        .iter()
        .filter(|head| head.status.is_some_and(|status| status >= 200 || status == 101))
        .collect();
    let switched = finals.iter().position(|head| head.status == Some(101) && head.websocket);
    // A proxy that wants a login says so to the first request, and grants the next one on the same connection (RFC 9110 section 11.7).
    let connects = || {
        let asked = requests.iter().enumerate();
        asked.filter(|(_, head)| head.method.as_deref() == Some("CONNECT")).map(|(at, _)| at)
    };
    let status = |at: usize| finals.get(at).and_then(|head| head.status);
    let granted = connects().find(|&at| status(at).is_some_and(|status| (200..300).contains(&status)));
    let latest = || connects().rfind(|&at| status(at).is_some()).or_else(|| connects().next());
    if let Some(at) = granted.or_else(latest) {
        let inside = tunnel(seen, &mut proof, order, requests.get(at), finals.get(at).copied());
        if let Some(inside) = inside.filter(|_| may_carry) {
            carry(&mut proof, &["http"], &inside);
        }
    } else if let Some(at) = switched {
        proof.layers = vec!["http", "websocket"];
        let ends = [requests.get(at).map(|head| head.end), finals.get(at).map(|head| head.end)];
        if may_carry {
            let inside = in_order(order, ends, |end, offset| Inside::websocket(seen.side(end), offset));
            carry(&mut proof, &["http", "websocket"], &inside);
        }
    }
    proof
}

/// Adds the layers and facts of what is spoken inside, where anyone knows it.
fn carry(proof: &mut Proof, outer: &[&'static str], inside: &[Inside<'_>; 2]) {
    let inner = tunnel::with(inside, |seen| {
        tunnel::ask(seen, ABOUT.name).or_else(|| match judge(seen, false) {
            Probe::Proven(inner) => Some(Proof { layers: vec![ABOUT.name], ..inner }),
            _ => None,
        })
    });
    let Some(inner) = inner else { return };
    proof.layers = outer.iter().copied().chain(inner.layers).collect();
    proof.open &= inner.open;
    for fact in inner.facts.iter() {
        proof.facts.add(fact.key, fact.value.clone());
    }
}

/// What client and server have, first and second end again.
fn in_order<T>(
    order: [End; 2],
    [client, server]: [Option<usize>; 2],
    make: impl Fn(End, Option<usize>) -> T,
) -> [T; 2] {
    let offset = |end: End| if order.first() == Some(&end) { client } else { server };
    [End::First, End::Second].map(|end| make(end, offset(end)))
}

/// States what the heads of one direction say.
fn tell(heads: &[Head], proof: &mut Proof) {
    let facts = &mut proof.facts;
    for (number, head) in heads.iter().enumerate() {
        facts.add("http.version", if head.minor == 0 { "1.0" } else { "1.1" });
        if let Some(method) = &head.method {
            facts.add("http.method", method.as_str());
        }
        if let Some(host) = &head.host {
            facts.add("http.host", host.as_str());
        }
        if let Some(agent) = &head.user_agent {
            facts.add("http.user_agent", agent.as_str());
        }
        let first = number == 0 || facts.get("http.status").is_none();
        let told = |status: &u16| first && !INTERIM.contains(status) || REFUSALS.contains(status);
        if let Some(status) = head.status.filter(told) {
            facts.add("http.status", status.to_compact_string());
            if let Some(proxy) = head.proxy.as_deref().filter(|_| status == 403) {
                facts.add("http.refused_by", proxy);
            }
        }
    }
}

/// A proxy's tunnel (RFC 9110 section 9.3.6): what it leads to, whether it was granted, and what goes through it.
fn tunnel<'a>(
    seen: &Seen<'a>,
    proof: &mut Proof,
    order: [End; 2],
    request: Option<&Head>,
    answer: Option<&Head>,
) -> Option<[Inside<'a>; 2]> {
    let request = request?;
    proof.facts.add("http.connect", request.target.to_ascii_lowercase());
    if let Some(status) = answer.and_then(|answer| answer.status) {
        proof.facts.add("http.connect.status", status.to_compact_string());
    }
    if answer.is_some_and(|answer| !answer.status.is_some_and(|status| (200..300).contains(&status))) {
        return None;
    }
    let ends = [Some(request.end), answer.map(|answer| answer.end)];
    Some(in_order(order, ends, |end, offset| Inside::after(seen.side(end), offset)))
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
        harness::check(&Http, 0, 0);
        harness::check_steps(&Http);
    }

    #[test]
    fn a_proxy_that_refuses() {
        let Probe::Proven(proof) = probe_both(
            &Http,
            Carrier::Tcp,
            &[b"CONNECT Portal.example:443 HTTP/1.1\r\nHost: portal.example:443\r\n\r\n"],
            &[b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"],
        ) else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("http.connect"), Some("portal.example:443"));
        assert_eq!(proof.facts.get("http.connect.status"), Some("407"));
        assert_eq!(proof.facts.get("http.status"), Some("407"));
        assert!(proof.layers.is_empty());
    }

    #[test]
    fn tls_inside_a_tunnel() {
        let hello = hex(&format!("16 0301 002d 01 000029 0303 {} 00 0002 1301 01 00", "11".repeat(32)));
        let Probe::Proven(proof) = probe_both(
            &Http,
            Carrier::Tcp,
            &[b"CONNECT a:443 HTTP/1.1\r\n\r\n", &hello],
            &[b"HTTP/1.1 200 Connection established\r\n\r\n"],
        ) else {
            panic!("not proven");
        };
        assert_eq!(proof.layers, ["http", "tls"]);
        assert_eq!(proof.facts.get("tls.client_hello"), Some("seen"));
    }

    #[test]
    fn websocket_and_http_2() {
        let Probe::Proven(proof) = probe_both(
            &Http,
            Carrier::Tcp,
            &[b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
            &[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n\x81\x05hello"],
        ) else {
            panic!("not proven");
        };
        assert_eq!(proof.layers, ["http", "websocket"]);
        let Probe::Proven(proof) = probe_messages(&Http, Carrier::Tcp, &[PREFACE]) else {
            panic!("not proven")
        };
        assert_eq!(proof.facts.get("http.version"), Some("2"));
        let server = hex("000006 04 00 00000000 0003 00000064 000004 08 00 00000000 000f0001");
        let Probe::Proven(proof) = probe_messages(&Http, Carrier::Tcp, &[&server]) else {
            panic!("not proven")
        };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn an_interim_answer_is_not_the_status() {
        let answers = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        let Probe::Proven(proof) = probe_messages(&Http, Carrier::Tcp, &[answers]) else {
            panic!("not proven")
        };
        assert_eq!(proof.facts.all("http.status").collect::<Vec<_>>(), ["201"]);
    }

    #[test]
    fn refusals_later_in_the_stream_are_told() {
        let first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let second = b"HTTP/1.1 403 Forbidden\r\n\r\n";
        let Probe::Proven(proof) = probe_messages(&Http, Carrier::Tcp, &[first, second]) else {
            panic!("not proven")
        };
        assert_eq!(proof.facts.all("http.status").collect::<Vec<_>>(), ["200", "403"]);
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn what_is_not_http() {
        for stranger in [
            &b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"[..],
            b"OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            b"HTTP/1.1 20\r\n",
            b"EHLO host\r\n",
            b"GET something please\r\n",
            b"SSH-2.0-x\r\n",
        ] {
            assert!(
                !matches!(probe_messages(&Http, Carrier::Tcp, &[stranger]), Probe::Proven(_)),
                "{stranger:?}"
            );
        }
    }
}
