//! Writes the status of a cluster and of each of its sources, from one look at the pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::reflector::ObjectRef;
use trunkline_crds::{DatabaseRoles, WebhookCluster};
use trunkline_model::names::{ClusterName, SourceName};

use super::cluster::Wish as ServedWish;
use super::context::{ClusterMemory, Context};
use super::plan::{Placement, Validated};
use super::read::{Inputs, ready_endpoints};
use super::rollout::rollout;
use crate::apply::ApplyError;
use crate::build::{Listening, base_url, object_name, selector_labels, service_host};
use crate::database::Outcome;
use crate::pods::{Reasons, Refusals};
use crate::problem::Problems;
use crate::status::{
    ClusterFindings, Finding, PodView, SourceFindings, Spec, Storage, Truth, Wish, certificate,
    cluster_status, find, source_status,
};
use crate::validate::{Cluster, DatabaseAccess, Roles};

/// How long an Ingress controller may take to hear of endpoints: skipper asks every 3 seconds, the
/// others watch.
const PROXY_DELAY: Duration = Duration::from_secs(4);

/// What a reconciliation has come to.
pub(super) struct Report<'a> {
    pub(super) name: &'a ClusterName,
    pub(super) object: &'a WebhookCluster,
    pub(super) cluster: &'a Result<Cluster, Problems>,
    pub(super) sources: &'a Validated,
    pub(super) inputs: &'a Inputs,
    pub(super) placements: &'a BTreeMap<SourceName, Placement>,
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) wish: &'a ServedWish,
    pub(super) listening: Listening,
    pub(super) image: Option<String>,
    pub(super) failure: Option<String>,
}

/// Writes what has changed. Returns whether all is as it should be, so that nothing has to be
/// looked at soon.
pub(super) async fn report(
    context: &Context,
    memory: &mut ClusterMemory,
    report: &Report<'_>,
) -> Result<bool, ApplyError> {
    let pods = pods(context, memory, report.name);
    let are_pods_known = are_known(memory, report.cluster);
    let database = database(report);
    let now = Timestamp::now();
    let certificate = report.cluster.as_ref().ok().and_then(|cluster| {
        let host = service_host(&cluster.name);
        let tls = cluster.tls.as_ref()?;
        Some(certificate(tls, &host, now))
    });
    let refusals = refusals(context, report.name);
    let nothing = Reasons::new();
    let mut ready_sources = 0;
    let mut is_settled = true;
    for (name, outcome) in report.sources {
        let Some(object) = report.inputs.sources.get(name) else {
            continue;
        };
        let text = name.to_string();
        let placement = report.placements.get(name);
        let relation = match placement {
            Some(Placement::Known(place)) => place.relation.to_string(),
            _ => String::new(),
        };
        let findings = SourceFindings {
            object,
            spec: match outcome {
                Ok(source) => Spec::Valid(source),
                Err(problems) => Spec::Invalid(problems),
            },
            storage: storage(placement, &relation, &database),
            wish: memory.wish(name, &text, report.wish),
            pods: &pods,
            are_pods_known,
            certificate: certificate.as_ref(),
            refusals: refusals
                .as_ref()
                .map(|refusals| refusals.of(&text).unwrap_or(&nothing)),
            url: url(report, outcome.as_ref().ok().map(|it| it.path.as_str())),
            is_cluster_suspended: report.object.spec.suspend,
            now,
        };
        let status = source_status(&findings);
        is_settled &= find(&status.conditions, "Reconciling").is_none();
        let is_ready =
            find(&status.conditions, "Ready").is_some_and(|ready| ready.status == "True");
        ready_sources += usize::from(is_ready);
        if context.statuses.write(object, &status).await? {
            context.metrics.wrote(1);
        }
    }
    context.metrics.set_ready_sources(ready_sources);
    let status = cluster_status(ClusterFindings {
        certificate: certificate.as_ref(),
        ..cluster_findings(context, report, &pods, database, now)
    });
    is_settled &= find(&status.conditions, "Reconciling").is_none();
    if context.statuses.write(report.object, &status).await? {
        context.metrics.wrote(1);
    }
    Ok(is_settled)
}

/// Whether what stands in front of the pods knows one of them. An Ingress controller asks for
/// endpoints every few seconds, and answers 502 until then: senders that come with the first pods
/// would be refused right after Ready.
fn are_known(memory: &ClusterMemory, cluster: &Result<Cluster, Problems>) -> bool {
    let is_exposed = cluster.as_ref().is_ok_and(|it| it.exposure.is_some());
    let longest = memory.listed.values().map(Instant::elapsed).max();
    !is_exposed || longest.is_some_and(|longest| longest >= PROXY_DELAY)
}

/// The pods in the ready endpoints, and what is heard of them.
fn pods(context: &Context, memory: &mut ClusterMemory, name: &ClusterName) -> Vec<PodView> {
    let endpoints = ready_endpoints(context, name);
    memory
        .listed
        .retain(|uid, _| endpoints.iter().any(|endpoint| endpoint.uid == *uid));
    endpoints
        .into_iter()
        .map(|endpoint| {
            let since = memory
                .listed
                .entry(endpoint.uid.clone())
                .or_insert_with(Instant::now);
            let observation = context.pods.observation(&endpoint.uid);
            PodView::new(endpoint.name, observation, since.elapsed())
        })
        .collect()
}

