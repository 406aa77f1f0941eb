//! The status of a WebhookSource.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use trunkline_crds::{WebhookSource, WebhookSourceStatus};

use super::certificate::is_refused;
use super::conditions::{ConditionList, Finding, Truth, find};
use super::pods::{PodView, Voice};
use super::refusals::top_refusal;
use super::requested_at;
use super::views::views;
use crate::pods::{Reasons, ServedSource};
use crate::problem::{Problem, Problems};
use crate::validate::{Source, UnavailableReason};

/// How long a pod may serve the state before the last one of the same generation: a secret that is
/// on its way makes a source no less ready.
const REFRESH_GRACE: Duration = Duration::from_secs(5);

/// What was found of a source.
#[derive(Debug)]
pub struct SourceFindings<'a> {
    /// The object.
    pub object: &'a WebhookSource,
    /// Its spec, validated.
    pub spec: Spec<'a>,
    /// Its place in the database.
    pub storage: Storage<'a>,
    /// The state that pods are to serve; none while there is nothing to serve.
    pub wish: Option<Wish<'a>>,
    /// The pods in the ready endpoints.
    pub pods: &'a [PodView],
    /// Whether proxies have had the time to hear of the pods.
    pub are_pods_known: bool,
    /// The certificate that ingesters show, where they speak TLS.
    pub certificate: Option<&'a Finding>,
    /// How often each reason of refusal was met in the last hour; none while that is not known.
    pub refusals: Option<&'a Reasons>,
    /// Where its sender posts.
    pub url: String,
    /// Whether changes are suspended for the whole cluster.
    pub is_cluster_suspended: bool,
    /// The time for transitions.
    pub now: Timestamp,
}

/// A source's spec.
#[derive(Debug, Clone, Copy)]
pub enum Spec<'a> {
    /// It is valid.
    Valid(&'a Source),
    /// It is not; the last valid form, where there is one, goes on being served.
    Invalid(&'a Problems),
}

/// A source's place in the database.
#[derive(Debug, Clone, Copy)]
pub enum Storage<'a> {
    /// It is being made.
    NotYet,
    /// It is there: the relation, and what is not yet as it should be.
    Ready {
        /// The relation that analysts read.
        relation: &'a str,
        /// What its owner should know.
        warnings: &'a [String],
        /// What is not as it should be of its own views.
        views: &'a [String],
    },
    /// It was there before, and cannot be looked at now.
    Unverified,
    /// It cannot be made.
    Failed {
        /// One word.
        reason: &'a str,
        /// With the fix.
        message: &'a str,
    },
}

/// The state that pods are to serve.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// `namespace/name`.
    pub source: &'a str,
    /// `metadata.generation`.
    pub generation: i64,
    /// Names the state.
    pub revision: Option<&'a str>,
    /// For how long it has been wished for.
    pub age: Duration,
}

/// Makes the status.
#[must_use]
pub fn source_status(findings: &SourceFindings<'_>) -> WebhookSourceStatus {
    let before = findings.object.status.clone().unwrap_or_default();
    let generation = findings.object.metadata.generation;
    let secrets = secrets(findings);
    let was = |type_| find(&before.conditions, type_);
    let storage = storage(findings, was("RelationReady"));
    let served = served(findings, was("ConfigurationServed"));
    let database = database(findings.pods, was("DatabaseReady"));
    let ready = ready(findings, &secrets, &storage, &served, &database);
    let mut list = ConditionList::new(&before.conditions, generation, findings.now);
    list.set("Ready", &ready);
    add_progress(&mut list, findings, &ready);
    list.set("SecretsResolved", &secrets);
    list.set("RelationReady", &storage);
    list.set("ConfigurationServed", &served);
    list.set("DatabaseReady", &database);
    if let Some(views) = views(findings, was("ViewsReady")) {
        list.set("ViewsReady", &views);
    }
    let relation = match findings.storage {
        Storage::Ready { relation, .. } => Some(relation.to_owned()),
        _ => before.relation,
    };
    WebhookSourceStatus {
        observed_generation: generation,
        url: if ready.truth == Truth::True {
            Some(findings.url.clone())
        } else {
            before.url
        },
        relation,
        top_refusal: match findings.refusals {
            Some(reasons) => top_refusal(before.top_refusal.as_deref(), reasons),
            None => before.top_refusal,
        },
        last_handled_reconcile_at: requested_at(findings.object),
        conditions: list.finish(),
    }
}

