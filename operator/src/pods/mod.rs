//! Which configuration each ingester pod serves, asked of the pods themselves.
//!
//! Each pod has a task that asks it by long poll, so that a change is known within milliseconds
//! and a pod that falls silent within seconds.

mod access;
mod refusals;
mod served;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use trunkline_model::names::ClusterName;

use crate::sync::lock;

pub use access::{AccessError, PodAccess};
pub use refusals::{Reasons, Refusals};
pub use served::{Database, Served, ServedSource};

/// How long a pod may keep a question that it has no news for. Far below the time after which
/// silence makes a source's readiness unknown.
const POLL_SECONDS: u64 = 3;
/// How often a pod is asked what it refused. Nothing waits for it.
const REFUSALS_EVERY: Duration = Duration::from_secs(30);
/// Pause after a question that failed.
const RETRY: Duration = Duration::from_millis(500);

/// A pod that has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its address, which another pod may have had before.
    pub ip: String,
}

impl PodAddress {
    /// The address of a pod that runs; none while it has none, and once it has ended.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        let is_running = status.phase.as_deref() == Some("Running");
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            ip: status.pod_ip.clone().filter(|_| is_running)?,
        })
    }
}

/// What is known of a pod.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// What it said last.
    pub served: Option<Served>,
    /// What it refused; none before it has told.
    pub refusals: Option<Arc<Refusals>>,
    /// When it last answered.
    pub answered_at: Option<Instant>,
    /// Why the last question failed.
    pub failure: Option<String>,
}

/// Asks every pod that it is told of.
#[derive(Debug)]
pub struct PodTracker {
    access: PodAccess,
    /// Hears of clusters whose pods have changed what they serve.
    changed: mpsc::UnboundedSender<ClusterName>,
    pods: Arc<Mutex<HashMap<String, Tracked>>>,
}

#[derive(Debug)]
struct Tracked {
    address: PodAddress,
    observation: Observation,
    task: AbortHandle,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PodTracker {
    /// A tracker of no pods.
    #[must_use]
    pub fn new(access: PodAccess, changed: mpsc::UnboundedSender<ClusterName>) -> Self {
        Self {
            access,
            changed,
            pods: Arc::default(),
        }
    }

    /// What is known of a pod; nothing of one that was never told of.
    #[must_use]
    pub fn observation(&self, uid: &str) -> Observation {
        lock(&self.pods)
            .get(uid)
            .map(|pod| pod.observation.clone())
            .unwrap_or_default()
    }

    /// Begins to ask a pod, or goes on when it is asked already.
    pub fn track(&self, cluster: &ClusterName, address: PodAddress) {
        let mut pods = lock(&self.pods);
        if pods
            .get(&address.uid)
            .is_some_and(|known| known.address == address)
        {
            return;
        }
        let uid = address.uid.clone();
        let task = tokio::spawn(ask(
            self.access.clone(),
            address.clone(),
            cluster.clone(),
            self.changed.clone(),
            Arc::clone(&self.pods),
        ));
        let tracked = Tracked {
            address,
            observation: Observation::default(),
            task: task.abort_handle(),
        };
        pods.insert(uid, tracked);
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        lock(&self.pods).remove(uid);
    }
}

/// Asks one pod until the task is aborted.
async fn ask(
    access: PodAccess,
    pod: PodAddress,
    cluster: ClusterName,
    changed: mpsc::UnboundedSender<ClusterName>,
    pods: Arc<Mutex<HashMap<String, Tracked>>>,
) {
    let mut before: Option<Served> = None;
    let mut refusals_asked_at: Option<Instant> = None;
    loop {
        let after = before.as_ref().and_then(|served| served.hash.clone());
        let answer = access.config(&pod, after.as_deref(), POLL_SECONDS).await;
        let (news, pause) = match answer {
            Ok(answer) => {
                let served = answer.complete(before.as_ref());
                let news = before.as_ref() != Some(&served);
                before = Some(served.clone());
                let told = note(&pods, &pod.uid, |observation| {
                    observation.served = Some(served);
                    observation.answered_at = Some(Instant::now());
                    observation.failure = None;
                });
                // A pod without a configuration answers at once, whatever it is asked.
                let is_empty = before.as_ref().is_none_or(|served| served.hash.is_none());
                (news && told, is_empty.then_some(RETRY))
            }
            Err(failure) => {
                let told = note(&pods, &pod.uid, |observation| {
                    observation.failure = Some(failure.to_string());
                });
                (told, Some(RETRY))
            }
        };
        let mut news = news;
        if refusals_asked_at.is_none_or(|at| at.elapsed() >= REFUSALS_EVERY) && pause.is_none() {
            refusals_asked_at = Some(Instant::now());
            news |= note_refusals(&pods, &pod.uid, access.refusals(&pod).await);
        }
        if news && changed.send(cluster.clone()).is_err() {
            return;
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Returns whether it is news.
fn note_refusals(
    pods: &Mutex<HashMap<String, Tracked>>,
    uid: &str,
    answer: Result<Refusals, AccessError>,
) -> bool {
    let told = match answer {
        Ok(refusals) => Arc::new(refusals),
        // Of a version that does not tell.
        Err(AccessError::Malformed(_)) => Arc::default(),
        // It is asked again.
        Err(_) => return false,
    };
    let mut is_news = false;
    note(pods, uid, |observation| {
        is_news = observation.refusals.as_ref() != Some(&told);
        observation.refusals = Some(told);
    }) && is_news
}

/// Changes what is known of a pod that is still tracked.
fn note(
    pods: &Mutex<HashMap<String, Tracked>>,
    uid: &str,
    change: impl FnOnce(&mut Observation),
) -> bool {
    lock(pods)
        .get_mut(uid)
        .map(|pod| change(&mut pod.observation))
        .is_some()
}