/// What the pods in the ready endpoints refused; none before each of them has told.
fn refusals(context: &Context, name: &ClusterName) -> Option<Refusals> {
    let endpoints = ready_endpoints(context, name);
    let mut sum = Refusals::default();
    for endpoint in &endpoints {
        sum.add(
            context
                .pods
                .observation(&endpoint.uid)
                .refusals
                .as_deref()?,
        );
    }
    (!endpoints.is_empty()).then_some(sum)
}

fn storage<'a>(
    placement: Option<&'a Placement>,
    relation: &'a str,
    database: &'a Finding,
) -> Storage<'a> {
    match placement {
        // It waits for something that does not come by itself.
        None | Some(Placement::NotYet) if database.truth == Truth::False => Storage::Failed {
            reason: &database.reason,
            message: &database.message,
        },
        None | Some(Placement::NotYet) => Storage::NotYet,
        Some(Placement::Known(place)) => Storage::Ready {
            relation,
            warnings: &place.warnings,
            views: &place.views,
        },
        Some(Placement::Remembered(_)) => Storage::Unverified,
        Some(Placement::Failed { reason, message }) => Storage::Failed { reason, message },
    }
}

fn url(report: &Report<'_>, path: Option<&str>) -> String {
    match (report.cluster, path) {
        (Ok(cluster), Some(path)) => format!("{}{path}", base_url(cluster, report.listening)),
        _ => String::new(),
    }
}

impl ClusterMemory {
    fn wish<'a>(
        &self,
        name: &SourceName,
        text: &'a str,
        served: &'a ServedWish,
    ) -> Option<Wish<'a>> {
        // Without files nothing has been written that pods could serve.
        served.files.as_ref()?;
        let entry = served.served.entries.get(name)?;
        let age = self
            .wished_since
            .get(name)
            .map_or(Duration::ZERO, Instant::elapsed);
        Some(Wish {
            source: text,
            generation: entry.generation,
            revision: entry.revision.as_deref(),
            age,
        })
    }
}

fn cluster_findings<'a>(
    context: &Context,
    report: &'a Report<'_>,
    pods: &'a [PodView],
    database: Finding,
    now: Timestamp,
) -> ClusterFindings<'a> {
    let reference =
        ObjectRef::<Deployment>::new(&object_name(report.name)).within(report.name.namespace());
    let live = context.stores.deployments.get(&reference);
    let status = live.as_ref().and_then(|live| live.status.clone());
    let ready_replicas = status.as_ref().and_then(|status| status.ready_replicas);
    let selector: Vec<_> = selector_labels(report.name)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let cluster = report.cluster.as_ref().ok();
    ClusterFindings {
        object: report.object,
        certificate: None,
        problems: report.cluster.as_ref().err(),
        database,
        roles: roles(report.outcome),
        rollout: rollout(live.as_deref()),
        failure: report.failure.clone(),
        pods,
        hash: report.wish.files.as_ref().map(|(_, hash)| hash.as_str()),
        url: cluster.map(|cluster| base_url(cluster, report.listening)),
        image: report.image.clone(),
        replicas: status.and_then(|status| status.replicas).unwrap_or(0),
        ready_replicas: ready_replicas.unwrap_or(0),
        selector: selector.join(","),
        sources: i32::try_from(report.sources.len()).unwrap_or(i32::MAX),
        is_suspended: report.object.spec.suspend,
        now,
    }
}

/// The database as the owner sees it.
fn database(report: &Report<'_>) -> Finding {
    if let Ok(cluster) = report.cluster {
        let ingest = match &cluster.roles {
            Roles::Provided(access) => Some(access),
            _ => None,
        };
        for access in [Some(&cluster.database), ingest] {
            if let Some(DatabaseAccess::Absent { field, secret }) = access {
                return Finding::no(
                    "SecretNotFound",
                    format!(
                        "{field}: there is no Secret {secret:?} in namespace {:?}; create it, or \
                         correct the name",
                        report.name.namespace()
                    ),
                );
            }
        }
    }
    match report.outcome.map(|outcome| &outcome.result) {
        None => {
            let before = report.object.status.as_ref();
            before
                .and_then(|status| Finding::unchanged(find(&status.conditions, "DatabaseReady")))
                .unwrap_or_else(|| {
                    Finding::unknown("Progressing", "the database is being prepared")
                })
        }
        Some(Err(failure)) => Finding::no(failure.reason, failure.message.clone()),
        Some(Ok(ready)) => match ready.warnings.first() {
            Some(warning) => Finding {
                truth: Truth::True,
                reason: "ReadyWithWarning".into(),
                message: warning.clone(),
            },
            None => Finding::yes("Ready", "the layout is up to date"),
        },
    }
}

fn roles(outcome: Option<&Outcome>) -> Option<DatabaseRoles> {
    let ready = outcome?.result.as_ref().ok()?;
    Some(match ready.roles {
        trunkline_warehouse::Roles::Managed => DatabaseRoles::Managed,
        trunkline_warehouse::Roles::Provided { .. } => DatabaseRoles::Provided,
        trunkline_warehouse::Roles::Owner => DatabaseRoles::Owner,
    })
}
