//! Any text as a ruleset and as a site: read, checked, and every mistake drawn.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spanaudit::classify::PROTOCOLS;
use spanaudit::rules;

static PROTOCOL_NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| PROTOCOLS.iter().map(|protocol| protocol.about().name).collect());

fuzz_target!(|text: &str| {
    let names = &*PROTOCOL_NAMES;
    // A folder that is not there, so that what the text names is not read from this machine.
    let base = Path::new("no/such/folder");
    match rules::parse_ruleset("fuzz.toml", text, names) {
        Ok((set, warnings)) => {
            rules::show(&set, 100);
            rules::render(&warnings, false, 100);
        }
        Err(error) => assert!(!error.render(false, 100).is_empty(), "refused without a word"),
    }
    if let Err(error) = rules::parse_site("fuzz.toml", text, base, names) {
        assert!(!error.render(true, 60).is_empty(), "refused without a word");
    }
    rules::render(&rules::check_text("fuzz.toml", text, base, names, &[]), false, 80);
});
