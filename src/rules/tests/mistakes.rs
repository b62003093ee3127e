//! Sites and rulesets as people write them, mistakes included, and arbitrary text.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// The site of the lab's healthy OPSWAT plant, as its tools print it.
const LAB_OPSWAT: &str = r#"[site]
name = "healthy-opswat-bidirectional"
rulesets = ["opswat-md-ot-security"]
features = ["bidirectional", "ldap", "ldaps", "nac", "ssh", "internet-urls"]
scope = ["10.20.1.101", "10.20.2.11", "10.20.3.12", "10.20.4.13", "10.20.5.32", "10.20.6.51"]

[roles]
admin = ["10.20.5.32", "10.20.5.33"]
asset = ["10.20.1.101", "10.20.1.102"]
dns-server = ["10.20.6.53"]
enterprise-manager = ["10.20.4.13"]
ldap-server = ["10.20.6.51"]
nac-server = ["10.20.6.57"]
network-sensor = ["10.20.2.11"]
site-manager = ["10.20.3.12"]
user = ["10.20.5.32", "10.20.5.33"]
"#;

/// The site of the lab's healthy Defender plant, over IPv6.
const LAB_DEFENDER: &str = r#"[site]
name = "healthy-defender"
rulesets = ["microsoft-defender-for-iot"]
features = ["azure", "ntp", "smtp", "dns", "crl", "wmi", "snmp", "ldap", "ldaps", "syslog", "tunneling"]
scope = ["fd20:20:0:2::21", "fd20:20:0:5::/64"]

[roles]
azure = ["host:contoso-plant1.azure-devices.net", "host:download.microsoft.com"]
client = ["fd20:20:0:5::32"]
endpoint = ["fd20:20:0:5::32"]
management-console = ["fd20:20:0:2::21"]
ot-sensor = ["fd20:20:0:2::21"]
"#;

fn site_of(text: &str) -> Result<Site, RulesError> {
    parse_site("plant-7.toml", text, Path::new("/nowhere"), WORDS)
}

#[test]
fn lab_sites_are_read() {
    let site = site_of(LAB_OPSWAT).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(site.file.as_deref(), Some("plant-7.toml"));
    assert_eq!(site.features.len(), 6);
    assert_eq!(site.scope.len(), 6);
    assert_eq!(site.roles["user"].len(), 2);
    assert_eq!(
        site.warnings,
        [
            "plant-7.toml:10:1: no ruleset has a role 'dns-server'; no rule names this role, so binding it changes nothing"
        ]
    );
    let site = site_of(LAB_DEFENDER).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(site.warnings, [""; 0]);
    assert_eq!(
        site.roles["azure"][0],
        Binding::Host(HostPattern { name: "contoso-plant1.azure-devices.net".to_owned(), wildcard: false })
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn sites_of_every_lab_scenario_are_read() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let (tool, lab) = (shared.join("tools/score.py"), shared.join("captures/lab"));
    let Ok(folder) = std::fs::read_dir(&lab) else {
        return println!("skipped: no lab captures at {}", lab.display());
    };
    let mut read = 0;
    for entry in folder.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".site.json") else { continue };
        let printed = std::process::Command::new("python3")
            .args([
                tool.as_os_str(),
                "site".as_ref(),
                "--set".as_ref(),
                lab.as_os_str(),
                "--only".as_ref(),
                name.as_ref(),
            ])
            .output();
        let text = match printed {
            Ok(printed) if printed.status.success() => String::from_utf8(printed.stdout).unwrap(),
            _ => return println!("skipped: python3 and score.py do not print sites here"),
        };
        if let Err(error) = site_of(&text) {
            panic!("{name}:\n{}", error.render(false, 120));
        }
        read += 1;
    }
    println!("{read} sites read");
}

/// Everything that a site can say.
const FULL: &str = r#"
[site]
name = "plant-7"
rulesets = ["opswat-md-ot-security", "microsoft-defender-for-iot"]
features = [
    "microsoft-defender-for-iot:ldap",
    { feature = "bidirectional", between = ["network-sensor", "site-manager"] },
    "unidirectional",
]
scope = ["10.20.0.0/16", "2001:db8::1"]
versions = { opswat-md-ot-security = "3.4.7" }

