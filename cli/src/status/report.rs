//! What there is to say, made of the objects and of what the pods answered.
//!
//! Pure. Invariant: nothing is called ready that its own status does not call ready for the
//! generation that is there now.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_operator::pods::{Refusals, Served};
use trunkline_operator::status::find;

use super::advice;
use super::refusals::RefusalReport;

/// Everything. Its JSON form has these fields under these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// Whether everything below is.
    pub(super) ready: bool,
    pub(super) clusters: Vec<ClusterReport>,
    /// Sources whose WebhookCluster is not there, or is not shown.
    pub(super) other_sources: Vec<SourceReport>,
    /// Objects that this version cannot read.
    pub(super) unreadable: Vec<String>,
}

/// Whether something is ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Readiness {
    /// `True`, `False` or `Unknown`.
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    /// What to do; none for what is ready.
    pub(super) next_step: Option<String>,
}

/// A WebhookCluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ClusterReport {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) ready: Readiness,
    pub(super) database: Readiness,
    /// The certificate of the pods; none where they speak plain HTTP.
    pub(super) certificate: Option<Readiness>,
    /// Who makes the PostgreSQL roles.
    pub(super) roles: Option<String>,
    pub(super) image: Option<String>,
    pub(super) url: Option<String>,
    /// Pods that take requests.
    pub(super) ready_replicas: i32,
    /// Pods that there are to be.
    pub(super) replicas: i32,
    pub(super) pods: Vec<PodReport>,
    /// Requests that no source has the path of, if there were any in the last hour.
    pub(super) refusals: Option<RefusalReport>,
    pub(super) sources: Vec<SourceReport>,
}

/// An ingester pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PodReport {
    pub(super) name: String,
    /// Whether it takes requests.
    pub(super) ready: bool,
    /// What it serves.
    pub(super) configuration: Serving,
    /// Its own way to the database: `ready`, or what it is instead; none when it was not heard.
    pub(super) database: Option<String>,
    /// What there is to say about the two, or about why it was not heard.
    pub(super) notes: Vec<String>,
}

/// What a pod serves, compared with the sources as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Serving {
    /// Every source in its newest form.
    Newest,
    /// Some source in an older form, or not at all.
    Behind,
    /// It was not heard.
    Unknown,
}

/// A WebhookSource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SourceReport {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The WebhookCluster that it refers to.
    pub(super) cluster: String,
    pub(super) ready: Readiness,
    /// Its own views; none where it declares none.
    pub(super) views: Option<Readiness>,
    pub(super) url: Option<String>,
    pub(super) relation: Option<String>,
    /// What its pods refused, if they refused anything in the last hour.
    pub(super) refusals: Option<RefusalReport>,
}

/// What was found of a pod.
#[derive(Debug, Clone)]
pub(super) struct PodFacts {
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) name: String,
    /// Whether Kubernetes counts it as ready.
    pub(super) ready: bool,
    /// Why it does not run, in Kubernetes' words.
    pub(super) trouble: Option<String>,
    /// What it answered, or why nothing is known.
    pub(super) answer: Result<Served, String>,
    /// What it refused, as far as it was heard.
    pub(super) refusals: Refusals,
}

impl Report {
    /// Puts everything together. A source stands below its cluster.
    pub(super) fn new(
        clusters: &[WebhookCluster],
        sources: &[WebhookSource],
        pods: &[PodFacts],
        unreadable: Vec<String>,
    ) -> Self {
        let mut by_cluster: BTreeMap<(String, String), Vec<&WebhookSource>> = BTreeMap::new();
        for source in sources {
            let key = (
                source.namespace().unwrap_or_default(),
                source.spec.cluster_ref.name.clone(),
            );
            by_cluster.entry(key).or_default().push(source);
        }
        let clusters: Vec<_> = clusters
            .iter()
            .map(|cluster| {
                let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
                let sources = by_cluster.remove(&key).unwrap_or_default();
                let pods: Vec<_> = pods
                    .iter()
                    .filter(|pod| (&pod.namespace, &pod.cluster) == (&key.0, &key.1))
                    .collect();
                ClusterReport::new(cluster, &sources, &pods)
            })
            .collect();
        let other_sources: Vec<_> = by_cluster
            .into_values()
            .flatten()
            .map(|source| SourceReport::new(source, &Refusals::default()))
            .collect();
        let is_ready = |source: &SourceReport| source.ready.is_true();
        Self {
            ready: unreadable.is_empty()
                && other_sources.iter().all(is_ready)
                && clusters
                    .iter()
                    .all(|cluster| cluster.ready.is_true() && cluster.sources.iter().all(is_ready)),
            clusters,
            other_sources,
            unreadable,
        }
    }
}

