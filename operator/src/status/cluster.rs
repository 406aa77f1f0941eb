//! The status of a WebhookCluster.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use trunkline_crds::{DatabaseRoles, WebhookCluster, WebhookClusterStatus};

use super::conditions::{ConditionList, Finding, Truth, find};
use super::pods::{PodView, Voice};
use super::requested_at;
use crate::problem::{Problem, Problems};

/// What was found of a cluster.
#[derive(Debug)]
pub struct ClusterFindings<'a> {
    /// The object.
    pub object: &'a WebhookCluster,
    /// What is wrong with its spec, or nothing.
    pub problems: Option<&'a Problems>,
    /// The database as the owner sees it.
    pub database: Finding,
    /// The roles in effect, once known.
    pub roles: Option<DatabaseRoles>,
    /// The certificate that ingesters show, where they speak TLS.
    pub certificate: Option<&'a Finding>,
    /// The rollout of the Deployment.
    pub rollout: Finding,
    /// Why the last attempt to write to Kubernetes failed, or nothing.
    pub failure: Option<String>,
    /// The pods in the ready endpoints.
    pub pods: &'a [PodView],
    /// The hash of the configuration that they are to serve; none before the first.
    pub hash: Option<&'a str>,
    /// The base of the URLs.
    pub url: Option<String>,
    /// The image that pods are to run.
    pub image: Option<String>,
    /// Pods of the Deployment.
    pub replicas: i32,
    /// Pods of it that take requests.
    pub ready_replicas: i32,
    /// The selector of the pods.
    pub selector: String,
    /// Number of sources.
    pub sources: i32,
    /// Whether changes are suspended.
    pub is_suspended: bool,
    /// The time for transitions.
    pub now: Timestamp,
}

/// Makes the status.
#[must_use]
pub fn cluster_status(findings: ClusterFindings<'_>) -> WebhookClusterStatus {
    let before = findings.object.status.clone().unwrap_or_default();
    let generation = findings.object.metadata.generation;
    let served = served(
        findings.pods,
        findings.hash,
        find(&before.conditions, "ConfigurationServed"),
    );
    let ready = ready(&findings);
    let mut list = ConditionList::new(&before.conditions, generation, findings.now);
    list.set("Ready", &ready);
    if findings.is_suspended {
        list.set(
            "Suspended",
            &Finding::yes(
                "Suspended",
                "spec.suspend is true, so nothing is changed; set it to false to go on",
            ),
        );
    } else if ready.truth != Truth::True {
        let progress = Finding::yes(ready.reason.clone(), ready.message.clone());
        if ready.reason == "InvalidSpec" {
            list.set("Stalled", &progress);
        } else {
            list.set("Reconciling", &progress);
        }
    }
    list.set("DatabaseReady", &findings.database);
    if let Some(certificate) = findings.certificate {
        list.set("CertificateReady", certificate);
    }
    list.set("PodsReady", &findings.rollout);
    list.set("ConfigurationServed", &served);
    WebhookClusterStatus {
        observed_generation: generation,
        conditions: list.finish(),
        url: findings.url.or(before.url),
        image: findings.image.or(before.image),
        replicas: Some(findings.replicas),
        ready_replicas: Some(findings.ready_replicas),
        selector: Some(findings.selector),
        sources: Some(findings.sources),
        roles: findings.roles.or(before.roles),
        last_handled_reconcile_at: requested_at(findings.object),
    }
}

fn ready(findings: &ClusterFindings<'_>) -> Finding {
    if let Some(problems) = findings.problems {
        let all: Vec<_> = problems.0.iter().map(Problem::field_and_message).collect();
        return Finding::no("InvalidSpec", all.join("; "));
    }
    if let Some(failure) = &findings.failure {
        return Finding::no("ApplyFailed", failure.clone());
    }
    let parts = [
        Some(&findings.database),
        findings.certificate,
        Some(&findings.rollout),
    ];
    for part in parts.into_iter().flatten() {
        if part.truth != Truth::True {
            return part.clone();
        }
    }
    Finding::yes(
        "Ready",
        format!(
            "{} pods take requests for {} sources",
            findings.ready_replicas, findings.sources
        ),
    )
}

/// Whether the ready pods serve the newest configuration. A pod that is behind is no fault of the
/// cluster: it concerns the sources that it serves in an older form.
fn served(pods: &[PodView], hash: Option<&str>, before: Option<&Condition>) -> Finding {
    let Some(hash) = hash else {
        return Finding::unknown("NotConfigured", "no configuration has been written yet");
    };
    let behind: Vec<_> = pods
        .iter()
        .filter_map(|pod| match &pod.voice {
            Voice::Says(served) if served.hash.as_deref() == Some(hash) => None,
            Voice::Says(served) => Some(match &served.error {
                Some(error) => format!("{} ({error})", pod.name),
                None => pod.name.clone(),
            }),
            Voice::NotYet => Some(format!("{} (not asked yet)", pod.name)),
            Voice::Silent(why) => Some(format!("{} ({why})", pod.name)),
        })
        .collect();
    let unheard = pods
        .iter()
        .filter(|pod| matches!(pod.voice, Voice::NotYet))
        .count();
    if pods.is_empty() {
        Finding::no("NoReadyPods", "no ingester pod is ready")
    } else if behind.len() == unheard
        && let Some(unchanged) = Finding::unchanged(before).filter(|_| unheard > 0)
    {
        unchanged
    } else if behind.is_empty() {
        Finding::yes(
            "Served",
            format!("every ready pod serves it ({})", pods.len()),
        )
    } else {
        Finding::no(
            "Propagating",
            format!(
                "{} of {} ready pods serve the newest configuration; waiting for {}",
                pods.len() - behind.len(),
                pods.len(),
                behind.join(", ")
            ),
        )
    }
}
