//! Reports of objects as the operator leaves them.

use serde_json::{Value, json};
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_operator::pods::{Refusals, Served};

use super::report::{PodFacts, Report, Serving};
use super::text::text;

fn condition(type_: &str, status: &str, reason: &str, message: &str, generation: i64) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": "2026-11-24T10:00:00Z"})
}

fn cluster(conditions: &[Value]) -> WebhookCluster {
    serde_json::from_value(json!({
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "WebhookCluster",
        "metadata": {"name": "main", "namespace": "hooks", "generation": 3},
        "spec": {"database": {"secretRef": {"name": "warehouse"}}},
        "status": {"conditions": conditions, "url": "http://h.example.com", "image": "i:1",
            "readyReplicas": 2, "roles": "Managed"},
    }))
    .unwrap()
}

fn source(name: &str, generation: i64, ready: &Value) -> WebhookSource {
    serde_json::from_value(json!({
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "WebhookSource",
        "metadata": {"name": name, "namespace": "hooks", "generation": generation},
        "spec": {"clusterRef": {"name": "main"}, "verification": {"preset": "segment",
            "secrets": [{"secretKeyRef": {"name": "signing", "key": "secret"}}]}},
        "status": {"conditions": [ready], "url": format!("http://h.example.com/{name}"),
            "relation": format!("{name}.events")},
    }))
    .unwrap()
}

fn serving(generations: &[(&str, i64)]) -> Served {
    let mut served = Served::default();
    served.database.state = "ready".to_owned();
    for (name, generation) in generations {
        let entry = json!({"source": format!("hooks/{name}"), "generation": generation,
            "state": "serving"});
        served.sources.insert(
            format!("hooks/{name}"),
            serde_json::from_value(entry).unwrap(),
        );
    }
    served
}

fn pod(name: &str, answer: Result<Served, String>) -> PodFacts {
    PodFacts {
        namespace: "hooks".to_owned(),
        cluster: "main".to_owned(),
        name: name.to_owned(),
        ready: true,
        trouble: None,
        answer,
        refusals: Refusals::default(),
    }
}

fn refusing(name: &str, source: Option<&str>, reasons: &[(&str, u64)]) -> PodFacts {
    let reasons = reasons
        .iter()
        .map(|(reason, count)| ((*reason).to_owned(), *count));
    let mut pod = pod(name, Ok(serving(&[("segment", 4)])));
    let source = source.map(str::to_owned);
    pod.refusals.sources.insert(source, reasons.collect());
    pod
}

fn good_cluster() -> WebhookCluster {
    cluster(&[
        condition(
            "Ready",
            "True",
            "Ready",
            "2 pods take requests for 1 sources",
            3,
        ),
        condition(
            "DatabaseReady",
            "True",
            "Ready",
            "the layout is up to date",
            3,
        ),
    ])
}

fn good_source(name: &str) -> WebhookSource {
    source(
        name,
        4,
        &condition("Ready", "True", "Serving", "accepting events", 4),
    )
}

fn report(sources: &[WebhookSource], pods: &[PodFacts]) -> Report {
    Report::new(&[good_cluster()], sources, pods, Vec::new())
}

#[test]
fn everything_ready_is_one_short_screen() {
    let pods = [pod("main-ingester-1", Ok(serving(&[("segment", 4)])))];
    let report = report(&[good_source("segment")], &pods);
    assert!(report.ready);
    assert_eq!(
        text(&report, false),
        "\
WebhookCluster hooks/main  Ready
  database  Ready, roles Managed
  image     i:1
  url       http://h.example.com
  pods      2/2
            main-ingester-1  ready  configuration newest  database ready

  SOURCE   READY  RELATION        URL
  segment  True   segment.events  http://h.example.com/segment
"
    );
}