[roles]
network-sensor = ["10.20.1.10@cell-2", "10.20.2.0/24@cell-2", "10.9.9.9/32"]
site-manager = [{ any_of = ["10.20.9.5", "10.20.9.6", "host:SM.plant.example."] }]
enterprise-manager = "mac:00:1B:1b:00-00-01"
ot-sensor = "10.20.3.1"
engineering = "10.20.5.0/24"

[[cell]]
name = "cell-2"
vlan = [202, 203]
tunnel_id = 7
tunnel_source = "192.0.2.1"
interface = 1

[[allow]]
from = "engineering"
to = ["asset", "10.20.4.0/24"]
service = ["tcp/102", "tcp+udp/44818"]
protocol = ["s7comm", "enip"]
reason = "engineering stations program the S7-300s"

[[forbid]]
id = "no-internet"
from = "any"
to = "host:*.example.net"
reason = "plant rule 7"

[[waive]]
finding = "f-0123"
reason = "being replaced"
owner = "j.doe"
until = 2027-03-31

[[waive]]
match = { from = "10.20.5.7", service = "tcp/23" }
reason = "old drive"
owner = "j.doe"
until = "2027-03-31T12:00:00+02:00"

[[nat]]
inside = "10.20.1.10"
outside = "192.0.2.10"

[[window]]
from = 2026-11-20T18:00:00Z
until = 2026-11-20T22:00:00Z
reason = "firmware"

[[override]]
ruleset = "microsoft-defender-for-iot"
rule = "proxy"
service = "tcp/3128"
"#;

#[test]
fn a_site_says_everything_it_can() {
    let site = site_of(FULL).unwrap_or_else(|error| panic!("{}", error.render(false, 120)));
    insta::assert_debug_snapshot!((
        &site.features,
        &site.scope,
        &site.roles,
        &site.cells,
        &site.allow,
        &site.forbid,
        &site.waivers,
        &site.nat,
        &site.windows,
        &site.overrides,
        &site.warnings
    ));
}

#[test]
fn five_mistakes_in_a_site_are_five_diagnostics() {
    let text = r#"[site]
name = "plant-7"
rulesets = ["opswat-md-ot-security"]
features = ["bidirectinal"]

[roles]
network-sensor = ["10.20.1.300"]
site-manager = "10.20.1.5/24"

[[allow]]
from = "site-manger"
to = "asset"
service = "tcp-102"
reason = "why not"
"#;
    let error = site_of(text).unwrap_err();
    let lines: Vec<usize> =
        error.diagnostics.iter().filter(|one| one.is_error()).map(|one| one.line).collect();
    assert_eq!(lines, [4, 7, 8, 11, 13]);
    insta::assert_snapshot!(format!("{error}\n\n{}", error.render(false, 110)));
}

#[test]
fn mistakes_in_a_ruleset_are_all_told() {
    let text = r#"
[ruleset]
id = "Vendor X"
title = "T"
document = ""
revisoin = "1"

[features]
up = { about = "a", excludes = "dwn" }
down = "b"

[roles.server]
kind = "componant"
hosts = ["https://a.example/", "b..example", "10.0.0.1"]

[roles.client]
kind = "peer"

[[rule]]
id = "one"
from = "clinet"
to = []
service = ["tcp/70000", "5672", "udp/20-10", "sctp/1", "53/udp"]
protocol = ["https", "modbuss"]
tls = 1.3
need = "require"
cadence = "continuous"
when = ["upp"]
follows = "none"
cite = "row"

[[rule]]
id = "one"
from = "client"
to = "server"
service = "tcp/1"
need = "optional"
cadence = "rare"
cite = "row"
purpose = "p"
follows = "one"
surplus = true

[[rule.also]]
service = "tcp/1"
"#;
    let error = parse_ruleset("vendor.toml", text, WORDS).unwrap_err();
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn mistakes_in_what_a_rule_requires_are_all_told() {
    let text = r#"
[ruleset]
id = "vendor"
title = "T"
document = "D"
revision = "1"

[roles.server]
kind = "component"

[roles.client]
kind = "peer"

[[rule]]
id = "one"
from = "client"
to = "server"
service = "tcp/502"
protocol = ["modbus"]
need = "optional"
cadence = "rare"
cite = "row"
purpose = "p"
require = { "modbus.acess" = "read", "tls.version" = ">= new", "modbus.unit" = [], "tls.sni" = "!=", modbus.access = "read", "x.y" = 3 }
"#;
    let words: Vec<&str> =
        WORDS.iter().copied().chain(["modbus.access", "modbus.unit", "tls.version", "tls.sni"]).collect();
    let error = parse_ruleset("vendor.toml", text, &words).unwrap_err();
    insta::assert_snapshot!(error.to_string());
    let right = text.split("require").next().unwrap();
    let right = format!("{right}require = {{ \"modbus.access\" = [\"read\", \"!= write\"] }}\n");
    let (set, warnings) = parse_ruleset("vendor.toml", &right, &words).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings, []);
    let require: Vec<String> = set.rules[0].require.iter().map(ToString::to_string).collect();
    assert_eq!(require, ["modbus.access read, not write"]);
}

