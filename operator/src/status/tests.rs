use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use proptest::prelude::*;
use serde_json::json;
use trunkline_crds::WebhookSource;

use super::*;
use crate::manifests::Manifests;
use crate::pods::{Observation, Served};
use crate::problem::{Problem, Problems};
use crate::validate::{Source, validate};

const SOURCE: &str = "default/segment";

fn manifest(rest: &str) -> String {
    format!(
        "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookCluster\nmetadata: {{name: main}}\n\
         spec: {{database: {{secretRef: {{name: w}}}}}}\n---\napiVersion: v1\nkind: Secret\n\
         metadata: {{name: s}}\nstringData: {{k: a-long-enough-shared-secret}}\n---\n\
         apiVersion: trunkline.dev/v1alpha1\nkind: WebhookSource\nmetadata: {{name: segment, \
         generation: 2}}\nspec: {{clusterRef: {{name: main}}, {rest}}}\n"
    )
}

fn source(rest: &str) -> (WebhookSource, Source) {
    let text = manifest(rest);
    let manifests = Manifests::parse([("a.yaml", text.as_str())]).unwrap();
    let validated = validate(&manifests).unwrap();
    let source = validated.sources.into_values().next().unwrap().unwrap();
    (manifests.sources[0].object.clone(), source)
}

fn signed(secret: &str) -> (WebhookSource, Source) {
    source(&format!(
        "verification: {{preset: segment, secrets: [{{secretKeyRef: {{name: {secret}, key: k}}}}]}}"
    ))
}

/// A source that declares views of its own.
fn viewed(secret: &str, views: &str) -> (WebhookSource, Source) {
    source(&format!(
        "views: [{views}], verification: {{preset: segment, secrets: [{{secretKeyRef: \
         {{name: {secret}, key: k}}}}]}}"
    ))
}

const VIEW: &str = "{name: ids, columns: [{name: id, from: message_id}]}";

fn says(revision: &str, generation: i64, state: &str, database: &str) -> PodView {
    let sources = json!({"source": SOURCE, "generation": generation, "revision": revision,
        "state": state, "reason": "why"});
    let served = Served {
        hash: Some("h".to_owned()),
        database: serde_json::from_value(json!({"state": database, "reason": "down"})).unwrap(),
        error: None,
        sources: HashMap::from([(SOURCE.to_owned(), serde_json::from_value(sources).unwrap())]),
    };
    PodView {
        name: format!("pod-{revision}"),
        voice: Voice::Says(served),
    }
}

fn silent() -> PodView {
    PodView::new(
        "pod-silent".to_owned(),
        Observation::default(),
        SILENT_AFTER,
    )
}

fn good() -> PodView {
    says("r2", 2, "serving", "ready")
}

const PLACE: Storage<'static> = Storage::Ready {
    relation: "segment.events",
    warnings: &[],
    views: &[],
};

fn wish(age: Duration) -> Option<Wish<'static>> {
    Some(Wish {
        source: SOURCE,
        generation: 2,
        revision: Some("r2"),
        age,
    })
}

fn status(
    object: &WebhookSource,
    spec: Spec<'_>,
    storage: Storage<'_>,
    wish: Option<Wish<'_>>,
    pods: &[PodView],
) -> trunkline_crds::WebhookSourceStatus {
    source_status(&SourceFindings {
        storage,
        wish,
        ..findings(object, spec, pods)
    })
}

/// Of a source whose relation is there, and which pods are to serve.
fn findings<'a>(
    object: &'a WebhookSource,
    spec: Spec<'a>,
    pods: &'a [PodView],
) -> SourceFindings<'a> {
    SourceFindings {
        object,
        spec,
        storage: PLACE,
        wish: wish(Duration::ZERO),
        pods,
        are_pods_known: true,
        certificate: None,
        refusals: None,
        url: "http://h/webhooks/default/segment".to_owned(),
        is_cluster_suspended: false,
        now: Timestamp::from_second(1000).unwrap(),
    }
}

fn ready(conditions: &[Condition]) -> (&str, &str) {
    let ready = find(conditions, "Ready").unwrap();
    (ready.status.as_str(), ready.reason.as_str())
}

#[test]
fn an_override_that_is_wrong_is_told_and_keeps_nothing_from_being_ready() {
    let (object, source) = source(
        "warehouse: {layout: segment, overrides: [{relation: pages, column: id, type: text}]}, \
         verification: {preset: segment, secrets: [{secretKeyRef: {name: s, key: k}}]}",
    );
    let status = source_status(&findings(&object, Spec::Valid(&source), &[good()]));
    assert_eq!(ready(&status.conditions), ("True", "Serving"));
    let relation = find(&status.conditions, "RelationReady").unwrap();
    assert_eq!(
        (relation.status.as_str(), relation.reason.as_str()),
        ("True", "ReadyWithWarning")
    );
    let said = "spec.warehouse.overrides[0].column: \"id\" is a column that pages has";
    assert!(relation.message.contains(said), "{}", relation.message);
}

