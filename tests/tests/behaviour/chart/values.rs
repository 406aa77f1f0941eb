//! What an administrator writes and reads: values, their page, the notes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helm::{chart, helm, root, text};

#[test]
fn wrong_values_are_refused_by_name() {
    let cases = [
        ("replica=2", "replica"),
        ("crds.kept=true", "kept"),
        ("replicas=-1", "/replicas"),
        ("leaderElection.enabled=false,replicas=2", "/replicas"),
        ("image.tag=operator:1", "/image/tag"),
        ("image.digest=0.1.0", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("metrics.port=80", "/metrics/port"),
        ("logging.format=yaml", "/logging/format"),
        ("test.source=segment", "/test/source"),
        ("test.for=10", "/test/for"),
        ("test.rate=0", "/test/rate"),
        ("watchNamespaces={Team_A}", "/watchNamespaces/0"),
        ("watchNamespaces=team-a", "/watchNamespaces"),
        ("serviceAccount.create=false", "serviceAccount.name"),
    ];
    for (set, field) in cases {
        let output = helm(&["template", "trunkline", "charts/trunkline", "--set", set]);
        assert!(!output.status.success(), "{set} is taken");
        assert!(
            text(&output.stderr).contains(field),
            "{set}: {}",
            text(&output.stderr)
        );
    }
}

/// The paths of all values that are not maps of values themselves.
fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    match value.as_object() {
        Some(fields)
            if !fields.is_empty() && !path.ends_with("ecurityContext") && path != "resources" =>
        {
            for (name, field) in fields {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                leaves(&below, field, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_value_is_documented() {
    let values = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let page = std::fs::read_to_string(root().join("docs/helm.md")).unwrap();
    let (_, table) = page.split_once("| Value | Meaning | Default |").unwrap();
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let mut existing = Vec::new();
    leaves("", &values, &mut existing);
    assert_eq!(existing.into_iter().collect::<BTreeSet<_>>(), documented);
}

#[test]
fn the_notes_end_with_manifests_that_are_valid() {
    let arguments = [
        "install",
        "trunkline",
        "charts/trunkline",
        "--dry-run=client",
    ];
    let output = helm(&[&arguments[..], &["--set", "watchNamespaces={team-a}"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = text(&output.stdout);
    let (_, notes) = output.split_once("\nNOTES:\n").unwrap();
    assert!(!notes.contains("-n default"), "{notes}");
    let (_, heredoc) = notes.split_once("apply -f - <<'EOF'\n").unwrap();
    let (manifests, rest) = heredoc.split_once("\nEOF\n").unwrap();
    let manifests: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    let [cluster, source] = &manifests[..] else {
        panic!("{manifests:?}");
    };
    serde_json::from_value::<trunkline_crds::WebhookCluster>(cluster.clone()).unwrap();
    let source: trunkline_crds::WebhookSource = serde_json::from_value(source.clone()).unwrap();
    let name = source.metadata.name.unwrap();
    assert!(rest.contains(&format!("wait --for=condition=Ready webhooksource/{name}")));
}
