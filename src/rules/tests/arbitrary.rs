//! Text of any kind and size: refused or read, in good time, and never a panic.

use proptest::prelude::*;

use super::*;

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
