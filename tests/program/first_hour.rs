//! The first hour with a recording and no site file: what each step prints is enough to take the next. And the mistakes made on the way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::common::cases;

/// Exit status, standard output and standard error of the real program.
fn run(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_spanaudit"))
        .args(words)
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The site file at the end of a provisional report, as a person copies it.
fn offered_site(report: &str) -> String {
    let lines = report.lines().skip_while(|line| line.trim() != "[site]");
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.trim_start())).collect()
}

#[test]
fn each_step_tells_the_next() {
    let folder = TempDir::new().unwrap();
    for case in cases() {
        let capture = case.capture.to_str().unwrap();
        let name = &case.name;

        let (code, flows, err) = run(&["flows", capture]);
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        assert!(flows.contains(&format!("spanaudit audit {capture}")), "{name}: {flows}");
        assert!(flows.contains("spanaudit rules list"), "{name}");

        let (code, report, err) = run(&["audit", capture]);
        assert_eq!((code, err.as_str()), (3, ""), "{name}");
        assert!(report.starts_with("PROVISIONAL"), "{name}");
        let offered = offered_site(&report);
        // Where nothing of a documented product is on the wire, there is no file to offer, but a way on. So where all there is might be
        // anybody's: a station that polls controllers, a client and its message broker.
        let anybody = [
            "broadcast-domain",
            "stores-and-mail",
            "unreadable-frames",
            "plant-protocols",
            "nothing-happens",
            "openings-missed",
            "cameras-and-refusals",
            "logins-and-serial-lines",
        ];
        if anybody.contains(&name.as_str()) {
            assert!(offered.is_empty() && report.contains("--ruleset ID"), "{name}: {report}");
            continue;
        }
        assert!(offered.contains("[roles]"), "{name} offers no site file: {report}");
        assert!(offered.lines().count() <= 20, "{name}: more than a person reads: {offered}");

        // The file works as it is, and names rulesets that can be shown.
        let site = write(&folder, &format!("{name}.toml"), &offered);
        let (code, checked, err) = run(&["rules", "check", &site]);
        assert_eq!(code, 0, "{name}: {offered}{checked}{err}");
        let (code, report, err) = run(&["audit", capture, "--site", &site]);
        assert!([0, 1, 3].contains(&code), "{name}: {err}");
        assert!(!report.contains("PROVISIONAL"), "{name}: {report}");
        assert!(report.contains("NEXT\n"), "{name}: {report}");
        for (id, _) in spanaudit::rules::builtin().iter().filter(|(id, _)| offered.contains(*id)) {
            let (code, shown, _) = run(&["rules", "show", id]);
            assert_eq!(code, 0);
            // Roles of the file are roles of the page.
            let roles = offered.lines().skip_while(|line| *line != "[roles]").skip(1);
            for role in roles.filter_map(|line| line.split(" = ").next()).filter(|role| !role.is_empty()) {
                let elsewhere =
                    offered.matches("opswat").count() > 0 && offered.matches("microsoft").count() > 0;
                assert!(elsewhere || shown.contains(role), "{id} does not show the role {role}");
            }
        }
    }
}

#[test]
fn a_site_of_ten_lines_is_enough() {
    let folder = TempDir::new().unwrap();
    let site = write(
        &folder,
        "site.toml",
        "[site]\n\
         name = \"plant\"\n\
         rulesets = [\"opswat-md-ot-security\"]\n\
         features = [\"bidirectional\"]\n\
         \n\
         [roles]\n\
         network-sensor = [\"10.20.2.11\"]\n\
         site-manager = [\"10.20.3.12\"]\n\
         enterprise-manager = [\"10.20.4.13\"]\n\
         user = [\"10.20.5.32\"]\n",
    );
    let (code, report, err) = run(&["audit", "testdata/cases/blocked-drop/capture.pcap", "--site", &site]);
    assert_eq!((code, err.as_str()), (1, ""), "{report}");
    assert!(report.starts_with("FINDINGS"), "{report}");
    // Who must be asked, about which flow, and the packets to show them.
    for words in [
        "10.20.2.11 to site-manager 10.20.3.12 on tcp/5672 is blocked",
        "whoever runs the firewall",
        "frame.number in {",
    ] {
        assert!(
            report.split_whitespace().collect::<Vec<_>>().join(" ").contains(words),
            "no '{words}' in {report}"
        );
    }
}

