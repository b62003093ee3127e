//! Sites and rulesets as people write them: all that they can say is read.

use std::path::PathBuf;

use super::*;

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
