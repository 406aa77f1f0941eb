//! Which cluster a change concerns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_model::names::{ClusterName, SourceName};

use super::context::Context;
use super::read::referenced;
use crate::build::CLUSTER_LABEL;
use crate::pods::PodAddress;
use crate::sync::lock;
use crate::watches::{Change, Guarded, Stores};

/// Asks for reconciliations.
#[derive(Clone)]
pub(super) struct Waker {
    clusters: UnboundedSender<ClusterName>,
    sources: UnboundedSender<SourceName>,
    stores: Arc<OnceLock<Stores>>,
    context: Arc<OnceLock<Weak<Context>>>,
    /// What was last seen of each object, by UID, to tell a change of its status alone.
    seen: Arc<Mutex<HashMap<String, Seen>>>,
}

/// What of an object is not its status.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    generation: Option<i64>,
    annotations: Vec<(String, String)>,
    finalizers: Vec<String>,
}

/// The other ends.
#[derive(Debug)]
pub(super) struct Wakeups {
    pub(super) clusters: UnboundedReceiver<ClusterName>,
    pub(super) sources: UnboundedReceiver<SourceName>,
}

pub(super) fn channel() -> (Waker, Wakeups) {
    let (clusters, cluster_receiver) = mpsc::unbounded_channel();
    let (sources, source_receiver) = mpsc::unbounded_channel();
    let waker = Waker {
        clusters,
        sources,
        stores: Arc::default(),
        context: Arc::default(),
        seen: Arc::default(),
    };
    let wakeups = Wakeups {
        clusters: cluster_receiver,
        sources: source_receiver,
    };
    (waker, wakeups)
}

impl Waker {
    pub(super) fn clusters(&self) -> UnboundedSender<ClusterName> {
        self.clusters.clone()
    }

    pub(super) fn knows(&self, stores: Stores) {
        // Set once, at the start.
        let _ = self.stores.set(stores);
    }

    pub(super) fn acts_for(&self, context: &Arc<Context>) {
        let _ = self.context.set(Arc::downgrade(context));
    }

    fn context(&self) -> Option<Arc<Context>> {
        self.context.get()?.upgrade()
    }

    /// Asks for a look at everything.
    pub(super) fn everything(&self) {
        let Some(stores) = self.stores.get() else {
            return;
        };
        for cluster in stores.clusters.state() {
            self.wake_cluster(cluster.namespace(), &cluster.name_any());
        }
        for source in stores.sources.state() {
            self.wake_source(&source);
        }
        for pod in stores.pods.state() {
            self.pod(&pod, false);
        }
        if let Some(context) = self.context() {
            let alive = stores
                .clusters
                .state()
                .iter()
                .filter_map(|cluster| {
                    ClusterName::new(&cluster.namespace()?, &cluster.name_any()).ok()
                })
                .collect();
            context.retain(&alive);
        }
    }

    pub(super) fn on_change(&self, change: Change<'_>) {
        match change {
            Change::Cluster { object, gone } => self.cluster(object, gone),
            Change::Source { object, gone } => self.source(object, gone),
            Change::Secret(secret) => {
                if let Some(namespace) = secret.namespace() {
                    self.secret(&namespace, &secret.name_any());
                }
            }
            Change::Pod { pod, gone } => {
                self.pod(pod, gone);
                if let Some(cluster) = pod.labels().get(CLUSTER_LABEL) {
                    self.wake_cluster(pod.namespace(), cluster);
                }
            }
            Change::Relisted => self.everything(),
            Change::Owned { namespace, cluster } => self.wake_cluster(Some(namespace), &cluster),
        }
    }