#[test]
fn five_mistakes_are_told_in_one_run() {
    let folder = TempDir::new().unwrap();
    let text = "[ruleset]\n\
                id = \"mine\"\n\
                title = \"Mine\"\n\
                document = \"ours\"\n\
                revision = \"1\"\n\
                \n\
                [roles.pump]\n\
                title = \"Pump\"\n\
                kind = \"compnent\"\n\
                \n\
                [[rule]]\n\
                id = \"a\"\n\
                from = \"pmp\"\n\
                to = \"pump\"\n\
                service = \"tcp/70000\"\n\
                protocol = [\"modbuss\"]\n\
                need = \"always\"\n\
                cadence = \"continuous\"\n\
                cite = \"row 1\"\n\
                purpose = \"polls\"\n";
    let file = write(&folder, "mine.toml", text);
    let (code, out, err) = run(&["rules", "check", &file]);
    assert_eq!(code, 2, "{out}{err}");
    for (line, wrong, right) in [
        (9, "compnent", "component"),
        (13, "pmp", "pump"),
        (15, "70000", "65535"),
        (16, "modbuss", "modbus"),
        (17, "always", "required"),
    ] {
        assert!(out.contains(&format!("mine.toml:{line}:")), "line {line}: {out}");
        assert!(out.contains(wrong) && out.contains(right), "{wrong} should be {right}: {out}");
    }
    // The text is underlined where it is wrong.
    assert!(out.matches('^').count() >= 5, "{out}");
    // An audit with it stops before any capture is read.
    let site = write(
        &folder,
        "site.toml",
        "[site]\nname = \"x\"\nrulesets = [\"./mine.toml\"]\n\n[roles]\npump = [\"10.0.0.1\"]\n",
    );
    let (code, out, err) = run(&["audit", "missing.pcap", "--site", &site]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("mine.toml:13") && !err.contains("missing.pcap"), "{err}");
}

#[test]
fn a_rule_of_the_site_that_names_a_role_of_nobody() {
    let folder = TempDir::new().unwrap();
    let site = write(
        &folder,
        "site.toml",
        "[site]\nname = \"x\"\nrulesets = [\"opswat-md-ot-security\"]\n\n[roles]\nsite-manager = [\"10.1.2.3\"]\n\n\
         [[allow]]\nfrom = \"site-manger\"\nto = \"asset\"\nservice = \"tcp/102\"\nreason = \"r\"\n",
    );
    for words in [&["rules", "check", &site][..], &["audit", "missing.pcap", "--site", &site]] {
        let (code, out, err) = run(words);
        let told = out + &err;
        assert_eq!(code, 2, "{told}");
        for expected in ["site.toml:9:", "site-manger", "site-manager"] {
            assert!(told.contains(expected), "no '{expected}' in {told}");
        }
    }
}

#[test]
fn inputs_that_cannot_be_used_are_named() {
    let folder = TempDir::new().unwrap();
    let notes = write(&folder, "notes.txt", "the mirror is on port 24 of the core switch\n");
    let site = write(&folder, "site.toml", "[site\nname = \n");
    let good = "testdata/cases/nothing-happens/capture.pcap";
    let of_folder = folder.path().to_str().unwrap();
    for (words, says) in [
        (&["audit", of_folder][..], vec![of_folder, "no capture"]),
        (&["audit", &notes], vec!["notes.txt", "text"]),
        (&["audit", good, "--site", &site], vec!["site.toml:1"]),
        (&["audit", good, "--site", "no-such-site.toml"], vec!["no-such-site.toml"]),
        (&["audit", good, "--site", of_folder], vec![of_folder, "folder"]),
        (&["audit", good, "-o", "/proc/no/such/report"], vec!["/proc/no/such/report"]),
        (&["flows", good, "missing.pcap"], vec!["missing.pcap"]),
        (&["rules", "check", "no-such.toml"], vec!["no-such.toml"]),
    ] {
        let (code, out, err) = run(words);
        assert_eq!(code, 2, "{words:?}: {out}{err}");
        let told = format!("{out}{err}");
        for expected in says {
            assert!(told.contains(expected), "{words:?} should say {expected}: {told}");
        }
        assert!(!told.contains("panicked"), "{told}");
    }
    assert!(!Path::new("report.txt").exists());
}
