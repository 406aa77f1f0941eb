//! Leadership: of several replicas, one acts.

use anyhow::Context;
use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How long a lease is good for without renewal, in seconds. A leader that died is replaced after
/// that.
const LEASE_SECONDS: u64 = 15;
/// How long before its end it is renewed, in seconds.
const RENEW_BEFORE_SECONDS: u64 = 10;

/// A lease to hold.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Who holds it; by chance when there is no name.
    pub(super) holder: Option<String>,
}

/// A lease that is held.
#[derive(Debug)]
pub(super) struct Leadership {
    lost: CancellationToken,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Waits until the lease is ours, or `stop` is cancelled.
    pub(super) async fn acquire(
        client: Client,
        lease: Lease,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut builder = LeaseManagerBuilder::new(client, &lease.name)
            .with_namespace(&lease.namespace)
            .with_duration(LEASE_SECONDS)
            .with_grace(RENEW_BEFORE_SECONDS);
        if let Some(holder) = lease.holder {
            // With the field manager's own name, two replicas would share its fields.
            builder = builder
                .with_identity(&holder)
                .with_field_manager(format!("trunkline-operator-{holder}"));
        }
        let manager = builder
            .build()
            .await
            .with_context(|| format!("lease {}/{}", lease.namespace, lease.name))?;
        let (mut is_leader, watcher) = manager.watch().await;
        info!(lease = %lease.name, "waiting for the lease");
        tokio::select! {
            held = is_leader.wait_for(|is_leader| *is_leader) => {
                held.context("leader election has ended")?;
            }
            () = stop.cancelled() => {}
        }
        let (lost, end) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(hold(is_leader, watcher, lost.clone(), end.clone()));
        Ok(Self { lost, end, task })
    }

    /// Cancelled when the lease is no longer ours.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lease back, so that another replica acts at once.
    pub(super) async fn release(self) {
        self.end.cancel();
        // It ends with the release.
        let _ = self.task.await;
    }
}

async fn hold<T>(
    mut is_leader: watch::Receiver<bool>,
    watcher: JoinHandle<T>,
    lost: CancellationToken,
    end: CancellationToken,
) {
    tokio::select! {
        _ = is_leader.wait_for(|is_leader| !*is_leader) => lost.cancel(),
        () = end.cancelled() => {}
    }
    // Without a receiver the manager releases the lease and ends.
    drop(is_leader);
    let _ = watcher.await;
}
