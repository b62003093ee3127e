//! House rules that the compiler does not know: which stage may import which, what every file begins with, provenance of captures.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "this is a test")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use sha2::Digest as _;
use sha2::Sha256;

/// What each module may import of the crate. `docs/architecture.md` holds the same table.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("threads", &[]),
    ("capture", &["model"]),
    ("decode", &["model"]),
    ("flow", &["model", "decode"]),
    ("classify", &["model"]),
    ("rules", &["model"]),
    ("audit", &["model", "threads", "rules"]),
    ("report", &["model", "threads"]),
    ("evidence", &["model", "capture", "decode", "report"]),
    ("explain", &["model", "report"]),
    ("pipeline", &["model", "threads", "capture", "decode", "flow", "classify"]),
    ("watch", &["model", "capture", "pipeline", "rules", "audit", "report", "evidence"]),
    (
        "cli",
        &[
            "model", "capture", "classify", "pipeline", "rules", "audit", "report", "explain", "evidence",
            "watch",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(under) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

fn files(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        rust_files(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "no Rust files under {folders:?}");
    found
}

/// The module of a file below `src`: `src/audit/view.rs` is `audit`, `src/pipeline.rs` is `pipeline`.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// Every `crate::x` that a line of code names.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for part in line.split("crate::").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.push((number + 1, name));
            }
        }
    }
    found
}

/// The file without what is compiled for tests alone, which may reach wherever it needs.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
        } else if let Some(item) = lines.by_ref().find(|line| !line.trim_start().starts_with("#["))
            && item.ends_with('{')
        {
            let indent: String = item.chars().take_while(|c| c.is_whitespace()).collect();
            let end = format!("{indent}}}");
            // The line numbers stay those of the file.
            lines.by_ref().take_while(|line| **line != end).for_each(|_| kept.push('\n'));
            kept.push('\n');
        } else {
            kept.push('\n');
        }
        kept.push('\n');
    }
    kept
}

/// Files under `src` that are compiled for tests alone: modules declared so, and all below them.
fn test_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in files(&["src"]) {
        let text = fs::read_to_string(&path).expect("a source file is readable");
        let is_root = path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
        let folder = if is_root { path.with_file_name("") } else { path.with_extension("") };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if let [attribute, item] = pair
                && *attribute == "#[cfg(test)]"
                && let Some((_, name)) = item.rsplit_once("mod ")
                && let Some(name) = name.strip_suffix(';')
            {
                found.push(folder.join(format!("{name}.rs")));
                found.push(folder.join(name));
            }
        }
    }
    found
}

