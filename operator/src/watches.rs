//! What the operator knows of the API server: one watch for each kind, kept in memory.
//!
//! Secrets of users are watched without their values; what a reconciliation needs is read then.
//! Objects of the operator's own carry a label, and only those are watched.

use std::fmt::Debug;
use std::future::Future;

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use trunkline_crds::{WebhookCluster, WebhookSource};

use crate::build::CLUSTER_LABEL;

/// An object that may have been written by a newer version.
pub type Guarded<K> = DeserializeGuard<K>;

/// Where the operator looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    All,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

/// Everything that is watched.
#[derive(Debug, Clone)]
pub struct Stores {
    /// WebhookClusters.
    pub clusters: Store<Guarded<WebhookCluster>>,
    /// WebhookSources.
    pub sources: Store<Guarded<WebhookSource>>,
    /// Every Secret, without its values.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// The configuration Secrets, which are our own.
    pub shards: Store<Secret>,
    /// Ingester pods.
    pub pods: Store<Pod>,
    /// The endpoints of the ingesters' Services.
    pub endpoint_slices: Store<EndpointSlice>,
    /// The ingesters' Deployments.
    pub deployments: Store<Deployment>,
    /// Their Services.
    pub services: Store<Service>,
    /// Their ServiceAccounts.
    pub service_accounts: Store<ServiceAccount>,
    /// Their PodDisruptionBudgets.
    pub disruption_budgets: Store<PodDisruptionBudget>,
    /// Their Ingresses.
    pub ingresses: Store<Ingress>,
}

/// What has been seen to change.
#[derive(Debug)]
pub enum Change<'a> {
    /// A WebhookCluster.
    Cluster {
        /// The object.
        object: &'a Guarded<WebhookCluster>,
        /// Whether it has been deleted.
        gone: bool,
    },
    /// A WebhookSource.
    Source {
        /// The object.
        object: &'a Guarded<WebhookSource>,
        /// Whether it has been deleted.
        gone: bool,
    },
    /// Any Secret.
    Secret(&'a PartialObjectMeta<Secret>),
    /// An ingester pod; `gone` when it has been deleted.
    Pod {
        /// The pod.
        pod: &'a Pod,
        /// Whether it has been deleted.
        gone: bool,
    },
    /// A watch has looked at everything again: what went in between is gone from its store.
    Relisted,
    /// Another object of ours, in this namespace, of the cluster of this name.
    Owned {
        /// The namespace.
        namespace: String,
        /// The WebhookCluster's name.
        cluster: String,
    },
}

impl Stores {
    /// Starts every watch in `tasks`. `on_change` hears of each change after the store has it.
    pub fn start<F>(client: &Client, scope: &Scope, tasks: &mut JoinSet<()>, on_change: F) -> Self
    where
        F: Fn(Change<'_>) + Clone + Send + Sync + 'static,
    {
        let ours = watch::Config::default().labels(CLUSTER_LABEL);
        let all = watch::Config::default();
        // Each kind tells its changes in its own way; all else is the same.
        macro_rules! watch_for {
            ($kind:ty, $config:expr, |$object:ident, $gone:pat_param| $change:expr) => {{
                let (tell, relisted) = (on_change.clone(), on_change.clone());
                let on_object = move |$object: &$kind, $gone: bool| {
                    if let Some(change) = $change {
                        tell(change);
                    }
                };
                let on_relist = move || relisted(Change::Relisted);
                let api = scope.api::<$kind>(client);
                start(api, $config.clone(), tasks, on_object, on_relist)
            }};
            ($kind:ty) => {
                watch_for!($kind, ours, |object, _| owned(object))
            };
        }
        Self {
            clusters: watch_for!(Guarded<WebhookCluster>, all, |object, gone| Some(
                Change::Cluster { object, gone }
            )),
            sources: watch_for!(Guarded<WebhookSource>, all, |object, gone| Some(
                Change::Source { object, gone }
            )),
            secrets: watch_for!(PartialObjectMeta<Secret>, all, |object, _| Some(
                Change::Secret(object)
            )),
            pods: watch_for!(Pod, ours, |pod, gone| Some(Change::Pod { pod, gone })),
            shards: watch_for!(Secret),
            endpoint_slices: watch_for!(EndpointSlice),
            deployments: watch_for!(Deployment),
            services: watch_for!(Service),
            service_accounts: watch_for!(ServiceAccount),
            disruption_budgets: watch_for!(PodDisruptionBudget),
            ingresses: watch_for!(Ingress),
        }
    }

    /// Waits until each watch has seen everything that there is.
    pub async fn wait_until_ready(&self) {
        // A store is dropped only at the end of the process.
        let _ = self.clusters.wait_until_ready().await;
        let _ = self.sources.wait_until_ready().await;
        let _ = self.secrets.wait_until_ready().await;
        let _ = self.shards.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        let _ = self.endpoint_slices.wait_until_ready().await;
        let _ = self.deployments.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.service_accounts.wait_until_ready().await;
        let _ = self.disruption_budgets.wait_until_ready().await;
        let _ = self.ingresses.wait_until_ready().await;
    }
}

/// A change of an object that our label names the cluster of.
fn owned<'a>(object: &impl Resource) -> Option<Change<'a>> {
    Some(Change::Owned {
        namespace: object.namespace()?,
        cluster: object.labels().get(CLUSTER_LABEL)?.clone(),
    })
}

fn start<K>(
    api: Api<K>,
    config: watcher::Config,
    tasks: &mut JoinSet<()>,
    on_object: impl Fn(&K, bool) + Send + 'static,
    on_relist: impl Fn() + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    tasks.spawn(run(api, config, writer, on_object, on_relist));
    reader
}

fn run<K>(
    api: Api<K>,
    config: watcher::Config,
    mut writer: reflector::store::Writer<K>,
    on_object: impl Fn(&K, bool) + Send + 'static,
    on_relist: impl Fn() + Send + 'static,
) -> impl Future<Output = ()> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watch(api, config).modify(|object| {
        // Half of an object, and nobody reads it.
        object.managed_fields_mut().clear();
    });
    async move {
        let mut events = std::pin::pin!(events.default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    writer.apply_watcher_event(&event);
                    match &event {
                        Event::Apply(object) | Event::InitApply(object) => on_object(object, false),
                        Event::Delete(object) => on_object(object, true),
                        Event::Init => {}
                        Event::InitDone => on_relist(),
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), "watch: {}", crate::error::chain(&error));
                }
            }
        }
    }
}