#[test]
fn ready_means_that_every_ready_pod_serves_this_generation() {
    let (object, source) = signed("s");
    let old = Duration::from_secs(60);
    let cases: [(&[PodView], Duration, (&str, &str)); 9] = [
        (&[good(), good()], old, ("True", "Serving")),
        (&[], old, ("False", "NoReadyPods")),
        (&[good(), silent()], old, ("Unknown", "PodsSilent")),
        (
            &[good(), says("r1", 1, "serving", "ready")],
            old,
            ("False", "Propagating"),
        ),
        // A new generation is not served because the last one is.
        (
            &[says("r1", 1, "serving", "ready")],
            Duration::ZERO,
            ("False", "Propagating"),
        ),
        // The same generation with another secret is on its way, for a moment.
        (
            &[says("r1", 2, "serving", "ready")],
            Duration::ZERO,
            ("True", "Serving"),
        ),
        (
            &[says("r1", 2, "serving", "ready")],
            old,
            ("False", "Propagating"),
        ),
        (
            &[says("r2", 2, "unavailable", "ready")],
            old,
            ("False", "Unavailable"),
        ),
        (
            &[good(), says("r2", 2, "serving", "unavailable")],
            old,
            ("False", "DatabaseUnavailable"),
        ),
    ];
    for (pods, age, expected) in cases {
        let status = status(&object, Spec::Valid(&source), PLACE, wish(age), pods);
        assert_eq!(ready(&status.conditions), expected, "{pods:?}");
    }
}