#[test]
fn every_stage_imports_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    let tests = test_files();
    for path in files(&["src"]) {
        let Some(module) = module_of(&path) else { continue };
        if module == "lib" || module == "main" || tests.iter().any(|test| path.starts_with(test)) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: module '{module}' is not in the table", path.display()));
            continue;
        };
        let text = fs::read_to_string(&path).expect("a source file is readable");
        for (line, name) in imports(&without_tests(&text)) {
            let is_module = MAY_IMPORT.iter().any(|(known, _)| *known == name);
            if is_module && name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}:{line}: {module} may not import {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_stands_in_the_documentation() {
    let text =
        fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md is there");
    for (module, allowed) in MAY_IMPORT {
        let row = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        let wanted = format!("| `{module}` | {row} |");
        assert!(text.contains(&wanted), "docs/architecture.md lacks the row: {wanted}");
    }
}

#[test]
fn every_file_says_its_subject_in_its_first_line() {
    let wrong: Vec<String> = files(&["src", "tests", "benches", "fuzz"])
        .into_iter()
        .filter(|path| !fs::read_to_string(path).is_ok_and(|text| text.starts_with("//! ")))
        .map(|path| path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "no `//! subject` in the first line of:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_for_one_subject() {
    for path in files(&["src", "tests", "benches", "fuzz/fuzz_targets"]) {
        let lines = fs::read_to_string(&path).expect("a file that was listed").lines().count();
        assert!(lines <= 500, "{}: {lines} lines", path.display());
    }
}

#[test]
fn only_the_right_rooms_use_certain_crates() {
    let rooms: [(&str, &[&str]); 4] = [
        ("serde_json", &["report", "watch"]),
        ("clap", &["cli"]),
        ("toml", &["rules"]),
        ("pcap_parser", &["capture"]),
    ];
    let mut wrong = Vec::new();
    let tests = test_files();
    for path in files(&["src"]).into_iter().filter(|path| !tests.iter().any(|test| path.starts_with(test))) {
        let module = module_of(&path).unwrap_or_default();
        let text = fs::read_to_string(&path).expect("a source file is readable");
        for (name, room) in rooms {
            let used = without_tests(&text)
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains(&format!("{name}::")));
            if used && !room.contains(&module.as_str()) {
                wrong.push(format!("{}: {name} belongs to {}", path.display(), room.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Most bytes under `testdata`: everybody who clones the project carries them.
const MOST_TESTDATA: u64 = 3_000 * 1_024;

#[test]
fn every_case_says_where_its_capture_comes_from() {
    let cases = root().join("testdata/cases");
    let mut seen = 0;
    let mut size = 0;
    for entry in fs::read_dir(&cases).expect("testdata/cases is there").flatten() {
        let provenance = entry.path().join("SOURCE.md");
        let text = fs::read_to_string(&provenance).unwrap_or_default();
        for wanted in ["lab capture", "licence", "sha256"] {
            assert!(text.contains(wanted), "{} has to name source, licence and sha256", provenance.display());
        }
        for file in fs::read_dir(entry.path()).expect("a case is a folder").flatten() {
            let bytes = fs::read(file.path()).expect("a case's file is readable");
            size += bytes.len() as u64;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("capture.") {
                let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                assert!(
                    text.contains(&format!("`{name}`")) && text.contains(&format!("sha256 {hash}")),
                    "{} is about another file than {name} with sha256 {hash}",
                    provenance.display()
                );
                seen += 1;
            }
            let is_known = name.starts_with("capture.") || name.ends_with(".snap");
            assert!(
                is_known || ["SOURCE.md", "site.toml"].contains(&name.as_str()),
                "{} does not belong into a case",
                file.path().display()
            );
        }
    }
    assert!(seen > 0, "no case folders in {}", cases.display());
    assert!(size <= MOST_TESTDATA, "testdata has grown to {size} bytes");
}

/// `cargo fmt` does not come by the fuzz targets, which are a package of their own.
#[test]
fn fuzz_targets_are_formatted() {
    let targets = files(&["fuzz/fuzz_targets"]);
    let done = Command::new("rustfmt").args(["--check", "--edition", "2024"]).args(&targets).output();
    match done {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout)),
        Err(error) => println!("skipped: rustfmt can't be run: {error}"),
    }
}

#[test]
fn nothing_names_a_path_of_a_machine() {
    let mut wrong = Vec::new();
    let mut paths = files(&["src", "tests", "benches", "fuzz"]);
    paths.extend(["Makefile", ".ci/run", "fuzz/run.sh"].map(|name| root().join(name)));
    for folder in ["", "docs", "scripts", "rulesets", "tests/program/snapshots"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of the project").flatten();
        let endings = ["md", "sh", "toml", "snap"];
        paths.extend(entries.map(|entry| entry.path()).filter(|path| {
            path.extension()
                .and_then(|ending| ending.to_str())
                .is_some_and(|ending| endings.contains(&ending))
        }));
    }
    // Written in two parts, so that this file does not find itself.
    let roots = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            if roots.iter().any(|root| line.contains(root)) {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "a path of some machine in:\n{}", wrong.join("\n"));
}

/// The fuzz targets have a lock file of their own, which nothing else keeps in step.
#[test]
fn the_lock_file_of_the_fuzz_targets_is_fresh() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a file of the project");
    let manifest = read("Cargo.toml");
    let section = manifest.split("[dependencies]\n").nth(1).expect("it has dependencies");
    let mut wanted: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.contains("optional = true"))
        .filter_map(|line| Some(line.split_once('=')?.0.trim()))
        .collect();
    let lock = read("fuzz/Cargo.lock");
    let package = lock.split("[[package]]").find(|package| package.contains("name = \"spanaudit\"\n"));
    // `"name",` or, where there are several versions, `"name 1.2.3",`.
    let locked: Vec<&str> = package
        .expect("it has this package")
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split(['"', ' ']).next())
        .collect();
    wanted.sort_unstable();
    assert_eq!(locked, wanted, "renew it with `cargo update --workspace` in fuzz/");
}
