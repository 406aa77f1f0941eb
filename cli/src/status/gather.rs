//! Reads the objects of a cluster, and asks its pods what they serve.
//!
//! It reads and decides nothing. What may not be read is said in the report.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_operator::build::CLUSTER_LABEL;
use trunkline_operator::pods::{AccessError, PodAccess, PodAddress, Refusals, Served};

use super::report::{PodFacts, Report};
use crate::kubernetes::explain;

/// How many pods are asked at once.
const AT_ONCE: usize = 16;

/// Looks at everything of `namespace`, or of all, that `names` selects; all when there is none.
///
/// # Errors
/// When the API server cannot be asked, or has no object of one of the names.
pub(super) async fn gather(
    client: &Client,
    namespace: Option<&str>,
    names: &[String],
) -> anyhow::Result<Report> {
    let mut unreadable = Vec::new();
    let mut clusters: Vec<WebhookCluster> = list(client, namespace, &mut unreadable).await?;
    let mut sources: Vec<WebhookSource> = list(client, namespace, &mut unreadable).await?;
    if !names.is_empty() {
        select(names, &mut clusters, &mut sources)?;
    }
    let pods = pods(client, namespace, &clusters).await?;
    Ok(Report::new(&clusters, &sources, &pods, unreadable))
}

/// Every object of a kind. One that this version cannot read is noted and left out.
async fn list<K>(
    client: &Client,
    namespace: Option<&str>,
    unreadable: &mut Vec<String>,
) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects = api::<DeserializeGuard<K>>(client, namespace)
        .list(&ListParams::default())
        .await
        .map_err(explain)?;
    let mut readable = Vec::new();
    for object in objects {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        match object.0 {
            Ok(object) => readable.push(object),
            Err(error) => unreadable.push(format!(
                "{} {namespace}/{name}: {}; use a trunkline of the operator's version",
                K::kind(&()),
                error.error
            )),
        }
    }
    Ok(readable)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Keeps what is named: a cluster with all its sources, a source with its cluster.
fn select(
    names: &[String],
    clusters: &mut Vec<WebhookCluster>,
    sources: &mut Vec<WebhookSource>,
) -> anyhow::Result<()> {
    let is_named = |name: &str| names.iter().any(|wanted| wanted == name);
    for name in names {
        let is_there = clusters.iter().any(|cluster| cluster.name_any() == *name)
            || sources.iter().any(|source| source.name_any() == *name);
        anyhow::ensure!(
            is_there,
            "there is no WebhookCluster and no WebhookSource {name:?}; \
             kubectl get whc,whs -A shows what there is"
        );
    }
    sources
        .retain(|source| is_named(&source.name_any()) || is_named(&source.spec.cluster_ref.name));
    let of_sources: BTreeSet<_> = sources
        .iter()
        .map(|source| (source.namespace(), source.spec.cluster_ref.name.clone()))
        .collect();
    clusters.retain(|cluster| {
        is_named(&cluster.name_any())
            || of_sources.contains(&(cluster.namespace(), cluster.name_any()))
    });
    Ok(())
}

/// The ingester pods of these clusters with what each says.
async fn pods(
    client: &Client,
    namespace: Option<&str>,
    clusters: &[WebhookCluster],
) -> anyhow::Result<Vec<PodFacts>> {
    let wanted = ListParams::default().labels(CLUSTER_LABEL);
    let pods = match api::<Pod>(client, namespace).list(&wanted).await {
        Ok(pods) => pods.items,
        // Everything else can be said without them.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(Vec::new()),
        Err(error) => return Err(explain(error)),
    };
    let is_of = |pod: &Pod, cluster: &WebhookCluster| {
        pod.namespace() == cluster.namespace()
            && pod.labels().get(CLUSTER_LABEL) == Some(&cluster.name_any())
    };
    let pods: Vec<Pod> = pods
        .into_iter()
        .filter(|pod| clusters.iter().any(|cluster| is_of(pod, cluster)))
        .collect();
    let access = PodAccess::Proxy(client.clone());
    let mut facts = Vec::new();
    for some in pods.chunks(AT_ONCE) {
        facts.extend(join_all(some.iter().map(|pod| ask(&access, pod))).await);
    }
    Ok(facts)
}

async fn ask(access: &PodAccess, pod: &Pod) -> PodFacts {
    PodFacts {
        namespace: pod.namespace().unwrap_or_default(),
        cluster: pod.labels().get(CLUSTER_LABEL).cloned().unwrap_or_default(),
        name: pod.name_any(),
        ready: is_ready(pod),
        trouble: trouble(pod),
        answer: answer(access, pod).await,
        refusals: refusals(access, pod).await,
    }
}

/// What it refused. When it is not heard, [`answer`] says why.
async fn refusals(access: &PodAccess, pod: &Pod) -> Refusals {
    match PodAddress::of(pod) {
        Some(address) => access.refusals(&address).await.unwrap_or_default(),
        None => Refusals::default(),
    }
}

async fn answer(access: &PodAccess, pod: &Pod) -> Result<Served, String> {
    let Some(address) = PodAddress::of(pod) else {
        return Err("it does not run yet".to_owned());
    };
    access.served(&address).await.map_err(|error| match error {
        AccessError::Forbidden(message) => {
            format!("not asked what it serves, which needs the right to get pods/proxy: {message}")
        }
        other => format!("does not say what it serves: {other}"),
    })
}

fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Why a pod does not run, or that it ends.
fn trouble(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being stopped".to_owned());
    }
    let status = pod.status.as_ref()?;
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        return Some(match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        });
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    unscheduled.and_then(|condition| condition.message.clone())
}
