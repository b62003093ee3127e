//! What the mirror saw and what it missed: time, packets, loss, directions, encapsulations, what could not be read.

use std::io;

use crate::model::Input;
use crate::model::PacketRef;
use crate::model::Tally;
use crate::model::Vantage;
use crate::report::page::Page;
use crate::report::prose::count;
use crate::report::prose::list;
use crate::report::prose::list_some;
use crate::report::prose::number;
use crate::report::prose::percent;
use crate::report::time;

const INDENT: usize = 2;
/// The column of the labels.
const LABELS: usize = 16;
/// More inputs than this are told by their number alone, unless `--verbose`.
const MOST_INPUTS: usize = 6;

/// Writes what the mirror saw.
pub fn write(page: &mut Page<'_>, inputs: &[Input], vantage: &Vantage, tally: &Tally) -> io::Result<()> {
    page.heading("WHAT THE MIRROR SAW")?;
    let mut field = |label: &str, text: String| page.field(INDENT, label, LABELS, &text);
    if let (Some(first), Some(last)) = (vantage.first, vantage.last) {
        let until = if time::date(first) == time::date(last) {
            time::time_of_day(last)
        } else {
            time::date_and_time(last)
        };
        field(
            "Time",
            format!("{} to {until} UTC ({})", time::date_and_time(first), time::span(last.since(first))),
        )?;
    }
    field("Packets", packets(tally))?;
    field("Loss", loss(vantage))?;
    if vantage.pairs > 0 {
        let of = format!("{} of hosts", count(vantage.pairs, "pair"));
        let lost = match vantage.has_lost_a_direction() {
            Some(true) => format!(", {} of them in one only of late", number(vantage.lost_pairs)),
            _ => String::new(),
        };
        field(
            "Directions",
            match vantage.one_sided_pairs {
                0 => format!("{of}, each heard in both directions{lost}"),
                n => format!("{} of {of} heard in one direction only{lost}", number(n)),
            },
        )?;
    }
    if vantage.cut_packets > 0 {
        field(
            "Cut packets",
            format!("{} cut short by the capture's snap length", count(vantage.cut_packets, "packet")),
        )?;
    }
    if !vantage.encapsulations.is_empty() {
        let told: Vec<_> = vantage
            .encapsulations
            .iter()
            .map(|(name, &n)| format!("{name} ({})", count(n, "packet")))
            .collect();
        field("Wrapped in", list_some(&told, 6))?;
    }
    if !tally.undecodable.is_empty() {
        let told: Vec<_> = tally
            .undecodable
            .iter()
            .map(|(reason, counted)| {
                format!(
                    "{reason}: {}, the first is {}",
                    count(counted.packets, "packet"),
                    place(inputs, counted.first)
                )
            })
            .collect();
        field("Unreadable", told.join("; "))?;
    }
    if !vantage.overlapping.is_empty() {
        field(
            "Shared",
            format!("more than one machine seems to use {}", list_some(&vantage.overlapping, 6)),
        )?;
    }
    let filtered: u64 = inputs.iter().map(|input| input.filtered).sum();
    if filtered > 0 {
        let words = format!(
            "{} more left out by the filter: whatever they would have shown counts as silence",
            count(filtered, "packet")
        );
        field("Filter", words)?;
    }
    for input in inputs {
        if let Some(stop) = &input.stopped {
            field("Broke off", format!("{}: {}", input.name, stop.why))?;
        }
        if input.time_reversals > 0 {
            field(
                "Time order",
                format!(
                    "{}: {} stamped earlier than the one before",
                    input.name,
                    count(input.time_reversals, "packet")
                ),
            )?;
        }
    }
    captures(page, inputs)?;
    for note in &vantage.notes {
        page.field(INDENT, "Note", LABELS, note)?;
    }
    Ok(())
}

/// Where every packet went: the sums that add up.
fn packets(tally: &Tally) -> String {
    let undecodable: u64 = tally.undecodable.values().map(|counted| counted.packets).sum();
    let mut parts = vec![format!("{} in {}", number(tally.in_flows), count(tally.flows, "flow"))];
    let rest = [
        (tally.duplicates, "mirror duplicates"),
        (tally.fragments_pending, "fragments that never became whole"),
        (undecodable, "that could not be read"),
    ];
    parts.extend(rest.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", number(n))));
    let evicted = match tally.evicted {
        0 => String::new(),
        n => format!("; {} pushed out early because the bound on flows was reached", count(n, "flow")),
    };
    let folded = match tally.folded {
        0 => String::new(),
        folded => format!("; {} of one SYN each folded into sweeps", count(folded, "flow")),
    };
    format!("{}: {}{evicted}{folded}", count(tally.packets, "packet"), list(&parts))
}

fn loss(vantage: &Vantage) -> String {
    let missed = match vantage.loss() {
        None => "too little TCP traffic to tell".to_owned(),
        Some(share) if share <= 0.0 => "none: every acknowledged TCP byte was captured".to_owned(),
        Some(share) => format!("{} of the acknowledged TCP bytes were never captured", percent(share)),
    };
    match vantage.dropped {
        None => missed,
        Some(0) => format!("{missed}; the capturing machine says it lost nothing"),
        Some(n) => format!("{missed}; the capturing machine says it lost {}", count(n, "packet")),
    }
}

fn captures(page: &mut Page<'_>, inputs: &[Input]) -> io::Result<()> {
    let told = if page.style.verbose { inputs } else { inputs.get(..MOST_INPUTS).unwrap_or(inputs) };
    let mut label = if inputs.len() == 1 { "Capture" } else { "Captures" };
    for input in told {
        let hash = input.sha256.as_ref().map(|hash| format!(", sha256 {hash}")).unwrap_or_default();
        page.field(
            INDENT,
            label,
            LABELS,
            &format!("{} ({}, {}{hash})", input.name, input.format, count(input.packets, "packet")),
        )?;
        label = "";
    }
    match inputs.len() - told.len() {
        0 => Ok(()),
        rest => page.field(
            INDENT,
            "",
            LABELS,
            &format!("and {} (--verbose names them)", count(rest as u64, "more capture")),
        ),
    }
}

/// `#40`, with its file where there are several.
fn place(inputs: &[Input], at: PacketRef) -> String {
    let name = usize::try_from(at.input().0)
        .ok()
        .and_then(|index| inputs.get(index))
        .map(|input| input.name.as_str());
    match name {
        Some(name) if inputs.len() > 1 => format!("#{} of {name}", at.number()),
        _ => format!("#{}", at.number()),
    }
}
