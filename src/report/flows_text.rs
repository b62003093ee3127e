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

/// From this width on the numbers have columns of their own; below it they go with the protocol under the flow's ends.
const ROOMY: usize = 110;
/// After so many rows the heads are repeated and the columns measured anew.
const CHUNK: usize = 2_000;

const WIDE: &[Column] = &[
    Column::words("time (UTC)", 23),
    Column::words("transport", 15),
    Column::words("client", 60),
    Column::words("", 1),
    Column::words("server", 60),
    Column::words("outcome", 11),
    Column::numbers("packets"),
    Column::numbers("bytes"),
    Column::words("protocol", 400),
];
const NARROW: &[Column] = &[
    Column::words("time (UTC)", 19),
    Column::words("transport", 15),
    Column::words("client", 60),
    Column::words("", 1),
    Column::words("server", 60),
    Column::words("outcome", 11),
    Column::words("", 400),
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
            // Long lists repeat the heads and need not be held as a whole.
            list.flows.chunks(CHUNK).try_for_each(|flows| table(list, flows, style.width).write(page))?;
        }
        page.heading("NEXT")?;
        let input = match list.inputs.first() {
            Some(input) if input.format == "live" => format!("-i {}", input.name),
            Some(input) => input.name.clone(),
            None => "CAPTURE".to_owned(),
        };
        page.paragraph(
            2,
            "To hold this traffic against a vendor's document, say which address plays which role:",
            Paint::Plain,
        )?;
        let command = format!(
            "spanaudit audit {input} --ruleset ID --role ROLE=ADDRESS   (spanaudit rules list: the rulesets)"
        );
        page.line(4, &[(&command, Paint::Plain)])
    }
}

fn table(list: &FlowList<'_>, flows: &[FlowRecord], width: usize) -> Table {
    let wide = width >= ROOMY;
    // The date is of no use where all flows began on the same day: the page has told it above.
    let one_day = list.flows.first().map(|flow| date(flow.first.time))
        == list.flows.last().map(|flow| date(flow.first.time));
    let mut table = Table::new(if wide { WIDE } else { NARROW }, 2);
    for flow in flows {
        let mut time = if one_day { time_of_day(flow.first.time) } else { date_and_time(flow.first.time) };
        if !wide {
            time.truncate(time.len().saturating_sub(".000".len()));
        }
        let transport = match flow.transport {
            Transport::Ethernet(kind) => format!("eth 0x{:04x}", kind.number()),
            other => other.to_string(),
        };
        let cell = list.cell_name(flow).map(|name| format!(" @{name}")).unwrap_or_default();
        let mut cells: Vec<Cell> = vec![
            Cell::painted(time, Paint::Dim),
            transport.into(),
            format!("{}{cell}", flow.client).into(),
            "→".into(),
            flow.server.to_string().into(),
            Cell::painted(flow.outcome.name(), paint(flow.outcome)),
        ];
        if wide {
            cells.extend([number(flow.packets()).into(), number(flow.bytes()).into(), protocol(flow).into()]);
        } else {
            let sums = format!("{}, {}", count(flow.packets(), "packet"), count(flow.bytes(), "byte"));
            cells.push(format!("{}; {sums}", protocol(flow)).into());
        }
        table.row(cells);
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

/// The protocol, what lies around it, and what says most about it: `tls 1.3, sm.plant.example`.
fn protocol(flow: &FlowRecord) -> String {
    let classified = &flow.classification;
    let facts = &classified.facts;
    let silent = flow.from_client.payload_packets + flow.from_server.payload_packets == 0;
    let mut name = match (classified.protocol, flow.transport) {
        (Some(name), _) => name.to_owned(),
        // Nothing was said that a protocol could be told by, or the transport says it all.
        (None, Transport::Icmp | Transport::Icmpv6 | Transport::Ip(_)) => "–".to_owned(),
        (None, _) if silent => "–".to_owned(),
        (None, _) => "unknown".to_owned(),
    };
    let around: Vec<_> =
        classified.layers.iter().filter(|&&layer| Some(layer) != classified.protocol).copied().collect();
    if !around.is_empty() {
        name.push_str(&format!(" with {}", around.join(", ")));
    }
    if let Some(version) = facts.get("tls.version") {
        name.push_str(&format!(" {version}"));
    }
    let mut told = vec![name];
    told.extend(facts.get("tls.sni").or_else(|| flow.hosts.first().map(String::as_str)).map(str::to_owned));
    // One fact of the protocol's own says more than a dozen.
    let telling = facts.iter().find(|fact| !fact.key.starts_with("tls."));
    told.extend(telling.map(|fact| {
        let own = classified.protocol.and_then(|name| fact.key.strip_prefix(name)?.strip_prefix('.'));
        format!("{} {}", own.unwrap_or(fact.key), shortened(&fact.value))
    }));
    let mut told = told.join(", ");
    if let Some(reason) = &flow.reason {
        told.push_str(&format!("; {reason}"));
    }
    told
}

/// A value's first characters: the JSON format tells the whole.
fn shortened(value: &str) -> String {
    const MOST: usize = 48;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", value.get(..at).unwrap_or_default()),
        None => value.to_owned(),
    }
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
