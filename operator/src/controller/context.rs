//! What reconciliations share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::mpsc;
use trunkline_model::names::{ClusterName, SourceName};
use trunkline_model::secret::SecretBytes;

use crate::apply::Applier;
use crate::backoff::Backoff;
use crate::database::DatabaseHandle;
use crate::metrics::Metrics;
use crate::pods::{PodAccess, PodTracker};
use crate::secrets::SecretReader;
use crate::sync::lock;
use crate::watches::Stores;

use super::read::Served;
use super::statuses::StatusWriter;

/// What the operator was started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The image that ingesters run when nothing else says which.
    pub ingester_image: String,
}

/// Everything that a reconciliation may use.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) stores: Stores,
    pub(super) options: Options,
    pub(super) applier: Applier,
    pub(super) secrets: SecretReader,
    pub(super) statuses: StatusWriter,
    pub(super) pods: PodTracker,
    pub(super) metrics: Arc<Metrics>,
    /// Asks for a reconciliation of a cluster.
    pub(super) wake: mpsc::UnboundedSender<ClusterName>,
    pub(super) backoff: Mutex<Backoff<String>>,
    clusters: Mutex<HashMap<ClusterName, Arc<tokio::sync::Mutex<ClusterMemory>>>>,
}

/// What is remembered of a cluster between reconciliations. All of it can be lost: it is made again
/// from what is in Kubernetes.
#[derive(Debug)]
pub(super) struct ClusterMemory {
    pub(super) database: DatabaseHandle,
    /// What pods are to serve.
    pub(super) served: Served,
    /// Since when each source's entry has been what it is.
    pub(super) wished_since: HashMap<SourceName, Instant>,
    /// Keys the configuration's hash; it stays the same over the life of the cluster.
    pub(super) hash_key: SecretBytes,
    /// Since when each pod has been seen in the ready endpoints, by UID.
    pub(super) listed: HashMap<String, Instant>,
    /// The last nudge of each pod, by UID.
    pub(super) nudges: HashMap<String, Nudge>,
    /// The certificate that pods mount, and what was done to make them show it.
    pub(super) certificate: Option<Renewal>,
    /// Whether `served` and `hash_key` have been read from Kubernetes.
    pub(super) is_loaded: bool,
}

/// An annotation that was set so that the kubelet looks at once.
#[derive(Debug, Clone)]
pub(super) struct Nudge {
    pub(super) hash: String,
    pub(super) at: Instant,
    pub(super) attempt: u32,
}

/// A certificate, and the nudges for it.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    pub(super) fingerprint: [u8; 32],
    /// When pods were last nudged for it.
    pub(super) at: Instant,
    /// How often they are still to be nudged.
    pub(super) left: u32,
}

impl Context {
    /// A context without memory.
    #[must_use]
    pub(super) fn new(
        client: Client,
        stores: Stores,
        options: Options,
        access: PodAccess,
        metrics: Arc<Metrics>,
        wake: mpsc::UnboundedSender<ClusterName>,
    ) -> Self {
        let reporter = Reporter {
            controller: "trunkline.dev/operator".to_owned(),
            instance: std::env::var("POD_NAME").ok(),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            applier: Applier::new(client.clone()),
            secrets: SecretReader::new(client.clone()),
            statuses: StatusWriter::new(client.clone(), recorder),
            pods: PodTracker::new(access, wake.clone()),
            client,
            stores,
            options,
            metrics,
            wake,
            backoff: Mutex::default(),
            clusters: Mutex::default(),
        }
    }

    /// What is remembered of a cluster.
    pub(super) fn memory(&self, cluster: &ClusterName) -> Arc<tokio::sync::Mutex<ClusterMemory>> {
        let mut clusters = lock(&self.clusters);
        let memory = clusters.entry(cluster.clone()).or_insert_with(|| {
            Arc::new(tokio::sync::Mutex::new(ClusterMemory {
                database: DatabaseHandle::start(cluster.clone(), self.wake.clone()),
                served: Served::default(),
                wished_since: HashMap::new(),
                hash_key: SecretBytes::new(Vec::new()),
                listed: HashMap::new(),
                nudges: HashMap::new(),
                certificate: None,
                is_loaded: false,
            }))
        });
        Arc::clone(memory)
    }

    /// Forgets a cluster that is gone, and ends the task of its database.
    pub(super) fn forget(&self, cluster: &ClusterName) {
        lock(&self.clusters).remove(cluster);
    }

    /// Forgets every cluster that is not among these.
    pub(super) fn retain(&self, alive: &HashSet<ClusterName>) {
        lock(&self.clusters).retain(|cluster, _| alive.contains(cluster));
    }
}
