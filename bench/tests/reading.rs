//! `make reading` in small: every question has an answer, and both sides give the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::process::Command;

use serde_json::Value;

/// What it printed, and what it found out: about its subject, and in the lines that follow.
fn read(options: &[&str]) -> (String, Value, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("findings.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_trunkline-reading"))
        .args(["--events", "6000", "--days", "3", "--runs", "1"])
        .args(["--set", "shared_buffers=64MB", "--out"])
        .arg(&file)
        .args(options)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let subject: Value = lines.next().unwrap();
    assert_eq!(subject["events"], 6_000);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("| one user |"), "{table}");
    (table, subject, lines.collect())
}

fn bytes(subject: &Value, field: &str) -> f64 {
    subject[field].as_f64().unwrap()
}

#[test]
fn every_question_has_the_same_answer_of_the_relations_and_of_the_typed_tables() {
    let (_, subject, lines) = read(&["--indexes"]);
    assert!(bytes(&subject, "bytes_per_event") > 1_000.0, "{subject}");
    assert!(
        bytes(&subject, "typed_bytes_per_event") > 100.0,
        "{subject}"
    );
    assert!(
        bytes(&subject, "materialized_bytes_per_event") == 0.0,
        "{subject}"
    );
    let lines = lines.into_iter();
    let (findings, costs): (Vec<Value>, Vec<Value>) =
        lines.partition(|line: &Value| line["query"].is_string());
    let names: Vec<_> = findings
        .iter()
        .map(|it| it["query"].as_str().unwrap())
        .collect();
    for name in [
        "events by name, 1 d",
        "funnel, 3 d",
        "last touch, 1 d",
        "one user",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for finding in &findings {
        assert!(finding["rows"].as_u64().unwrap() > 0, "{finding}");
        let partitions = finding["partitions"].as_u64().unwrap();
        if finding["is_of_one_day"].as_bool().unwrap() {
            assert!((1..=2).contains(&partitions), "{finding}");
        }
        for side in ["relations_ms", "typed_ms"] {
            assert!(finding[side][0].as_f64().unwrap() > 0.0, "{finding}");
        }
    }
    let indexes: Vec<_> = costs
        .iter()
        .map(|it| it["index"].as_str().unwrap())
        .collect();
    let all = [
        "none",
        "MessageId",
        "UserId",
        "AnonymousId",
        "Event",
        "Body",
    ];
    assert_eq!(indexes, all);
    for cost in &costs[1..] {
        let bytes = |of: &Value| of["index_bytes"].as_f64().unwrap();
        assert!(bytes(cost) > bytes(&costs[0]), "{cost}");
    }
}

#[test]
fn so_it_has_of_relations_with_tables_of_their_own() {
    let (table, subject, lines) = read(&["--materialized"]);
    assert!(
        bytes(&subject, "materialized_bytes_per_event") > 100.0,
        "{table}"
    );
    // Of the events, and of each relation's table.
    let read = |line: &Value| line["partitions"].as_u64().unwrap();
    assert!(lines.iter().any(|line| read(line) > 3), "{table}");
}
