//! Dereference: reads everything that a cluster and its sources point to.
//!
//! It may read, and may not decide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_model::document::{ClusterSettings, Document, SourceEntry, decode_document};
use trunkline_model::names::{ClusterName, SourceName};

use super::context::Context;
use crate::build::{CLUSTER_LABEL, HTTP, HTTPS, Listening, object_name, shard_names};
use crate::manifests::{Located, Manifests};
use crate::secrets::Reading;

/// What a cluster consists of, as it stands in Kubernetes.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The cluster, its sources that can be read and are not being deleted, and their Secrets.
    pub(super) manifests: Manifests,
    /// Every source of the cluster that can be read.
    pub(super) sources: BTreeMap<SourceName, WebhookSource>,
    /// Sources of the namespace that this version cannot read. They do not say which cluster they
    /// belong to.
    pub(super) unreadable: BTreeSet<SourceName>,
}

pub(super) async fn inputs(
    context: &Context,
    name: &ClusterName,
    cluster: &WebhookCluster,
) -> Inputs {
    let (mut sources, mut unreadable) = (Vec::new(), BTreeSet::new());
    for guarded in context.stores.sources.state() {
        if guarded.namespace().as_deref() != Some(name.namespace()) {
            continue;
        }
        match &guarded.0 {
            Ok(source) if source.spec.cluster_ref.name == name.name() => {
                sources.push(context.statuses.current(source.clone()));
            }
            Ok(_) => {}
            Err(invalid) if invalid.metadata.deletion_timestamp.is_none() => {
                let source = SourceName::new(name.namespace(), &guarded.name_any());
                tracing::warn!(source = %guarded.name_any(), "cannot read it: {invalid}");
                unreadable.extend(source.ok());
            }
            Err(_) => {}
        }
    }
    // The one that was there first has the path and the schema.
    sources.sort_by_key(|source| (source.creation_timestamp(), source.uid()));
    let mut manifests = Manifests {
        clusters: vec![Located {
            file: None,
            object: cluster.clone(),
        }],
        sources: sources
            .iter()
            .filter(|source| source.metadata.deletion_timestamp.is_none())
            .map(|source| Located {
                file: None,
                object: source.clone(),
            })
            .collect(),
        ..Manifests::default()
    };
    let store = &context.stores.secrets;
    for secret in referenced(cluster, &sources) {
        let key = (name.namespace().to_owned(), secret);
        match context.secrets.read(store, &key.0, &key.1).await {
            Reading::Present(data) => {
                manifests.secrets.insert(key, data);
            }
            Reading::Absent => {}
            Reading::Unreadable(reason) => {
                manifests.unreadable_secrets.insert(key, reason);
            }
        }
    }
    let named = |source: WebhookSource| {
        let name = SourceName::new(name.namespace(), &source.name_any()).ok()?;
        Some((name, source))
    };
    Inputs {
        manifests,
        sources: sources.into_iter().filter_map(named).collect(),
        unreadable,
    }
}

/// The names of the Secrets that a cluster and these sources refer to, all of its namespace.
pub(super) fn referenced<'a>(
    cluster: &WebhookCluster,
    sources: impl IntoIterator<Item = &'a WebhookSource>,
) -> BTreeSet<String> {
    let database = &cluster.spec.database;
    let mut names = BTreeSet::from([database.secret_ref.name.clone()]);
    names.extend(
        database
            .ingest_secret_ref
            .iter()
            .map(|secret| secret.name.clone()),
    );
    names.extend(
        database
            .ca_secret_ref
            .iter()
            .map(|secret| secret.name.clone()),
    );
    names.extend(cluster.spec.tls.iter().map(|tls| tls.secret_name.clone()));
    for source in sources {
        names.extend(source.spec.secret_names().map(str::to_owned));
    }
    names
}

/// What the configuration Secrets hold: the memory of an operator that has just started.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    pub(super) settings: Option<ClusterSettings>,
    pub(super) entries: BTreeMap<SourceName, SourceEntry>,
}

pub(super) fn served(context: &Context, cluster: &ClusterName) -> Served {
    let mut served = Served::default();
    for (secret, file) in shard_names(cluster.name()) {
        let reference = ObjectRef::<Secret>::new(&secret).within(cluster.namespace());
        let Some(found) = context.stores.shards.get(&reference) else {
            continue;
        };
        let Some(bytes) = found.data.as_ref().and_then(|data| data.get(&file)) else {
            continue;
        };
        match decode_document(&file, &bytes.0) {
            Ok(Document {
                cluster, sources, ..
            }) => {
                served.settings = served.settings.or(cluster);
                let entries = sources
                    .into_iter()
                    .map(|entry| (entry.source.clone(), entry));
                served.entries.extend(entries);
            }
            // Written by hand or by a newer version: it is made anew.
            Err(error) => {
                tracing::warn!(%cluster, %secret, "{}", crate::error::chain(&error));
            }
        }
    }
    served
}

/// A pod in the ready endpoints of a cluster's Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadyEndpoint {
    pub(super) uid: String,
    pub(super) name: String,
}

fn slices(context: &Context, cluster: &ClusterName) -> Vec<Arc<EndpointSlice>> {
    let service = object_name(cluster);
    context.stores.endpoint_slices.state_filter(|slice| {
        slice.namespace().as_deref() == Some(cluster.namespace())
            && slice.labels().get("kubernetes.io/service-name") == Some(&service)
    })
}

fn is_ready(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|it| it.ready).unwrap_or(true)
}

/// Whether it still takes requests, although it may be on its way out.
fn is_serving(endpoint: &Endpoint) -> bool {
    let serving = endpoint.conditions.as_ref().and_then(|it| it.serving);
    serving.unwrap_or_else(|| is_ready(endpoint))
}

/// At which ports of the Service there is a pod that takes requests: one of another pod template
/// may have another.
pub(super) fn listening(context: &Context, cluster: &ClusterName) -> Listening {
    let slices = slices(context, cluster);
    let has = |name: &str| {
        slices.iter().any(|slice| {
            let mut ports = slice.ports.iter().flatten();
            ports.any(|port| port.name.as_deref() == Some(name) && port.port.is_some())
                && slice.endpoints.iter().any(is_serving)
        })
    };
    Listening {
        http: has(HTTP),
        https: has(HTTPS),
    }
}

pub(super) fn ready_endpoints(context: &Context, cluster: &ClusterName) -> Vec<ReadyEndpoint> {
    let mut ready = BTreeMap::new();
    for slice in slices(context, cluster) {
        for endpoint in &slice.endpoints {
            let pod = endpoint.target_ref.as_ref();
            if let Some(pod) = pod.filter(|_| is_ready(endpoint))
                && let (Some(uid), Some(name)) = (&pod.uid, &pod.name)
            {
                ready.insert(name.clone(), uid.clone());
            }
        }
    }
    ready
        .into_iter()
        .map(|(name, uid)| ReadyEndpoint { uid, name })
        .collect()
}

/// The cluster's own objects of one kind, from their store.
pub(super) fn owned<K>(
    store: &kube::runtime::reflector::Store<K>,
    cluster: &ClusterName,
) -> Vec<Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|object| {
        object.namespace().as_deref() == Some(cluster.namespace())
            && object.labels().get(CLUSTER_LABEL).map(String::as_str) == Some(cluster.name())
    })
}
