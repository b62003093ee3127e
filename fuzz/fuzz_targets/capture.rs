//! Any bytes as a recording: opened, unpacked, read to the end, decoded, followed, judged and told. Every packet must be accounted for.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spanaudit::audit;
use spanaudit::capture;
use spanaudit::classify::PROTOCOLS;
use spanaudit::pipeline;
use spanaudit::report::FLOW_FORMATS;
use spanaudit::report::FORMATS;
use spanaudit::report::FlowList;
use spanaudit::report::Style;
use spanaudit::rules;
use spanaudit::rules::Site;

/// Both documents, nobody bound.
static SITE: LazyLock<Option<Site>> = LazyLock::new(|| {
    let names: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.about().name).collect();
    let sets: Vec<String> = rules::builtin().iter().map(|(id, _)| (*id).to_owned()).collect();
    rules::site_unbound(&sets, &names).ok()
});

fuzz_target!(|bytes: &[u8]| {
    let stream = Box::new(Cursor::new(bytes.to_vec()));
    let Ok(mut source) = capture::open_reader(stream, "fuzz", &capture::Options::default()) else { return };
    let options = pipeline::Options { keep_flows: true, ..pipeline::Options::default() };
    let Ok(observed) = pipeline::run(&mut source, &options, &|_, _| {}) else { return };
    assert!(observed.tally.adds_up(), "{:?}", observed.tally);
    let in_flows: u64 = observed.flows.iter().map(|flow| flow.packets()).sum();
    assert_eq!(in_flows, observed.tally.in_flows);

    let mut out = Vec::new();
    let list = FlowList {
        inputs: &observed.inputs,
        vantage: &observed.vantage,
        cells: &[],
        flows: &observed.flows,
        tally: &observed.tally,
    };
    for format in FLOW_FORMATS {
        format.write(&list, &Style::default(), &mut out).expect("memory takes all");
    }
    let Some(site) = &*SITE else { return };
    let report = audit::audit(observed, site, audit::Options { strict: true, ..audit::Options::default() });
    for format in FORMATS {
        format.write(&report, &Style::default(), &mut out).expect("memory takes all");
    }
    let told = String::from_utf8(out).expect("reports are text");
    assert!(!told.contains('\x1b'), "what a capture holds reaches the terminal");
});