#[test]
fn syntax_errors_point_at_their_line_and_other_files_are_still_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vendor.toml"), "[ruleset\nid = 1\n").unwrap();
    let text = "[site]\nname = \"x\"\nrulesets = [\"vendor.toml\", \"opswat\", \"missing.toml\"]\nfeatures = [\"whatever\"]\nscope = [\"1.2.3\"]\n";
    let error = parse_site("site.toml", text, folder.path(), WORDS).unwrap_err();
    let short = error.to_string().replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(short);
}

#[test]
fn lints_tell_what_is_probably_not_meant() {
    let text = r#"
[ruleset]
id = "vendor"
title = "T"
document = "D"
revision = "1"

[features]
idle = "nobody asks for it"

[roles.server]
kind = "component"
[roles.client]
kind = "peer"
[roles.nobody]
kind = "peer"

[[rule]]
id = "wide"
from = "client"
to = "server"
service = "tcp/1000-2000"
need = "optional"
cadence = "human"
cite = "row 1"
purpose = "p"

[[rule]]
id = "inside"
from = "client"
to = "server"
service = "tcp/1502"
protocol = ["modbus"]
need = "required"
cadence = "rare"
cite = "row 2"
purpose = "p"
certainty = "suspect"

[[rule]]
id = "slip"
from = "client"
to = "server"
service = "udp/61"
protocol = ["snmp"]
need = "optional"
cadence = "human"
cite = "row 3"
purpose = "p"
alternative = "alone"

[[rule]]
id = "clear"
from = "client"
to = "server"
service = "tcp/23"
protocol = ["telnet"]
need = "optional"
cadence = "human"
cite = "row 4"
purpose = "p"

[[rule]]
id = "copy"
from = "client"
to = "server"
service = "tcp/23"
protocol = ["telnet"]
insecure = true
need = "optional"
cadence = "human"
cite = "row 4"
purpose = "p"
"#;
    let found = check_text("vendor.toml", text, Path::new(""), WORDS, USUAL);
    assert!(found.iter().all(|one| !one.is_error()));
    insta::assert_snapshot!(found.iter().map(Diagnostic::short).collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_a_site_says_too_broadly_or_twice_is_warned_about() {
    let text = format!(
        "{LAB_OPSWAT}proxy = []\n\n[[allow]]\nfrom = \"any\"\nto = \"0.0.0.0/0\"\nservice = \"tcp/1-65535\"\n\n\
         [[allow]]\nfrom = \"asset\"\nto = \"user\"\nreason = \"r\"\n\n\
         [[waive]]\nmatch = {{}}\nreason = \"\"\n\n[[window]]\nfrom = 2026-11-21\nuntil = 2026-11-20\nreason = \"r\"\n"
    );
    let error = site_of(&text).unwrap_err();
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn modes_exclude_each_other_for_the_same_pair_only() {
    let features = |list: &str| {
        let with = LAB_OPSWAT.replace("\"bidirectional\"", list);
        site_of(&with).map_err(|error| error.to_string()).map(|site| site.features.len() - 5)
    };
    let pair = "{ feature = \"bidirectional\", between = [\"network-sensor\", \"site-manager\"] }";
    let same_pair = "{ feature = \"unidirectional\", between = [\"site-manager\", \"network-sensor\"] }";
    assert_eq!(features(&format!("\"unidirectional\", {pair}")), Ok(2));
    for clash in ["\"bidirectional\", \"unidirectional\"".to_owned(), format!("{pair}, {same_pair}")] {
        assert!(
            features(&clash).unwrap_err().contains("'bidirectional' and 'unidirectional' exclude each other")
        );
    }
    let stranger = pair.replace("site-manager", "site-manger");
    assert!(features(&stranger).unwrap_err().contains("did you mean 'site-manager'?"));
}

#[test]
fn rules_hold_for_the_versions_that_they_name() {
    let folder = tempfile::tempdir().unwrap();
    let ruleset = r#"
[ruleset]
id = "vendor"
title = "T"
document = "D"
revision = "1"
[roles.server]
kind = "component"
[roles.client]
kind = "peer"
[[rule]]
id = "old"
before = "22.0"
from = "client"
to = "server"
service = "tcp/80"
need = "optional"
cadence = "human"
cite = "row 1"
purpose = "p"
[[rule]]
id = "new"
since = "22.0"
from = "client"
to = "server"
service = "tcp/443"
need = "optional"
cadence = "human"
cite = "row 2"
purpose = "p"
"#;
    std::fs::write(folder.path().join("vendor.toml"), ruleset).unwrap();
    let rules = |versions: &str| -> String {
        let text = format!(
            "[site]\nname = \"x\"\nrulesets = [\"./vendor.toml\"]\n{versions}\n[roles]\nserver = \"10.0.0.1\"\n"
        );
        let site =
            parse_site("x.toml", &text, folder.path(), WORDS).unwrap_or_else(|error| panic!("{error}"));
        site.rulesets[0].rules.iter().map(|rule| rule.id.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(rules(""), "old new");
    assert_eq!(rules("versions = { vendor = \"22.1.3\" }"), "new");
    assert_eq!(rules("versions = { vendor = \"10.5\" }"), "old");
}

#[test]
fn flags_stand_in_for_a_site() {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let role = |role: &str, bindings: &str| (role.to_owned(), bindings.to_owned());
    let rulesets = own(&["opswat-md-ot-security"]);
    let roles = [role("site-manager", "10.1.2.3,10.1.2.4"), role("network-sensor", "10.1.3.0/24")];
    let site =
        site_from_flags(&roles, &rulesets, &own(&["bidirectional"]), WORDS).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(site.roles["site-manager"].len(), 2);
    assert_eq!(site.file, None);
    assert_eq!(
        site.warnings,
        [
            "nobody is bound to enterprise-manager of opswat-md-ot-security, so 6 rules cannot be checked in full"
        ]
    );
    let roles = [role("site-manger", "10.1.2.3"), role("network-sensor", "10.1.3.0/24,10.1.300.1")];
    let error = site_from_flags(&roles, &rulesets, &own(&["bidirectional", "unidirectional", "ldpa"]), WORDS)
        .unwrap_err();
    insta::assert_snapshot!(format!("{error}\n\n{}", error.render(false, 100)));
    let error = site_unbound(&own(&["opswat-md-ot-securty"]), WORDS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "command line:1:1: no ruleset is named 'opswat-md-ot-securty'; did you mean 'opswat-md-ot-security'?"
    );
}

#[test]
fn a_role_is_bound_to_an_imported_host_list() {
    let folder = tempfile::tempdir().unwrap();
    let list = "# endpoints\nhttps://hub-1.azure-devices.net:443/x\n{\"url\": \"*.blob.core.windows.net\", \"v\": \"1.0\"}\nhub-1.azure-devices.net\n";
    std::fs::write(folder.path().join("endpoints.json"), list).unwrap();
    let text = LAB_DEFENDER.replace(
        "azure = [\"host:contoso-plant1.azure-devices.net\", \"host:download.microsoft.com\"]",
        "azure = { hosts_file = \"endpoints.json\" }",
    );
    let site = parse_site("site.toml", &text, folder.path(), WORDS).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<String> = each_binding(&site.roles["azure"])
        .map(|binding| match binding {
            Binding::Host(pattern) => pattern.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["hub-1.azure-devices.net", "*.blob.core.windows.net"]);
}

#[test]
fn rulesets_are_shown_as_tables() {
    for (id, _) in builtin() {
        let shown = show(&built_in(id), 140);
        assert!(shown.lines().all(|line| line.chars().count() <= 140), "{shown}");
        insta::assert_snapshot!(format!("show-{id}"), shown);
    }
    let all: Vec<Ruleset> = builtin().iter().map(|(id, _)| built_in(id)).collect();
    insta::assert_snapshot!(list(&all, 100));
    let narrow = show(&built_in("opswat-md-ot-security"), 10);
    assert!(narrow.lines().count() > 100);
}

#[test]
fn keys_nested_without_end_are_refused() {
    let deep = "a.".repeat(200_000) + "b = 1\n";
    for text in [
        deep.clone(),
        format!("[{}b]\n", "a.".repeat(200_000)),
        format!("x = {{ {deep} }}"),
        "[".repeat(100_000),
        "x = ".to_owned() + &"[".repeat(100_000),
        "x = ".to_owned() + &"{a=".repeat(100_000),
    ] {
        assert!(parse_ruleset("deep.toml", &text, WORDS).is_err());
    }
    // Dots in texts are none of it.
    let text = format!("x = \"{}\"\n", ".".repeat(1000));
    let error = parse_ruleset("dots.toml", &text, WORDS).unwrap_err();
    assert!(error.to_string().contains("has no key 'x'"), "{error}");
}

#[test]
fn files_without_measure_are_refused_in_good_time() {
    let started = std::time::Instant::now();
    let many = |word: &str| format!("[{}]", vec![format!("\"{word}\""); 40_000].join(", "));
    let rule = |key: &str, list: String| {
        let ruleset = builtin()[0].1.replacen("[[rule]]", &format!("[[rule]]\n{key} = {list}"), 1);
        assert!(parse_ruleset("x.toml", &ruleset, WORDS).is_err());
    };
    rule("also", many("x"));
    rule("follows", many("x"));
    let site = |text: String| assert!(site_of(&format!("{LAB_OPSWAT}\n{text}")).is_err());
    site(format!("extra = {}", many("10.0.0.1")));
    site(format!("[[allow]]\nfrom = {}\nto = {}\n", many("10.0.0.1"), many("site-manger")));
    site((0..40_000).map(|at| format!("k{at} = 1\n")).collect());
    site("[[allow]]\n".repeat(100_000));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,400}") {
        let _ = check_text("any.toml", &text, Path::new("/nowhere"), WORDS, USUAL);
    }

    /// Texts near to real ones: words of the format in any order, cut anywhere.
    #[test]
    fn shuffled_and_cut_files_never_panic(picks in proptest::collection::vec((0..400_usize, 0..12_usize, 0..90_usize), 0..60), site in any::<bool>()) {
        let base: Vec<&str> = if site { FULL.lines().collect() } else { builtin()[1].1.lines().collect() };
        let mut lines: Vec<String> = base.iter().take(200).map(|line| (*line).to_owned()).collect();
        for (at, what, column) in picks {
            let at = at % lines.len();
            let other = lines[(at * 7 + column) % lines.len()].clone();
            match what {
                0 => { lines.remove(at); if lines.is_empty() { lines.push(String::new()); } }
                1 => lines.insert(at, other),
                2 => lines[at] = other,
                3 => { let cut = lines[at].floor_char_boundary(column); lines[at].truncate(cut); }
                4 => { let cut = lines[at].floor_char_boundary(column); lines[at].insert(cut, '"'); }
                5 => { let cut = lines[at].floor_char_boundary(column); lines[at].insert(cut, 'é'); }
                6 => { let cut = lines[at].floor_char_boundary(column); lines[at].insert(cut, '['); }
                _ => {}
            }
        }
        let text = lines.join("\n");
        let found = check_text("any.toml", &text, Path::new("/nowhere"), WORDS, USUAL);
        let rendered = render(&found, true, 80);
        prop_assert_eq!(rendered.is_empty(), found.is_empty());
        let count = text.lines().count().max(1);
        for one in &found {
            prop_assert!(one.line <= count + 1, "{}", one.short());
        }
    }
}
