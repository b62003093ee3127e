//! Niagara Fox: text frames of building controllers.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::is_text;
use super::bytes::line;
use super::bytes::text;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;
use super::weigh::client_is;

/// Niagara Fox.
pub struct Fox;

static ABOUT: About = About {
    name: "fox",
    title: "Tridium Niagara Fox",
    spec: "Niagara Framework 3.x/4.x Fox session, as published in Zeek's and Nmap's descriptions (no public specification)",
    usual: &["tcp/1911"],
    answers: true,
    facts: &[
        ("fox.version", "fox.version of a hello"),
        ("fox.host", "hostName of a hello"),
        ("fox.station", "station.name of a hello"),
        ("fox.application", "app.name and app.version of a hello"),
        ("fox.os", "os.name and os.version of a hello"),
    ],
};

impl Protocol for Fox {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(BEGIN, at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// What a frame begins and ends with.
const BEGIN: &[u8] = b"fox ";
const END: &[u8] = b"};;\n";
/// The longest first line accepted.
const LONGEST_LINE: usize = 200;

fn step(bytes: &[u8]) -> Step {
    if !agrees(bytes, BEGIN) {
        return Step::Wrong;
    }
    let Some((first, rest)) = line(bytes) else {
        let far = bytes.len() > LONGEST_LINE || !is_text(bytes);
        return if far { Step::Wrong } else { Step::Cut(0) };
    };
    if head(first).is_none() {
        return Step::Wrong;
    }
    match rest.windows(END.len()).position(|window| window == END) {
        Some(at) => Step::Whole(bytes.len() - rest.len() + at + END.len(), PROOF),
        None => Step::Cut(PROOF),
    }
}

/// Kind, sequence number and command of a first line: `fox a 1 -1 fox hello`.
fn head(first: &[u8]) -> Option<(&str, &str, &str)> {
    let mut words = std::str::from_utf8(first).ok()?.split(' ');
    let ("fox", kind, sequence) = (words.next()?, words.next()?, words.next()?) else { return None };
    let (reply, _channel, command) = (words.next()?, words.next()?, words.next()?);
    let numbers = [sequence, reply].iter().all(|word| word.parse::<i64>().is_ok());
    (kind.len() == 1 && numbers && words.next().is_none()).then_some((kind, sequence, command))
}

fn tell(end: End, frame: &[u8], proof: &mut Proof) {
    let Some((first, mut rest)) = line(frame) else { return };
    let Some((_, sequence, "hello")) = head(first) else { return };
    // The caller's hello is numbered 1, the station's answer 0.
    match sequence {
        "1" => client_is(proof, end),
        "0" => client_is(proof, end.other()),
        _ => {}
    }
    let mut parts = [("", ""); 2];
    while let Some((entry, after)) = line(rest) {
        rest = after;
        // `hostName=s:station1`: the value after its type letter.
        let Some((name, value)) =
            std::str::from_utf8(entry).ok().and_then(|entry| entry.trim_start().split_once('='))
        else {
            continue;
        };
        let value = value.split_once(':').map_or(value, |(_, value)| value);
        match name {
            "fox.version" => proof.facts.add("fox.version", value),
            "hostName" => proof.facts.add("fox.host", value),
            "station.name" => proof.facts.add("fox.station", value),
            "app.name" => parts[0].0 = value,
            "app.version" => parts[0].1 = value,
            "os.name" => parts[1].0 = value,
            "os.version" => parts[1].1 = value,
            _ => {}
        }
    }
    for (key, (name, version)) in [("fox.application", parts[0]), ("fox.os", parts[1])] {
        if !name.is_empty() {
            proof.facts.add(key, text(format!("{name} {version}").trim_end().as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const HELLO: &[u8] = b"fox a 1 -1 fox hello\n{\nfox.version=s:1.0\nid=i:1\nhostName=s:ws1\napp.name=s:Workbench\napp.version=s:3.7.44\n};;\n";

    #[test]
    fn a_hello_names_its_host() {
        let Probe::Proven(proof) = harness::probe_messages(&Fox, Carrier::Tcp, &[HELLO]) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("fox.version"), Some("1.0"));
        assert_eq!(proof.facts.get("fox.host"), Some("ws1"));
        assert_eq!(proof.facts.get("fox.application"), Some("Workbench 3.7.44"));
    }

    #[test]
    fn a_sentence_about_a_fox_is_wrong() {
        assert_eq!(step(b"fox and hound went out\n{"), Step::Wrong);
        assert_eq!(step(b"fox a one -1 fox hello\n{"), Step::Wrong);
        assert_eq!(step(b"fox a 1 -1 fox he"), Step::Cut(0));
    }
}
