//! The JSON page against the contract.

use super::super::samples;
use super::*;

fn told(report: &Report) -> String {
    let mut out = Vec::new();
    Json.write(report, &Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_report_is_that_of_the_contract() {
    insta::assert_snapshot!(told(&samples::report()));
}

#[test]
fn keys_are_in_the_order_of_the_contract() {
    let whole: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&told(&samples::report())).unwrap();
    let wanted = [
        "schema",
        "tool",
        "inputs",
        "vantage",
        "site",
        "result",
        "summary",
        "requirements",
        "conversations",
        "findings",
        "totals",
    ];
    let keys: Vec<_> = whole.keys().filter(|key| wanted.contains(&key.as_str())).collect();
    assert_eq!(keys, wanted);
}

#[test]
fn an_empty_report_is_a_report() {
    assert!(serde_json::from_str::<serde_json::Value>(&told(&samples::empty_report())).is_ok());
}
