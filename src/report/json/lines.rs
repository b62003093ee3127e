//! Conversations, findings and hosts as lines of the JSON page, written by hand: a large report has a hundred thousand.

use crate::model::CellId;
use crate::model::Evidence;
use crate::model::Finding;
use crate::model::Heard;
use crate::model::Host;
use crate::model::JudgedConversation;
use crate::model::PacketRef;
use crate::model::Report;
use crate::model::Transport;

use crate::report::json_line::Line;

/// How packets of each input begin: `{"file":"mirror.pcap","packet":`.
pub struct Files(Vec<String>);

impl Files {
    /// Those of a report.
    pub fn of(report: &Report) -> Self {
        let known = report.inputs.iter().map(|input| beginning(&input.name));
        Self(known.chain([beginning("?")]).collect())
    }

    fn beginning(&self, at: PacketRef) -> &str {
        let known = usize::try_from(at.input().0).ok().and_then(|place| self.0.get(place));
        known.or(self.0.last()).map_or("", String::as_str)
    }
}

fn beginning(file: &str) -> String {
    let mut line = Line::default();
    line.raw("{\"file\":").string(file).raw(",\"packet\":");
    String::from_utf8_lossy(line.bytes()).into_owned()
}

/// One conversation.
pub fn conversation(line: &mut Line, told: &JudgedConversation, files: &Files) {
    line.raw("{\"id\":").string(&told.id).raw(",\"cell\":").maybe(told.cell.as_deref());
    line.raw(",\"client\":").string(&told.client).raw(",\"server\":").string(&told.server);
    line.raw(",\"transport\":").string(told.transport.name());
    match told.transport {
        Transport::Ethernet(kind) => line.raw(",\"ethertype\":").number(u64::from(kind.number())),
        Transport::Ip(number) => line.raw(",\"ip_proto\":").number(u64::from(number)),
        _ => line,
    };
    line.raw(",\"port\":");
    match told.port {
        Some(port) => line.number(u64::from(port)),
        None => line.raw("null"),
    };
    line.raw(",\"protocol\":").maybe(told.protocols.first().copied());
    line.raw(",\"protocols\":").list(&told.protocols, |line, protocol| line.string(protocol));
    line.raw(",\"layers\":").list(&told.layers, |line, layer| line.string(layer));
    line.raw(",\"hosts\":").list(&told.hosts, |line, host| line.string(host));
    line.raw(",\"flows\":").number(told.flows).raw(",\"packets\":").number(told.packets);
    line.raw(",\"bytes\":").number(told.bytes);
    line.raw(",\"first\":").time(told.first.time).raw(",\"last\":").time(told.last.time);
    line.raw(",\"outcomes\":{");
    for (at, (outcome, flows)) in told.outcomes.iter().enumerate() {
        line.raw(if at > 0 { "," } else { "" }).string(outcome.name()).raw(":").number(*flows);
    }
    line.raw("},\"verdict\":").string(told.verdict.name());
    line.raw(",\"rule\":").maybe(told.rule.as_deref()).raw(",\"reason\":").string(&told.reason);
    line.raw(",\"evidence\":")
        .list(told.evidence.iter(), |line, piece| evidence(line, piece, files))
        .raw("}");
}

/// One finding.
pub fn finding(line: &mut Line, told: &Finding, files: &Files) {
    line.raw("{\"id\":").string(&told.id).raw(",\"kind\":").string(told.kind.name());
    line.raw(",\"severity\":").string(told.severity.name()).raw(",\"title\":").string(&told.title);
    line.raw(",\"detail\":").string(&told.detail).raw(",\"advice\":").string(&told.advice);
    line.raw(",\"addressee\":").string(told.addressee.name());
    line.raw(",\"grade\":").maybe(told.kind.grade().map(|grade| grade.name()));
    line.raw(if told.counts { ",\"counts\":true" } else { ",\"counts\":false" });
    line.raw(",\"requirements\":").list(&told.requirements, |line, id| line.string(id));
    line.raw(",\"conversations\":").list(&told.conversations, |line, id| line.string(id));
    line.raw(",\"evidence\":")
        .list(told.evidence.iter(), |line, piece| evidence(line, piece, files))
        .raw("}");
}

/// One host that was heard; its cell is a number in the order of the site file, null for the plant itself.
pub fn heard(line: &mut Line, (cell, host): &(CellId, Host), heard: &Heard, files: &Files) {
    line.raw("{\"cell\":");
    match cell.0 {
        0 => line.raw("null"),
        number => line.number(u64::from(number)),
    };
    line.raw(",\"host\":").string(&host.text()).raw(",\"packets\":").number(heard.packets).raw(",\"first\":");
    packet(line, heard.first, files);
    line.raw("},\"last\":");
    packet(line, heard.last, files);
    line.raw("}}");
}

fn evidence<'l>(line: &'l mut Line, piece: &Evidence, files: &Files) -> &'l mut Line {
    packet(line, piece.at, files);
    line.raw(",\"note\":").string(&piece.note).raw("}")
}

/// One packet, as Wireshark finds it, without the brace that ends it.
fn packet(line: &mut Line, at: PacketRef, files: &Files) {
    line.raw(files.beginning(at)).number(at.number()).raw(",\"time\":").time(at.time);
}
