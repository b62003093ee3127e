//! What happens once a flow, a conversation or a rule: flows ended and merged, rules matched, reports written.
//!
//! `cargo bench --bench audit`. What a conversation costs must not grow with the rules, of a document or of the site.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::BenchmarkGroup;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::SamplingMode;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use criterion::measurement::WallTime;
use spanaudit::audit;
use spanaudit::capture::CaptureError;
use spanaudit::capture::Source;
use spanaudit::classify::PROTOCOLS;
use spanaudit::model::Input;
use spanaudit::model::InputId;
use spanaudit::model::LinkType;
use spanaudit::model::Observed;
use spanaudit::model::Packet;
use spanaudit::model::PacketRef;
use spanaudit::model::Timestamp;
use spanaudit::pipeline;
use spanaudit::pipeline::Live;
use spanaudit::report::FORMATS;
use spanaudit::report::Style;
use spanaudit::rules;
use spanaudit::rules::Carrier;
use spanaudit::rules::Service;
use spanaudit::rules::Site;

/// Conversations of one run.
const CONVERSATIONS: u32 = 20_000;
const RULES: [u32; 3] = [10, 1_000, 100_000];

/// A datagram of a client in 10.10.0.0/16 to one of 64 servers in 10.20.0.0/24, on one of a thousand ports.
fn frame(conversation: u32, answer: bool) -> Vec<u8> {
    let [_, _, high, low] = (conversation / 8).to_be_bytes();
    let client = [10, 10, high, low];
    let server = [10, 20, 0, (conversation % 64) as u8];
    let ports = [50_000_u16, 20_000 + (conversation % 1_000) as u16].map(u16::to_be_bytes);
    let (from, to) = if answer { (server, client) } else { (client, server) };
    let (source, destination) = if answer { (ports[1], ports[0]) } else { (ports[0], ports[1]) };
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend([from, to].concat());
    frame.extend([source, destination, 20_u16.to_be_bytes(), [0, 0]].concat());
    frame.extend(*b"measurements");
    frame
}

/// Each conversation asks and is answered.
struct Frames {
    bytes: Vec<u8>,
    next: u32,
}

impl Source for Frames {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.next += 1;
        self.bytes = frame((self.next - 1) / 2, self.next.is_multiple_of(2));
        Ok(self.next <= 2 * CONVERSATIONS)
    }

    fn packet(&self) -> Packet<'_> {
        let time = Timestamp::from_nanos(i64::from(self.next) * 10_000);
        Packet {
            at: PacketRef::new(time, InputId(0), u64::from(self.next)),
            link: LinkType::ETHERNET,
            interface: 0,
            original: self.bytes.len() as u32,
            bytes: &self.bytes,
        }
    }

    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }
}

fn source() -> Frames {
    Frames { bytes: Vec::new(), next: 0 }
}

fn observed() -> Observed {
    pipeline::run(&mut source(), &pipeline::Options::default(), &|_, _| ()).unwrap()
}

const SITE: &str = r#"
[site]
name = "bench"
rulesets = ["opswat-md-ot-security"]
[roles]
network-sensor = ["10.10.0.0/16"]
asset = ["10.20.0.0/24"]
"#;

fn site() -> Site {
    // Documents name protocols and the facts that they state.
    let about = || PROTOCOLS.iter().map(|protocol| protocol.about());
    let facts = about().flat_map(|about| about.facts.iter().map(|(key, _)| *key));
    let words: Vec<&str> = about().map(|about| about.name).chain(facts).collect();
    rules::parse_site("bench", SITE, Path::new("."), &words).unwrap()
}

/// A site whose document has so many rules between the same two roles, each on a port of its own or a range.
fn with_rules(count: u32) -> Site {
    let mut site = site();
    let ruleset = &mut site.rulesets[0];
    let mut model = ruleset.rules[0].clone();
    (model.when, model.follows, model.need) = (Vec::new(), None, rules::Need::Optional);
    model.readings.truncate(1);
    model.readings[0].from = vec!["network-sensor".to_owned()];
    model.readings[0].to = vec!["asset".to_owned()];
    model.protocol.clear();
    ruleset.rules = (0..count)
        .map(|number| {
            let mut rule = model.clone();
            rule.id = format!("rule-{number}");
            let port = (number % 65_535) as u16;
            let ports = if number % 100 == 0 { port..=port.saturating_add(9) } else { port..=port };
            rule.readings[0].services = vec![Service { carrier: Carrier::Tcp, ports }];
            rule
        })
        .collect();
    site
}

/// A site with so many rules of its own, each about one client, one server and one port.
fn with_own_rules(count: u32) -> Site {
    let at = |ip: [u8; 4]| rules::Party::Bound(rules::Binding::Address { ip: ip.into(), cell: None });
    let mut site = site();
    site.allow = (0..count)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            let port = 1 + (number % 60_000) as u16;
            rules::SiteRule {
                id: format!("allow-{number}"),
                from: at([10, 11, high, low]),
                to: at([10, 20, 0, (number % 64) as u8]),
                services: vec![Service { carrier: Carrier::Udp, ports: port..=port }],
                protocol: Vec::new(),
                reason: "bench".to_owned(),
            }
        })
        .collect();
    site
}

/// As many runs as tell something: one takes up to seconds, and all of them are to be done in minutes.
fn short<'g, 'c>(group: &'g mut BenchmarkGroup<'c, WallTime>) -> &'g mut BenchmarkGroup<'c, WallTime> {
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2))
}

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("matching and judging");
    short(&mut group).throughput(Throughput::Elements(u64::from(CONVERSATIONS)));
    let observed = observed();
    for count in RULES {
        for (name, site) in
            [("rules of a document", with_rules(count)), ("rules of the site", with_own_rules(count))]
        {
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    audit::of(black_box(&observed), &site, audit::Options::default()).conversations.len()
                })
            });
            // What the rules cost by themselves: each is laid out and told whatever was seen.
            group.bench_function(BenchmarkId::new(format!("{name}, no conversations"), count), |b| {
                b.iter(|| {
                    audit::of(black_box(&Observed::default()), &site, audit::Options::default())
                        .requirements
                        .len()
                })
            });
        }
    }
    group.finish();
}

fn ending(c: &mut Criterion) {
    let mut group = c.benchmark_group("flows ended and merged");
    short(&mut group).throughput(Throughput::Elements(u64::from(CONVERSATIONS)));
    let mut live = Live::new(&pipeline::Options::default(), pipeline::Retention::default());
    let mut source = source();
    while source.advance().unwrap() {
        live.take(&source.packet());
    }
    group.bench_function("each a conversation of its own", |b| {
        b.iter(|| live.observe(&source, None).join().conversations.len())
    });
    group.finish();
}

fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("report");
    short(&mut group);
    let report = audit::of(&observed(), &site(), audit::Options::default());
    for format in FORMATS {
        let mut page = Vec::new();
        format.write(&report, &Style::default(), &mut page).unwrap();
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function(format.name(), |b| {
            b.iter(|| {
                page.clear();
                format.write(&report, &Style::default(), &mut page).unwrap();
                page.len()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, ending, matching, writing);
criterion_main!(benches);
