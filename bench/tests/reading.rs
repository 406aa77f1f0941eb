//! `make reading` in small: every question has an answer, and both sides give the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_question_has_the_same_answer_of_the_relations_and_of_the_typed_tables() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("findings.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_trunkline-reading"))
        .args([
            "--events",
            "6000",
            "--days",
            "3",
            "--runs",
            "1",
            "--indexes",
        ])
        .args(["--set", "shared_buffers=64MB", "--out"])
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let subject: Value = lines.next().unwrap();
    assert_eq!(subject["events"], 6_000);
    let bytes = |field: &str| subject[field].as_f64().unwrap();
    assert!(bytes("bytes_per_event") > 1_000.0, "{subject}");
    assert!(bytes("typed_bytes_per_event") > 100.0, "{subject}");

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
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("| one user |"), "{table}");
}