#[test]
fn what_is_not_ready_is_explained_with_the_next_step() {
    let missing = condition(
        "Ready",
        "False",
        "SecretNotFound",
        "spec.verification.secrets[0]: there is no Secret \"signing\"",
        4,
    );
    let report = report(&[good_source("segment"), source("shop", 4, &missing)], &[]);
    assert!(!report.ready);
    let text = text(&report, false);
    assert!(
        text.contains("SecretNotFound: spec.verification.secrets[0]: there is no"),
        "{text}"
    );
    let next = "next: kubectl -n hooks create secret generic signing \
        --from-literal=secret=SHARED_SECRET";
    assert!(text.contains(next), "{text}");
}

#[test]
fn a_missing_key_of_hashes_is_told_apart_from_a_missing_signing_secret() {
    let missing = condition(
        "Ready",
        "False",
        "SecretNotFound",
        "spec.redactKey.secretKeyRef.name: there is no Secret \"redact\"",
        4,
    );
    let mut shop = serde_json::to_value(source("shop", 4, &missing)).unwrap();
    shop["spec"]["redactKey"] = json!({"secretKeyRef": {"name": "redact", "key": "k"}});
    let report = report(&[serde_json::from_value(shop).unwrap()], &[]);
    let text = text(&report, false);
    let next = "next: kubectl -n hooks create secret generic redact --from-literal=k=RANDOM_KEY";
    assert!(text.contains(next), "{text}");
}

#[test]
fn a_status_of_an_older_generation_is_not_believed() {
    let old = source(
        "segment",
        5,
        &condition("Ready", "True", "Serving", "accepting", 4),
    );
    let report = report(&[old], &[]);
    assert!(!report.ready);
    let ready = &report.clusters[0].sources[0].ready;
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("Unknown", "NotSeen")
    );
    assert!(
        ready.next_step.as_ref().unwrap().contains("operator"),
        "{ready:?}"
    );
}

#[test]
fn a_pod_is_behind_when_it_lacks_a_source_or_has_an_older_one() {
    let sources = [good_source("segment"), good_source("shop")];
    let pods = [
        pod("a", Ok(serving(&[("segment", 4), ("shop", 4)]))),
        pod("b", Ok(serving(&[("segment", 3)]))),
        pod("c", Err("not asked".to_owned())),
    ];
    let report = report(&sources, &pods);
    let pods = &report.clusters[0].pods;
    let seen: Vec<_> = pods.iter().map(|pod| pod.configuration).collect();
    assert_eq!(seen, [Serving::Newest, Serving::Behind, Serving::Unknown]);
    assert_eq!(
        pods[1].notes,
        ["waits for segment (generation 3 of 4), shop"]
    );
    assert_eq!(pods[2].notes, ["not asked"]);
}

#[test]
fn the_last_good_form_of_an_invalid_source_is_not_behind() {
    let invalid = source(
        "segment",
        5,
        &condition("Ready", "False", "InvalidSpec", "spec.path", 5),
    );
    let report = report(&[invalid], &[pod("a", Ok(serving(&[("segment", 4)])))]);
    assert_eq!(report.clusters[0].pods[0].configuration, Serving::Newest);
}

#[test]
fn a_source_without_its_cluster_is_shown_all_the_same() {
    let orphan = source(
        "segment",
        4,
        &condition("Ready", "False", "ClusterNotFound", "create it", 4),
    );
    let report = Report::new(&[], &[orphan], &[], Vec::new());
    assert!(!report.ready);
    let text = text(&report, false);
    assert!(text.contains("ClusterNotFound: create it"), "{text}");
}

#[test]
fn colour_is_there_only_when_asked_for() {
    let report = report(&[good_source("segment")], &[]);
    assert!(!text(&report, false).contains('\u{1b}'));
    assert!(text(&report, true).contains('\u{1b}'));
}

#[test]
fn every_condition_that_is_not_true_has_a_next_step() {
    for reason in [
        "InvalidSpec",
        "Unreachable",
        "RollingOut",
        "SomethingNew",
        "SecretNotFound",
    ] {
        let cluster = cluster(&[condition("Ready", "False", reason, "m", 3)]);
        let report = Report::new(&[cluster], &[], &[], Vec::new());
        let step = report.clusters[0].ready.next_step.clone().unwrap();
        assert!(!step.is_empty() && !step.contains('\n'), "{reason}: {step}");
    }
}

