//! How often a working flow is heard, held against how often the document has it (`every`).
//!
//! A single gap is no alarm: clients are restarted, networks pause. What counts is the middle one of all gaps, and a silence at the end
//! that is longer than three periods while the source goes on talking.

use std::time::Duration;

use crate::model::FlowRecord;
use crate::model::Timestamp;

/// Gaps needed before their middle says something.
const GAPS: usize = 3;
/// Clients spread their requests: a quarter more than the document has is no deviation.
const SLACK: (u32, u32) = (5, 4);
/// Periods of silence at the end that are told.
const SILENT: u32 = 3;
/// Exchanges closer together than this part of the period are one: a burst at start-up, a request sent again.
const BURST: u32 = 8;
/// Exchanges taken of one long flow; its middle gap does not change with more.
const MOST: u64 = 4096;

/// What is worth a word, if anything. `heard_until` is when the source was last heard saying anything.
pub fn seldom<'a>(
    flows: impl Iterator<Item = &'a FlowRecord>,
    every: Duration,
    heard_until: Option<Timestamp>,
) -> Option<String> {
    let beats = beats(flows, every);
    let mut gaps: Vec<Duration> =
        beats.windows(2).filter_map(|two| Some(two.last()?.since(*two.first()?))).collect();
    let middle = gaps.len() / 2;
    if gaps.len() >= GAPS {
        let (_, usual, _) = gaps.select_nth_unstable(middle);
        if *usual > every * SLACK.0 / SLACK.1 {
            return Some(format!("heard every {}, the document says every {}", words(*usual), words(every)));
        }
    }
    let silent = heard_until?.since(*beats.last()?);
    (silent > every * SILENT)
        .then(|| format!("silent for the last {}, the document says every {}", words(silent), words(every)))
}

/// The times of exchanges, bursts taken as one.
fn beats<'a>(flows: impl Iterator<Item = &'a FlowRecord>, every: Duration) -> Vec<Timestamp> {
    let mut all: Vec<Timestamp> = Vec::new();
    for flow in flows {
        let side = &flow.from_client;
        let (first, last) =
            (side.first_payload.unwrap_or(flow.first), side.last_payload.unwrap_or(flow.first));
        let steps = side.payload_packets.saturating_sub(1).min(MOST);
        // Of a flow that goes on, the first and the last packet and their number are known: its period is even enough.
        let stride =
            last.time.since(first.time).checked_div(u32::try_from(steps).unwrap_or(1)).unwrap_or_default();
        all.extend((0..=steps).map(|step| first.time.plus(stride * u32::try_from(step).unwrap_or(0))));
    }
    all.sort_unstable();
    let mut beats: Vec<Timestamp> = Vec::new();
    for time in all {
        if beats.last().is_none_or(|last| time.since(*last) >= every / BURST) {
            beats.push(time);
        }
    }
    beats
}

/// `17 min`, `40 s`, `2.5 h`.
fn words(span: Duration) -> String {
    match span.as_secs() {
        0..120 => format!("{} s", span.as_secs()),
        120..7200 => format!("{:.0} min", span.as_secs_f64() / 60.0),
        _ => format!("{:.1} h", span.as_secs_f64() / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::*;

    const EVERY: Duration = Duration::from_secs(1024);

    fn at(seconds: u64) -> PacketRef {
        PacketRef::new(Timestamp::from_nanos(seconds as i64 * 1_000_000_000), InputId(0), 1)
    }

    /// One flow of so many requests.
    fn flow(first: u64, last: u64, requests: u64) -> FlowRecord {
        let end =
            |host: &str, port| Endpoint { host: Host::Ip(host.parse::<IpAddr>().unwrap()), port: Some(port) };
        FlowRecord {
            transport: Transport::Udp,
            cell: CellId(0),
            client: end("10.0.0.1", 50_000),
            server: end("10.0.0.2", 123),
            role_basis: RoleBasis::Port,
            classification: Box::default(),
            outcome: Outcome::Answered,
            reason: None,
            from_client: SideRecord {
                payload_packets: requests,
                first_payload: Some(at(first)),
                last_payload: Some(at(last)),
                ..SideRecord::default()
            },
            from_server: SideRecord::default(),
            errors: Box::default(),
            first: at(first),
            last: at(last),
            vlans: Box::default(),
            tunnels: Box::default(),
            hosts: Vec::new(),
        }
    }

    fn check(flows: &[FlowRecord], until: u64, expected: Option<&str>) {
        assert_eq!(seldom(flows.iter(), EVERY, Some(at(until).time)).as_deref(), expected);
    }

    fn single(times: &[u64]) -> Vec<FlowRecord> {
        times.iter().map(|&time| flow(time, time, 1)).collect()
    }

    #[test]
    fn what_comes_too_seldom_is_told() {
        let told = Some("heard every 40 min, the document says every 17 min");
        check(&single(&[0, 2_400, 4_800, 7_200, 9_600]), 9_700, told);
        check(&[flow(0, 9_600, 5)], 9_700, told);
        // Each time with a burst.
        let bursts = [0_u64, 2_400, 4_800, 7_200, 9_600].map(|time| [time, time + 2, time + 4]).concat();
        check(&single(&bursts), 9_700, told);
    }

    #[test]
    fn single_gaps_and_little_spread_are_no_alarm() {
        check(&single(&[0, 1_024, 2_048, 9_000, 10_024, 11_048]), 11_100, None);
        check(&single(&[0, 1_100, 2_250, 3_400]), 3_500, None);
        check(&single(&[0, 2_400, 4_800]), 4_900, None);
        check(&[flow(0, 10_240, 161)], 10_300, None);
        check(&[], 100, None);
    }

    #[test]
    fn silence_at_the_end_is_told_while_the_source_talks() {
        let beats = single(&[0, 1_024, 2_048, 3_072]);
        check(
            &beats,
            3_072 + 3 * 1_024 + 1,
            Some("silent for the last 51 min, the document says every 17 min"),
        );
        check(&beats, 3_072 + 3 * 1_024, None);
        assert_eq!(seldom(beats.iter(), EVERY, None), None);
    }
}
