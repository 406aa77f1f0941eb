//! The reference page of the metrics says what a scrape says, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_model::deduplication::{Deduplication, Identity};
use trunkline_model::presets::Preset;
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{Mode, NamedSecret};
use trunkline_operator::metrics::Metrics;
use trunkline_telemetry::metrics::Description;
use trunkline_tests::{
    SECRET, SourceDraft, Station, events, metrics_page, repository, signed_single,
};

#[test]
fn the_page_is_what_the_code_says() {
    let page = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    assert!(
        page == metrics_page(),
        "docs/metrics.md is not what the metrics say: \
         cargo run -p trunkline-tests --bin generate-metrics-page"
    );
}

/// What a scrape says of one family.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    labels: BTreeSet<String>,
    /// Of its samples, without what follows from a histogram.
    names: BTreeSet<String>,
}

/// Reads OpenMetrics text.
fn scraped(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let [what, name, said] = comment.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            current = name.to_owned();
            let family = families.entry(current.clone()).or_default();
            match what {
                "TYPE" => family.kind = said.to_owned(),
                "UNIT" => family.unit = said.to_owned(),
                "HELP" => family.help = said.to_owned(),
                _ => panic!("{line}"),
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let family = families.get_mut(&current).unwrap();
        let mut name = &line[..end];
        if family.kind == "histogram" {
            for suffix in ["_bucket", "_count", "_sum"] {
                name = name.strip_suffix(suffix).unwrap_or(name);
            }
        }
        family.names.insert(name.to_owned());
        // No value of ours holds a brace, a comma or an equals sign.
        if let Some((labels, _)) = line[end..]
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
        {
            for (label, _) in labels.split(',').filter_map(|label| label.split_once('=')) {
                if (family.kind.as_str(), label) != ("histogram", "le") {
                    family.labels.insert(label.to_owned());
                }
            }
        }
    }
    families
}

fn described(descriptions: &[Description]) -> BTreeMap<String, Family> {
    let family = |description: &Description| {
        let family = Family {
            kind: description.kind.to_owned(),
            unit: description.unit.to_owned(),
            help: description.help.clone(),
            labels: description
                .labels
                .iter()
                .map(|&label| label.to_owned())
                .collect(),
            names: BTreeSet::from([description.name.clone()]),
        };
        (description.family().to_owned(), family)
    };
    descriptions.iter().map(family).collect()
}

/// What Prometheus' conventions ask for.
fn assert_conventional(descriptions: &[Description]) {
    for Description {
        name,
        kind,
        unit,
        help,
        ..
    } in descriptions
    {
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        let base = name.trim_end_matches("_total");
        for suffix in ["seconds", "bytes"] {
            let is_so_called = base.split('_').any(|word| word == suffix);
            assert_eq!(
                *unit == suffix,
                is_so_called,
                "{name} has the unit {unit:?}"
            );
            assert_eq!(*unit == suffix, base.ends_with(suffix), "{name}");
        }
        for scaled in ["milliseconds", "ms", "kilobytes", "percent"] {
            assert!(!base.split('_').any(|word| word == scaled), "{name}");
        }
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
    }
}

#[tokio::test]
async fn an_ingester_that_has_seen_everything_shows_what_the_page_lists() {
    let mut reporting = SourceDraft::unverified("reporting");
    let secret = NamedSecret {
        name: "segment-webhook/secret".to_owned(),
        value: SecretBytes::new(SECRET),
        expires_at: None,
    };
    let preset = Preset::by_name("segment").unwrap();
    reporting.settings.verification = preset.verification(false, Mode::ReportOnly, vec![secret]);
    reporting.settings.notes_shapes = true;
    reporting.settings.deduplication = Some(Deduplication {
        by: Identity::BodyHash,
        window_seconds: 60,
    });
    let mut station =
        Station::with(vec![SourceDraft::segment("segment", &[SECRET]), reporting]).await;
    let [segment, reporting] = [0, 1].map(|index| station.sources[index].path());
    let mut client = station.ingester.client();
    let event = &events(1, 1)[0];
    let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
    let signed = [(SIGNATURE_HEADER, signature.as_str())];
    assert_eq!(
        client
            .post(&segment, &signed, body.clone())
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        client
            .post(&segment, &[], body.clone())
            .await
            .unwrap()
            .status,
        400
    );
    // Stored all the same, repaired, and noted as far as its names are not too long.
    let odd = format!(
        r#"{{"type":"page","a":"\u0000","properties":{{"{}":1}}}}"#,
        "k".repeat(300)
    );
    // The second time it is not stored.
    for _ in 0..2 {
        let answer = client.post(&reporting, &[], odd.clone()).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let noted = "trunkline_ingester_noted_shapes_total";
    while station.ingester.metric(noted, "").await < 1.0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    station.database.shut_down().await;
    assert_eq!(
        client.post(&segment, &signed, body).await.unwrap().status,
        503
    );

    let text = station.ingester.admin("/metrics").await.unwrap().text;
    let descriptions = trunkline_ingester::metrics();
    assert_eq!(scraped(&text), described(&descriptions));
    assert_conventional(&descriptions);
}

#[test]
fn an_operator_that_has_done_everything_shows_what_the_page_lists() {
    let metrics = Metrics::new();
    metrics.reconciled(true, 0.1);
    metrics.reconciled(false, 0.1);
    let text = metrics.encode().unwrap();
    assert_eq!(scraped(&text), described(metrics.descriptions()));
    assert_conventional(metrics.descriptions());
}
