//! Mistakes in sites and rulesets: all of them told, each at its line.

use super::*;

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