#[test]
fn a_pod_that_lags_or_is_silent_is_named() {
    let (object, source) = signed("s");
    let pods = [good(), says("r1", 1, "serving", "ready"), silent()];
    for (pods, name) in [(&pods[..2], "pod-r1"), (&pods[1..], "pod-silent")] {
        let status = status(
            &object,
            Spec::Valid(&source),
            PLACE,
            wish(Duration::ZERO),
            pods,
        );
        let message = &find(&status.conditions, "Ready").unwrap().message;
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn the_url_comes_with_the_first_ready_and_stays() {
    let (mut object, source) = signed("s");
    let at = |object: &WebhookSource, pods: &[PodView]| {
        status(
            object,
            Spec::Valid(&source),
            PLACE,
            wish(Duration::ZERO),
            pods,
        )
    };
    assert_eq!(at(&object, &[]).url, None);
    object.status = Some(at(&object, &[good()]));
    let url = object.status.as_ref().unwrap().url.clone();
    assert!(url.is_some());
    assert_eq!(at(&object, &[]).url, url);
}

#[test]
fn a_secret_that_is_gone_is_said_with_field_and_fix() {
    let (object, source) = signed("nobody");
    let status = status(
        &object,
        Spec::Valid(&source),
        PLACE,
        wish(Duration::ZERO),
        &[good()],
    );
    assert_eq!(ready(&status.conditions), ("False", "SecretNotFound"));
    let stalled = find(&status.conditions, "Stalled").unwrap();
    assert!(
        stalled
            .message
            .starts_with("spec.verification.secrets[0].secretKeyRef.name: there is no Secret"),
        "{}",
        stalled.message
    );
}

/// The rules that Flux runs against every controller (fluxcd/pkg, runtime/conditions/check), and
/// that a second look at the same things writes nothing.
fn check(before: &WebhookSource, conditions: &[Condition]) {
    let truth = |type_: &str| find(conditions, type_).map(|found| found.status.as_str());
    assert!(truth("Ready").is_some());
    let progress = [truth("Reconciling"), truth("Stalled")];
    assert!(progress.iter().flatten().all(|status| *status == "True"));
    assert!(progress.iter().flatten().count() <= 1);
    if truth("Ready") == Some("True") {
        assert_eq!(progress, [None, None]);
        for condition in conditions.iter().filter(|it| it.type_ != "ViewsReady") {
            assert_eq!(condition.status, "True", "{condition:?}");
        }
    }
    for condition in conditions {
        assert_eq!(condition.observed_generation, before.metadata.generation);
        assert!(!condition.reason.is_empty() && !condition.message.is_empty());
        assert!(
            condition.reason.chars().all(|c| c.is_ascii_alphanumeric()),
            "{condition:?}"
        );
    }
}

fn any_pod() -> impl Strategy<Value = PodView> {
    prop_oneof![
        Just(silent()),
        Just(PodView::new(
            "pod-new".to_owned(),
            Observation::default(),
            Duration::ZERO
        )),
        (
            prop_oneof![Just("r1"), Just("r2")],
            1..3_i64,
            prop_oneof![Just("serving"), Just("unavailable")],
            prop_oneof![Just("ready"), Just("unavailable"), Just("not_durable")],
        )
            .prop_map(|(revision, generation, state, database)| says(
                revision, generation, state, database
            )),
    ]
}

proptest! {
    #[test]
    fn conditions_keep_the_rules_whatever_was_found(
        pods in prop::collection::vec(any_pod(), 0..4),
        secret in prop_oneof![Just("s"), Just("nobody")],
        is_valid in any::<bool>(),
        place in 0..5_u8,
        declares_views in any::<bool>(),
        has_wish in any::<bool>(),
        age in prop_oneof![Just(0_u64), Just(60)],
    ) {
        let (mut object, source) = if declares_views { viewed(secret, VIEW) } else { signed(secret) };
        let problems = Problems(vec![Problem {
            file: None, object: String::new(), field: "spec.path".to_owned(),
            message: "is not a path".to_owned(),
        }]);
        let spec = if is_valid { Spec::Valid(&source) } else { Spec::Invalid(&problems) };
        let failed = ["could not define view segment.ids: is taken".to_owned()];
        let storage = match place {
            0 => Storage::NotYet,
            1 => PLACE,
            2 => Storage::Unverified,
            3 => Storage::Ready {
                relation: "segment.events", warnings: &[], views: &failed,
            },
            _ => Storage::Failed { reason: "NameTaken", message: "taken" },
        };
        let wish = wish(Duration::from_secs(age)).filter(|_| has_wish);
        let first = status(&object, spec, storage, wish, &pods);
        check(&object, &first.conditions);
        object.status = Some(first.clone());
        prop_assert_eq!(status(&object, spec, storage, wish, &pods), first);
    }
}

#[test]
fn a_certificate_that_senders_refuse_is_no_readiness() {
    let (object, source) = signed("s");
    for (reason, expected) in [
        ("CertificateExpired", "CertificateExpired"),
        // The pods show the last good one.
        ("SecretNotFound", "Serving"),
    ] {
        let certificate = Finding::no(reason, "renew it");
        let status = source_status(&SourceFindings {
            certificate: Some(&certificate),
            ..findings(&object, Spec::Valid(&source), &[good()])
        });
        assert_eq!(ready(&status.conditions).1, expected);
    }
}

#[test]
fn the_top_refusal_stays_while_it_is_not_known() {
    let (mut object, source) = signed("s");
    let before = json!({"topRefusal": "signature_mismatch"});
    object.status = Some(serde_json::from_value(before).unwrap());
    let pods = [good()];
    let top = |refusals: Option<&crate::pods::Reasons>| {
        source_status(&SourceFindings {
            refusals,
            ..findings(&object, Spec::Valid(&source), &pods)
        })
        .top_refusal
    };
    assert_eq!(top(None).as_deref(), Some("signature_mismatch"));
    assert_eq!(top(Some(&crate::pods::Reasons::new())), None);
    let other = crate::pods::Reasons::from([("rate_limited".to_owned(), 1)]);
    assert_eq!(top(Some(&other)).as_deref(), Some("rate_limited"));
}

#[test]
fn a_view_that_cannot_be_is_said_and_harms_nothing_else() {
    let failed = ["could not define view segment.ids: relation is taken".to_owned()];
    let wrong = "{name: wrong, columns: [{name: a, from: nowhere}]}";
    let both = format!("{VIEW}, {wrong}");
    let place = |views| Storage::Ready {
        relation: "segment.events",
        warnings: &[],
        views,
    };
    let (none, declared, invalid) = (signed("s"), viewed("s", VIEW), viewed("s", &both));
    for ((object, source), storage, expected) in [
        (&none, PLACE, None),
        // One that is declared no longer, and that others' objects depend on.
        (
            &none,
            place(&failed),
            Some(("False", "ViewFailed", "is taken")),
        ),
        (
            &declared,
            PLACE,
            Some(("True", "Ready", "segment.ids can be read")),
        ),
        (
            &declared,
            place(&failed),
            Some(("False", "ViewFailed", "is taken")),
        ),
        (
            &declared,
            Storage::NotYet,
            Some(("Unknown", "Progressing", "made")),
        ),
        (
            &invalid,
            PLACE,
            Some((
                "False",
                "InvalidView",
                "spec.views[1].columns[0].from: events has no column \"nowhere\"; use one of: source",
            )),
        ),
    ] {
        let wish = wish(Duration::ZERO);
        let pods = [good()];
        let found = status(object, Spec::Valid(source), storage, wish, &pods);
        let views = find(&found.conditions, "ViewsReady");
        let said = views.map(|it| (it.status.as_str(), it.reason.as_str()));
        assert_eq!(said, expected.map(|(status, reason, _)| (status, reason)));
        if let (Some(views), Some((_, _, words))) = (views, expected) {
            assert!(views.message.contains(words), "{}", views.message);
        }
        if !matches!(storage, Storage::NotYet) {
            assert_eq!(ready(&found.conditions), ("True", "Serving"));
        }
    }
    // While the database cannot be looked at, what was known stays.
    let (mut object, source) = declared;
    let pods = [good()];
    let at = |object: &WebhookSource, storage| {
        status(
            object,
            Spec::Valid(&source),
            storage,
            wish(Duration::ZERO),
            &pods,
        )
    };
    for known in [PLACE, place(&failed)] {
        object.status = Some(at(&object, known));
        let later = at(&object, Storage::Unverified);
        assert_eq!(
            find(&later.conditions, "ViewsReady"),
            find(&object.status.as_ref().unwrap().conditions, "ViewsReady")
        );
    }
}
