//! docs/interop.md is what these tests show: every test it names exists, and every test is named there.

use std::collections::BTreeSet;
use std::fs;

#[test]
fn the_interoperability_table_names_every_test_and_no_other() {
    let root = env!("CARGO_MANIFEST_DIR");
    let page = fs::read_to_string(format!("{root}/docs/interop.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<String> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter_map(test).collect();
    let mut there = BTreeSet::new();
    for file in fs::read_dir(format!("{root}/tests/outside/cases")).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with("table.rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        there.extend(text.split("#[tokio::test").skip(1).filter_map(|rest| {
            let name = rest.split_once("async fn ")?.1.split_once('(')?.0;
            Some(name.to_owned())
        }));
    }
    assert!(!there.is_empty() && !named.is_empty());
    let (missing, unlisted): (Vec<_>, Vec<_>) =
        (named.difference(&there).collect(), there.difference(&named).collect());
    assert!(missing.is_empty() && unlisted.is_empty(), "no such test: {missing:?}; not in the table: {unlisted:?}");
}

/// A word with several underscores is a test; a setting or a header is not.
fn test(word: &str) -> Option<String> {
    let is_test =
        word.matches('_').count() > 2 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_test.then(|| word.to_owned())
}
