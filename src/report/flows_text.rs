//! Flows as a table for people, below what the mirror sees and above the sums.

use std::io;

use crate::model::FlowRecord;
use crate::model::Outcome;
use crate::model::Transport;

use super::FlowFormat;
use super::FlowList;
use super::Style;
use super::page::Page;
use super::page::Paint;
use super::prose::count;
use super::prose::number;
use super::table::Cell;
use super::table::Column;
use super::table::Table;
use super::text::mirror;
use super::time::date;
use super::time::date_and_time;
use super::time::time_of_day;

/// A table for people.
pub struct Text;

const COLUMNS: &[Column] = &[
    Column::words("time (UTC)", 23),
    Column::words("transport", 15),
    Column::words("client", 41),
    Column::words("", 1),
    Column::words("server", 47),
    Column::words("outcome", 11),
    Column::numbers("packets"),
    Column::numbers("bytes"),
    Column::words("protocol", 400),
];

impl FlowFormat for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn about(&self) -> &'static str {
        "a table for people"
    }

    fn write(&self, list: &FlowList<'_>, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        let page = &mut Page::new(out, style);
        let told = count(list.flows.len() as u64, "flow");
        page.line(0, &[(&format!("{told} on the wire"), Paint::Bold)])?;
        mirror::write(page, list.inputs, list.vantage, list.tally)?;
        if !list.flows.is_empty() {
            page.heading("FLOWS")?;
            table(list).write(page)?;
        }
        page.heading("NEXT")?;
        let file = list.inputs.first().map_or("CAPTURE", |input| input.name.as_str());
        page.paragraph(2, "To hold this traffic against a vendor's document, say which address plays which role:", Paint::Plain)?;
        let command = format!("spanaudit audit {file} --ruleset ID --role ROLE=ADDRESS   (spanaudit rules list: the rulesets)");
        page.line(4, &[(&command, Paint::Plain)])
    }
}

fn table(list: &FlowList<'_>) -> Table {
    // The date is told once above the table where all flows began on the same day.
    let days = list.flows.first().map(|flow| date(flow.first.time)) == list.flows.last().map(|flow| date(flow.first.time));
    let mut table = Table::new(COLUMNS, 2);
    for flow in list.flows {
        let time = if days { time_of_day(flow.first.time) } else { date_and_time(flow.first.time) };
        let cell = list.cell_name(flow).map(|name| format!(" @{name}")).unwrap_or_default();
        table.row(vec![
            Cell::painted(time, Paint::Dim),
            flow.transport.to_string().into(),
            format!("{}{cell}", flow.client).into(),
            "→".into(),
            flow.server.to_string().into(),
            Cell::painted(flow.outcome.name(), paint(flow.outcome)),
            number(flow.packets()).into(),
            number(flow.bytes()).into(),
            protocol(flow).into(),
        ]);
    }
    table
}

fn paint(outcome: Outcome) -> Paint {
    match outcome {
        Outcome::Established | Outcome::Answered => Paint::Good,
        Outcome::Refused | Outcome::Unanswered | Outcome::Rejected | Outcome::Cut => Paint::Bad,
        Outcome::Midstream | Outcome::OneSided => Paint::Warning,
        Outcome::Observed => Paint::Plain,
    }
}

/// The protocol, what lies around it, and the facts that say most: `amqp in tls 1.3, sm.plant.example`.
fn protocol(flow: &FlowRecord) -> String {
    let classified = &flow.classification;
    let mut told = match (classified.protocol, flow.transport) {
        (Some(name), _) => name.to_owned(),
        // Nothing was said, so there is nothing to be told by.
        (None, _) if flow.from_client.payload_packets + flow.from_server.payload_packets == 0 => "–".to_owned(),
        (None, Transport::Icmp | Transport::Icmpv6 | Transport::Ip(_)) => "–".to_owned(),
        (None, _) => "unknown".to_owned(),
    };
    let around: Vec<_> = classified.layers.iter().filter(|&&layer| Some(layer) != classified.protocol).copied().collect();
    if !around.is_empty() {
        told.push_str(&format!(" with {}", around.join(", ")));
    }
    let facts = &classified.facts;
    if let Some(version) = facts.get("tls.version") {
        told.push_str(&format!(" {version}"));
    }
    if let Some(name) = facts.get("tls.sni").or_else(|| flow.hosts.first().map(String::as_str)) {
        told.push_str(&format!(" {name}"));
    }
    // One fact of the protocol's own says more than a dozen.
    if let Some(fact) = facts.iter().find(|fact| !fact.key.starts_with("tls.")) {
        told.push_str(&format!(" ({}: {})", fact.key, fact.value));
    }
    if let Some(reason) = &flow.reason {
        told.push_str(&format!("; {reason}"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn told(width: usize) -> String {
        let mut out = Vec::new();
        samples::with_flows(|list| Text.write(list, &Style { width, ..Style::default() }, &mut out).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn wide() {
        insta::assert_snapshot!(told(160));
    }

    #[test]
    fn narrow() {
        insta::assert_snapshot!(told(80));
    }
}