/// The status of a source whose cluster is not there.
#[must_use]
pub fn orphan_status(
    object: &WebhookSource,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> WebhookSourceStatus {
    let before = object.status.clone().unwrap_or_default();
    let mut list = ConditionList::new(&before.conditions, object.metadata.generation, now);
    let finding = Finding::no(reason, message);
    list.set("Ready", &finding);
    list.set("Stalled", &Finding::yes(reason, message));
    WebhookSourceStatus {
        observed_generation: object.metadata.generation,
        conditions: list.finish(),
        last_handled_reconcile_at: requested_at(object),
        ..before
    }
}

fn secrets(findings: &SourceFindings<'_>) -> Finding {
    match findings.spec {
        Spec::Invalid(_) => Finding::unknown(
            "InvalidSpec",
            "the spec has to be mended before its secrets are read",
        ),
        Spec::Valid(source) => match &source.unavailable {
            Some(unavailable) => match unavailable.reason {
                UnavailableReason::SecretNotFound => {
                    Finding::no("SecretNotFound", unavailable.problem.field_and_message())
                }
                UnavailableReason::SecretKeyNotFound => {
                    Finding::no("SecretKeyNotFound", unavailable.problem.field_and_message())
                }
                UnavailableReason::SecretMalformed => {
                    Finding::no("SecretMalformed", unavailable.problem.field_and_message())
                }
                UnavailableReason::Suspended => resolved(source),
            },
            None => resolved(source),
        },
    }
}

fn resolved(source: &Source) -> Finding {
    match source.warnings.first() {
        Some(warning) => Finding::yes("ResolvedWithWarning", warning.field_and_message()),
        None => Finding::yes("Resolved", "every secret that is needed is there"),
    }
}

fn storage(findings: &SourceFindings<'_>, before: Option<&Condition>) -> Finding {
    match findings.storage {
        Storage::NotYet => Finding::unknown("Progressing", "the relation is being made"),
        Storage::Unverified => Finding::unchanged(before).unwrap_or_else(|| {
            Finding::yes(
                "Unverified",
                "rows are taken; whether the relation is as it should be is not known before the \
                 owner can log in",
            )
        }),
        Storage::Ready {
            relation, warnings, ..
        } => {
            let problem = match findings.spec {
                Spec::Valid(source) => source.warehouse_problems.first(),
                Spec::Invalid(_) => None,
            };
            let problem = problem.map(Problem::field_and_message);
            match problem.as_ref().or(warnings.first()) {
                Some(warning) => Finding::yes("ReadyWithWarning", format!("{relation}: {warning}")),
                None => Finding::yes("Ready", format!("{relation} can be read")),
            }
        }
        Storage::Failed { reason, message } => Finding::no(reason.to_owned(), message),
    }
}

fn served(findings: &SourceFindings<'_>, before: Option<&Condition>) -> Finding {
    let Some(wish) = findings.wish else {
        return Finding::no("NotConfigured", "there is nothing to serve yet");
    };
    if findings.pods.is_empty() {
        return Finding::no(
            "NoReadyPods",
            "no ingester pod is ready; see the WebhookCluster",
        );
    }
    let (mut silent, mut behind, mut refusing, mut not_yet) = (vec![], vec![], vec![], 0);
    for pod in findings.pods {
        match &pod.voice {
            Voice::NotYet => not_yet += 1,
            Voice::Silent(why) => silent.push(format!("{} ({why})", pod.name)),
            Voice::Says(served) => match state(served.sources.get(wish.source), wish) {
                PodState::Serves => {}
                PodState::Behind => behind.push(match &served.error {
                    Some(error) => format!("{} ({error})", pod.name),
                    None => pod.name.clone(),
                }),
                PodState::Refuses(reason) => refusing.push(format!("{} ({reason})", pod.name)),
            },
        }
    }
    let pods = findings.pods.len();
    if !silent.is_empty() {
        Finding::unknown(
            "PodsSilent",
            format!(
                "nothing is known of {} of {pods} ready pods: {}",
                silent.len(),
                silent.join(", ")
            ),
        )
    } else if !behind.is_empty() {
        Finding::no(
            "Propagating",
            format!(
                "{} of {pods} ready pods serve generation {}; waiting for {}",
                pods - behind.len(),
                wish.generation,
                behind.join(", ")
            ),
        )
    } else if !refusing.is_empty() {
        Finding::no("Unavailable", refusing.join(", "))
    } else if not_yet > 0 {
        // Nothing is asked for longer than a moment: what was known stays until it is heard.
        Finding::unchanged(before)
            .unwrap_or_else(|| Finding::unknown("Progressing", "the pods are being asked"))
    } else if !findings.are_pods_known {
        Finding::unchanged(before).unwrap_or_else(|| {
            Finding::unknown(
                "Progressing",
                "every ready pod serves it; proxies are hearing of the pods",
            )
        })
    } else {
        all_serve(pods)
    }
}

fn all_serve(pods: usize) -> Finding {
    Finding::yes("Served", format!("every ready pod serves it ({pods})"))
}

enum PodState<'a> {
    Serves,
    Behind,
    Refuses(&'a str),
}

fn state<'a>(served: Option<&'a ServedSource>, wish: Wish<'_>) -> PodState<'a> {
    let Some(served) = served else {
        return PodState::Behind;
    };
    let is_same = served.revision.as_deref() == wish.revision || served.revision.is_none();
    // The state before it, of the same generation, is as good for a moment.
    let is_current = served.generation == wish.generation && (is_same || wish.age < REFRESH_GRACE);
    if !is_current {
        PodState::Behind
    } else if served.state == "serving" {
        PodState::Serves
    } else {
        PodState::Refuses(served.reason.as_deref().unwrap_or("it gives no reason"))
    }
}

/// Whether the pods can write, as they say.
fn database(pods: &[PodView], before: Option<&Condition>) -> Finding {
    let says = |pod: &PodView| match &pod.voice {
        Voice::Says(served) => Some((pod.name.clone(), served.database.clone())),
        _ => None,
    };
    let heard: Vec<_> = pods.iter().filter_map(says).collect();
    match heard.iter().find(|(_, database)| database.state != "ready") {
        Some((pod, database)) => Finding::no(
            if database.state == "not_durable" {
                "NotDurable"
            } else {
                "DatabaseUnavailable"
            },
            format!(
                "pod {pod} cannot commit: {}",
                database.reason.as_deref().unwrap_or(&database.state)
            ),
        ),
        None if heard.is_empty() => pods
            .iter()
            .any(|pod| matches!(pod.voice, Voice::NotYet))
            .then(|| Finding::unchanged(before))
            .flatten()
            .unwrap_or_else(|| Finding::unknown("NoReadyPods", "no pod has told yet")),
        None => Finding::yes("Writable", "every ready pod can commit"),
    }
}

fn ready(
    findings: &SourceFindings<'_>,
    secrets: &Finding,
    storage: &Finding,
    served: &Finding,
    database: &Finding,
) -> Finding {
    match findings.spec {
        Spec::Invalid(problems) => {
            let all: Vec<_> = problems
                .0
                .iter()
                .map(crate::problem::Problem::field_and_message)
                .collect();
            return Finding::no("InvalidSpec", all.join("; "));
        }
        Spec::Valid(source) => {
            if let Some(unavailable) = &source.unavailable
                && unavailable.reason == UnavailableReason::Suspended
            {
                return Finding::no("Suspended", unavailable.problem.field_and_message());
            }
        }
    }
    if secrets.truth != Truth::True {
        return secrets.clone();
    }
    if storage.truth == Truth::False {
        return storage.clone();
    }
    if storage.truth == Truth::Unknown {
        return Finding::unknown("Progressing", storage.message.clone());
    }
    // Nobody gets as far as a POST.
    let refused = findings.certificate.filter(|it| is_refused(it));
    for part in [Some(served), refused, Some(database)]
        .into_iter()
        .flatten()
    {
        if part.truth != Truth::True {
            return part.clone();
        }
    }
    let relation = match findings.storage {
        Storage::Ready { relation, .. } => Some(relation),
        _ => findings
            .object
            .status
            .as_ref()
            .and_then(|status| status.relation.as_deref()),
    };
    Finding::yes(
        "Serving",
        match relation {
            Some(relation) => format!("accepting events into {relation}"),
            None => "accepting events".to_owned(),
        },
    )
}

/// `Reconciling` while we are at it, `Stalled` while the owner has to act.
fn add_progress(list: &mut ConditionList<'_>, findings: &SourceFindings<'_>, ready: &Finding) {
    if ready.truth == Truth::True {
        return;
    }
    match &*ready.reason {
        "InvalidSpec" | "SecretNotFound" | "SecretKeyNotFound" | "SecretMalformed" => {
            list.set(
                "Stalled",
                &Finding::yes(ready.reason.clone(), ready.message.clone()),
            );
        }
        "Suspended" => {}
        _ if findings.is_cluster_suspended => {}
        _ => list.set(
            "Reconciling",
            &Finding::yes(ready.reason.clone(), ready.message.clone()),
        ),
    }
}