impl Readiness {
    /// Out of a condition, as far as it is about what is there now.
    fn new(condition: Option<&Condition>, generation: Option<i64>) -> Self {
        let Some(condition) = condition else {
            return Self::unknown("NotSeen", "the operator has not written a status yet");
        };
        if condition.observed_generation < generation {
            return Self::unknown(
                "NotSeen",
                "the operator has not written a status for the newest change yet",
            );
        }
        Self {
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            next_step: None,
        }
    }

    fn unknown(reason: &str, message: &str) -> Self {
        Self {
            status: "Unknown".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            next_step: None,
        }
    }

    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// With what to do, unless nothing has to be done.
    fn with_next_step(mut self, next_step: impl FnOnce(&Self) -> String) -> Self {
        if !self.is_true() {
            self.next_step = Some(next_step(&self));
        }
        self
    }
}

impl ClusterReport {
    fn new(cluster: &WebhookCluster, sources: &[&WebhookSource], pods: &[&PodFacts]) -> Self {
        let mut refusals = Refusals::default();
        for pod in pods {
            refusals.add(&pod.refusals);
        }
        let status = cluster.status.clone().unwrap_or_default();
        let generation = cluster.metadata.generation;
        let readiness = |type_: &str| Readiness::new(find(&status.conditions, type_), generation);
        Self {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
            ready: readiness("Ready").with_next_step(|ready| advice::for_cluster(cluster, ready)),
            database: readiness("DatabaseReady"),
            certificate: cluster
                .spec
                .tls
                .as_ref()
                .map(|_| readiness("CertificateReady")),
            roles: status.roles.map(|roles| format!("{roles:?}")),
            image: status.image,
            url: status.url,
            ready_replicas: status.ready_replicas.unwrap_or(0),
            replicas: cluster.spec.replicas,
            pods: pods
                .iter()
                .map(|pod| PodReport::new(pod, sources))
                .collect(),
            refusals: RefusalReport::new(refusals.sources.get(&None)),
            sources: sources
                .iter()
                .map(|source| SourceReport::new(source, &refusals))
                .collect(),
        }
    }
}

impl PodReport {
    fn new(pod: &PodFacts, sources: &[&WebhookSource]) -> Self {
        let mut notes: Vec<String> = pod.trouble.iter().cloned().collect();
        let (configuration, database) = match &pod.answer {
            Ok(served) => {
                let behind = behind(served, sources);
                let configuration = if behind.is_empty() && served.error.is_none() {
                    Serving::Newest
                } else {
                    Serving::Behind
                };
                if !behind.is_empty() {
                    notes.push(format!("waits for {}", behind.join(", ")));
                }
                if let Some(error) = &served.error {
                    notes.push(format!("cannot take its newest configuration: {error}"));
                }
                if let Some(reason) = &served.database.reason {
                    notes.push(format!("database: {reason}"));
                }
                (configuration, Some(served.database.state.clone()))
            }
            Err(why) => {
                notes.push(why.clone());
                (Serving::Unknown, None)
            }
        };
        Self {
            name: pod.name.clone(),
            ready: pod.ready,
            configuration,
            database,
            notes,
        }
    }
}

/// The sources that a pod does not serve in their newest form. One whose newest form is not valid
/// is rightly served in an older one.
fn behind(served: &Served, sources: &[&WebhookSource]) -> Vec<String> {
    let is_invalid = |source: &WebhookSource| {
        source
            .status
            .as_ref()
            .and_then(|status| find(&status.conditions, "Ready"))
            .is_some_and(|ready| ready.reason == "InvalidSpec")
    };
    let mut behind = Vec::new();
    for source in sources.iter().filter(|source| !is_invalid(source)) {
        let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
        let newest = source.metadata.generation.unwrap_or(0);
        match served.sources.get(&format!("{namespace}/{name}")) {
            Some(entry) if entry.generation >= newest => {}
            Some(entry) => behind.push(format!(
                "{name} (generation {} of {newest})",
                entry.generation
            )),
            None => behind.push(name),
        }
    }
    behind
}

impl SourceReport {
    fn new(source: &WebhookSource, refusals: &Refusals) -> Self {
        let (namespace, name) = (source.namespace().unwrap_or_default(), source.name_any());
        let refusals = refusals.of(&format!("{namespace}/{name}"));
        let status = source.status.clone().unwrap_or_default();
        let generation = source.metadata.generation;
        let ready = Readiness::new(find(&status.conditions, "Ready"), generation);
        let views = find(&status.conditions, "ViewsReady");
        Self {
            namespace,
            name,
            views: views.map(|views| Readiness::new(Some(views), generation)),
            cluster: source.spec.cluster_ref.name.clone(),
            ready: ready.with_next_step(|ready| advice::for_source(source, ready)),
            url: status.url,
            relation: status.relation,
            refusals: RefusalReport::new(refusals),
        }
    }
}