#[test]
fn what_was_refused_is_summed_over_the_pods_with_what_to_do_about_most_of_it() {
    let segment = Some("hooks/segment");
    let pods = [
        refusing(
            "a",
            segment,
            &[("signature_mismatch", 100), ("body_too_large", 12)],
        ),
        refusing("b", segment, &[("signature_mismatch", 20)]),
        refusing("c", None, &[("unknown_path", 3)]),
    ];
    let report = report(&[good_source("segment"), good_source("shop")], &pods);
    // It is the sender's fault, and so nothing is less ready.
    assert!(report.ready);
    assert!(report.clusters[0].sources[1].refusals.is_none());
    let text = text(&report, false);
    assert!(
        text.contains(
            "    refused 132 in the last hour: signature_mismatch (120), body_too_large (12)\n    \
             next: Compare the secrets of sender and source; look for a proxy that changes bodies."
        ),
        "{text}"
    );
    assert!(text.contains("WHERE source = 'hooks/segment'"), "{text}");
    assert!(
        text.contains("refusals  3 in the last hour: unknown_path (3), for a path of no source"),
        "{text}"
    );
}

#[test]
fn a_certificate_is_told_of_where_pods_have_one() {
    let message = "the certificate in the Secret \"hooks-tls\" expires at 2026-11-30T00:00:00Z";
    let of = |status, reason: &str| {
        let mut cluster = cluster(&[
            condition("Ready", "True", "Ready", "2 pods take requests", 3),
            condition("DatabaseReady", "True", "Ready", "up to date", 3),
            condition("CertificateReady", status, reason, message, 3),
        ]);
        cluster.spec.tls = serde_json::from_value(json!({"secretName": "hooks-tls"})).unwrap();
        text(&Report::new(&[cluster], &[], &[], Vec::new()), false)
    };
    let warned = of("True", "ReadyWithWarning");
    assert!(
        warned.contains(&format!("  tls       Ready\n            {message}\n")),
        "{warned}"
    );
    assert!(!of("True", "Ready").contains(message));
}

#[test]
fn what_is_wrong_with_a_certificate_has_a_next_step_of_its_own() {
    for (reason, message, step) in [
        (
            "SecretNotFound",
            "spec.tls.secretName: there is no Secret",
            "create secret tls hooks-tls --cert=",
        ),
        (
            "CertificateExpired",
            "expired",
            "describe secret hooks-tls; with cert-manager",
        ),
        (
            "SecretNotFound",
            "spec.database.secretRef.name: there is no Secret",
            "create secret generic warehouse",
        ),
    ] {
        let mut cluster = cluster(&[condition("Ready", "False", reason, message, 3)]);
        cluster.spec.tls = serde_json::from_value(json!({"secretName": "hooks-tls"})).unwrap();
        let report = Report::new(&[cluster], &[], &[], Vec::new());
        let found = report.clusters[0].ready.next_step.clone().unwrap();
        assert!(found.contains(step), "{found}");
    }
}

#[test]
fn a_view_that_is_not_ready_is_told_of_and_the_source_is_ready() {
    let mut shop = good_source("shop");
    let conditions = &mut shop.status.as_mut().unwrap().conditions;
    let mut views = conditions[0].clone();
    "ViewsReady".clone_into(&mut views.type_);
    "False".clone_into(&mut views.status);
    "ViewFailed".clone_into(&mut views.reason);
    "relation shop.orders exists".clone_into(&mut views.message);
    conditions.push(views);
    let pods = [pod("main-1", Ok(serving(&[("shop", 4)])))];
    let report = report(&[shop], &pods);
    assert!(report.ready);
    let text = text(&report, false);
    assert!(
        text.contains("    views: ViewFailed: relation shop.orders exists\n"),
        "{text}"
    );
}