    fn cluster(&self, object: &Guarded<WebhookCluster>, gone: bool) {
        if !self.is_news(object, gone) {
            return;
        }
        let (namespace, name) = (object.namespace(), object.name_any());
        self.wake_cluster(namespace.clone(), &name);
        if gone {
            if let (Some(context), Some(namespace)) = (self.context(), &namespace)
                && let Ok(name) = ClusterName::new(namespace, &name)
            {
                context.forget(&name);
                context.statuses.forget(&object.uid().unwrap_or_default());
            }
            self.sources_in(namespace.as_deref(), |source| self.wake_source(source));
        }
    }

    fn source(&self, object: &Guarded<WebhookSource>, gone: bool) {
        if !self.is_news(object, gone) {
            return;
        }
        if gone && let Some(context) = self.context() {
            context.statuses.forget(&object.uid().unwrap_or_default());
        }
        self.wake_source(object);
        match &object.0 {
            Ok(source) => self.wake_cluster(source.namespace(), &source.spec.cluster_ref.name),
            // It does not say which cluster it belongs to.
            Err(_) => self.clusters_in(object.namespace().as_deref(), |_| true),
        }
    }

    /// A Secret concerns the clusters that refer to it, themselves or through a source.
    fn secret(&self, namespace: &str, name: &str) {
        self.clusters_in(Some(namespace), |cluster| {
            if referenced(cluster, []).contains(name) {
                return true;
            }
            let mut is_referenced = false;
            self.sources_in(Some(namespace), |guarded| {
                if let Ok(source) = &guarded.0 {
                    is_referenced |= source.spec.cluster_ref.name == cluster.name_any()
                        && source.spec.secret_names().any(|secret| secret == name);
                }
            });
            is_referenced
        });
    }

    /// Keeps the pods that are asked in step with the pods that there are.
    fn pod(&self, pod: &Pod, gone: bool) {
        let Some(context) = self.context() else {
            return;
        };
        let cluster = pod.labels().get(CLUSTER_LABEL).cloned().unwrap_or_default();
        let namespace = pod.namespace().unwrap_or_default();
        match (PodAddress::of(pod), ClusterName::new(&namespace, &cluster)) {
            (Some(address), Ok(cluster)) if !gone => context.pods.track(&cluster, address),
            _ => context.pods.forget(&pod.uid().unwrap_or_default()),
        }
    }

    fn clusters_in(&self, namespace: Option<&str>, concerns: impl Fn(&WebhookCluster) -> bool) {
        let Some(stores) = self.stores.get() else {
            return;
        };
        for guarded in stores.clusters.state() {
            if guarded.namespace().as_deref() == namespace
                && guarded.0.as_ref().map_or(true, &concerns)
            {
                self.wake_cluster(guarded.namespace(), &guarded.name_any());
            }
        }
    }

    fn sources_in(&self, namespace: Option<&str>, mut each: impl FnMut(&Guarded<WebhookSource>)) {
        let Some(stores) = self.stores.get() else {
            return;
        };
        for guarded in stores.sources.state() {
            if guarded.namespace().as_deref() == namespace {
                each(&guarded);
            }
        }
    }

    fn wake_cluster(&self, namespace: Option<String>, name: &str) {
        if let Ok(name) = ClusterName::new(&namespace.unwrap_or_default(), name) {
            // It fails only when nothing is reconciled any more.
            let _ = self.clusters.send(name);
        }
    }

    fn wake_source(&self, source: &Guarded<WebhookSource>) {
        if let Some(namespace) = source.namespace()
            && let Ok(name) = SourceName::new(&namespace, &source.name_any())
        {
            let _ = self.sources.send(name);
        }
    }

    /// Whether more than the status has changed: our own writes of it are no news.
    fn is_news<K: Resource>(&self, object: &K, gone: bool) -> bool {
        let uid = object.uid().unwrap_or_default();
        let mut seen = lock(&self.seen);
        if gone {
            seen.remove(&uid);
            return true;
        }
        let now = Seen {
            generation: object.meta().generation,
            annotations: object.annotations().clone().into_iter().collect(),
            finalizers: object.finalizers().to_vec(),
        };
        seen.insert(uid, now.clone()) != Some(now)
    }
}
