use super::*;
use trunkline_model::deduplication::{Deduplication, Identity};

const NONE: &str = "clusterRef: {name: main}, verification: {none: {}},";

fn deduplicating(spec: &str) -> Result<Option<Deduplication>, Problems> {
    only(&format!("{NONE} {spec}")).map(|source| source.deduplication)
}

#[test]
fn what_tells_repeats_reaches_the_document_with_its_window() {
    let keys = |keys: &[&str]| Identity::Path {
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
    };
    let name = "x-github-delivery".to_owned();
    for (spec, by, window_seconds) in [
        ("{by: MessageId}", Identity::MessageId, 86_400),
        (
            "{by: Header, header: X-GitHub-Delivery, window: 168h}",
            Identity::Header { name },
            604_800,
        ),
        (
            "{by: Path, path: [data, '0', id], window: 1m}",
            keys(&["data", "0", "id"]),
            60,
        ),
        ("{by: BodyHash, window: 1h30m}", Identity::BodyHash, 5_400),
    ] {
        let found = deduplicating(&format!("deduplicate: {spec}")).unwrap();
        let expected = Deduplication { by, window_seconds };
        assert_eq!(found, Some(expected), "{spec}");
    }
    assert_eq!(deduplicating("").unwrap(), None);
    for format in ["Text", "Bytes"] {
        let spec = format!("body: {{format: {format}}}, deduplicate: {{by: BodyHash}}");
        assert!(deduplicating(&spec).unwrap().is_some(), "{format}");
    }
}

#[test]
fn a_wrong_deduplication_is_refused_with_field_and_fix() {
    let eleven = "a, ".repeat(11);
    for (spec, expected) in [
        (
            "deduplicate: {by: Header}".to_owned(),
            "spec.deduplicate.header: is not set, and by: Header needs it; write one like",
        ),
        (
            "deduplicate: {by: Header, header: 'X Id'}".to_owned(),
            "spec.deduplicate.header: \"X Id\" is not a header name",
        ),
        (
            "deduplicate: {by: MessageId, header: X-Id}".to_owned(),
            "spec.deduplicate.header: goes with by: Header alone; remove it",
        ),
        (
            "deduplicate: {by: Path}".to_owned(),
            "spec.deduplicate.path: is not set, and by: Path needs it; write one like [data, id]",
        ),
        (
            "deduplicate: {by: BodyHash, path: [id]}".to_owned(),
            "spec.deduplicate.path: goes with by: Path alone; remove it",
        ),
        (
            "deduplicate: {by: Path, path: []}".to_owned(),
            "spec.deduplicate.path: has 0 keys; list 1 to 10",
        ),
        (
            format!("deduplicate: {{by: Path, path: [{eleven}]}}"),
            "spec.deduplicate.path: has 11 keys; list 1 to 10",
        ),
        (
            "deduplicate: {by: Path, path: [data, '*']}".to_owned(),
            "spec.deduplicate.path[1]: \"*\" would be many values; write the key of one",
        ),
        (
            "deduplicate: {by: Path, path: ['-1']}".to_owned(),
            "spec.deduplicate.path[0]: \"-1\" would be a place from the end, which is not looked at",
        ),
        (
            "deduplicate: {by: Path, path: ['']}".to_owned(),
            "spec.deduplicate.path[0]: is not a key; write 1 to 255 characters",
        ),
        (
            "body: {format: Text}, deduplicate: {by: MessageId}".to_owned(),
            "spec.deduplicate.by: needs bodies of JSON; set spec.body.format to Json, JsonArray or",
        ),
        (
            "deduplicate: {by: MessageId, window: 59s}".to_owned(),
            "spec.deduplicate.window: \"59s\" is not a duration from 1m to 168h; write one like 24h",
        ),
        (
            "deduplicate: {by: MessageId, window: 169h}".to_owned(),
            "spec.deduplicate.window: \"169h\" is not a duration from 1m to 168h",
        ),
        (
            "deduplicate: {by: MessageId, window: 7d}".to_owned(),
            "spec.deduplicate.window: \"7d\" is not a duration from 1m to 168h",
        ),
    ] {
        let problems = deduplicating(&spec).unwrap_err().to_string();
        assert!(problems.contains(expected), "{spec}: {problems}");
    }
}
