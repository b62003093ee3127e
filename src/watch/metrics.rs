//! The watch in figures, for Prometheus (OpenMetrics text).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::model::Verdict;
use crate::report::plain;

use super::board::Board;
use super::board::Look;

type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;

/// What Prometheus expects this text to be called.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures as they stand now.
pub fn text(board: &Board) -> String {
    let mut page = Page(<Registry>::with_prefix("spanaudit"));
    let figures = board.figures();
    page.count("packets", "Packets read", figures.packets);
    page.count("captured_bytes", "Captured bytes read", figures.bytes);
    page.count("dropped_packets", "Packets that the kernel or the interfaces lost", figures.dropped);
    page.count(
        "copied_packets",
        "Packets copied from the worker that read them to the one where their hosts are at home",
        figures.copied,
    );
    page.count(
        "gathered_bytes",
        "Bytes of small packets copied out of a ring, to be taken in together",
        figures.gathered,
    );
    page.count("capture_clock_steps", "Times the capture clock was set", figures.clock_steps);
    page.set("flows", "Flows followed now", figures.flows);
    page.set("classifier_bytes", "Bytes of payload kept for classifiers now", figures.kept_bytes);
    page.set("resident_bytes", "Resident memory", figures.resident);
    page.set("interfaces_down", "Interfaces that are down or gone", figures.down.len() as u64);
    page.seconds("silence", "Since the last packet", figures.silent_for.as_secs_f64());
    page.seconds(
        "snapshot",
        "How long the last snapshot held up packets, in all its steps",
        figures.snapshot_took.as_secs_f64(),
    );
    page.seconds(
        "snapshot_step",
        "How long the longest step of the last snapshot held up packets",
        figures.snapshot_longest.as_secs_f64(),
    );
    page.seconds("running", "Since the watch began", board.elapsed().as_secs_f64());
    if let Some(last) = figures.last {
        let seconds = last.as_nanos() as f64 / 1e9;
        page.seconds("last_packet_timestamp", "Capture time of the last packet, since the epoch", seconds);
    }
    if let Some(look) = board.look() {
        page.look(&look, board);
    }
    let (arrived, dropped, failing) = (counters(), counters(), gauges());
    for (name, counts) in board.outlets() {
        let labels = label("outlet", name);
        arrived.get_or_create(&labels).inc_by(counts.arrived.load(Ordering::Relaxed));
        dropped.get_or_create(&labels).inc_by(counts.dropped.load(Ordering::Relaxed));
        failing.get_or_create(&labels).set(i64::from(counts.failing.load(Ordering::Relaxed)));
    }
    page.0.register("events_delivered", "Events that arrived", arrived);
    page.0.register("events_dropped", "Events that were given up", dropped);
    page.0.register("outlet_failing", "Whether the last try to deliver failed", failing);
    let mut text = String::new();
    // Writing to memory does not fail.
    let _ = encode(&mut text, &page.0);
    text
}

fn counters() -> Family<Labels, Counter> {
    Family::default()
}

fn gauges() -> Family<Labels, Gauge> {
    Family::default()
}

/// One label. The crate escapes what would end it; what a terminal would obey is spelled out here.
fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, plain(value).into_owned())]
}

struct Page(Registry);

impl Page {
    fn count(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn set(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Float::default();
        gauge.set(value);
        self.0.register_with_unit(name, help, Unit::Seconds, gauge);
    }

    fn ratio(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Float::default();
        gauge.set(value);
        self.0.register_with_unit(name, help, Unit::Ratios, gauge);
    }

    fn look(&mut self, look: &Look, board: &Board) {
        let report = &*look.report;
        self.count("looks", "Times the traffic was judged", look.number);
        self.count("events", "Events told, those of earlier runs among them", look.events);
        self.seconds("look", "How long the last look took to judge", look.took.as_secs_f64());
        let parts = Family::<Labels, Float>::default();
        for (part, took) in &look.laps {
            parts.get_or_create(&label("part", part)).set(took.as_secs_f64());
        }
        let about = "How long the parts of the last look took";
        self.0.register_with_unit("look_part", about, Unit::Seconds, parts);
        let failing = gauges();
        for (what, fails) in look.failing {
            failing.get_or_create(&label("what", what)).set(i64::from(fails));
        }
        self.0.register("write_failing", "Whether the last try to write it failed", failing);
        let age = board.elapsed().saturating_sub(look.at);
        self.seconds("look_age", "Since the last look", age.as_secs_f64());
        self.set("findings_open", "Open findings, those left open by an earlier run among them", look.open);
        self.set("evidence_packets", "Packets kept as evidence of findings", look.evidence.0);
        self.set(
            "evidence_missing",
            "Packets that findings cite and that were gone before they were wanted",
            look.evidence.1,
        );
        if let Some(bytes) = look.state_bytes {
            self.set("state_bytes", "Bytes of the state's file", bytes);
        }
        self.count("duplicates", "Packets that the mirror showed twice", report.tally.duplicates);
        self.count("flows_told", "Flows that ended or were told", report.tally.flows);
        self.count("flows_evicted", "Flows pushed out by the bound", report.tally.evicted);
        let left_out = counters();
        for (what, count) in &report.vantage.left_out {
            left_out.get_or_create(&label("what", what)).inc_by(*count);
        }
        self.0.register(
            "left_out",
            "What bounds on memory and age cost, in the words of the report",
            left_out,
        );
        let unread = counters();
        for (reason, why) in &report.tally.undecodable {
            unread.get_or_create(&label("reason", reason)).inc_by(why.packets);
        }
        self.0.register("undecodable_packets", "Packets that could not be read", unread);
        if let Some(loss) = report.vantage.loss() {
            self.ratio("loss", "Share of acknowledged TCP bytes that were never captured", loss);
        }
        let verdicts = gauges();
        for (name, count) in report.verdict_counts() {
            verdicts.get_or_create(&label("verdict", name)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.0.register("requirements", "Requirements by verdict", verdicts);
        let conversations = gauges();
        for (name, count) in report.conversation_counts() {
            conversations
                .get_or_create(&label("verdict", name))
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.0.register("conversations", "Conversations by verdict", conversations);
        let findings = Family::<Labels, Gauge>::default();
        for finding in &report.findings {
            let mut labels = label("kind", finding.kind.name());
            labels.extend(label("severity", finding.severity.name()));
            findings.get_or_create(&labels).inc();
        }
        self.0.register("findings", "Findings of the latest report by kind and severity", findings);
        let conditions = gauges();
        for condition in &look.conditions {
            conditions.get_or_create(&label("condition", condition)).set(1);
        }
        self.0.register("vantage_degraded", "What keeps this mirror from seeing well", conditions);
        let each = gauges();
        for told in &report.requirements {
            if matches!(told.verdict, Verdict::NotApplicable) {
                continue;
            }
            let labels = [
                ("requirement", &told.id),
                ("ruleset", &told.ruleset),
                ("rule", &told.rule),
                ("source", &told.source),
                ("target", &told.target),
                ("verdict", &told.verdict.name().to_owned()),
            ]
            .into_iter()
            .flat_map(|(name, value)| label(name, value))
            .collect();
            each.get_or_create(&labels).set(1);
        }
        self.0.register("requirement", "The verdict on each requirement", each);
    }
}
