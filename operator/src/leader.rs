//! Leadership: of several replicas, one acts.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::{Api, Client};
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
/// How often a replica that stands by looks whether the lease was given back.
const LOOK: Duration = Duration::from_secs(1);

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
        let leases = Api::namespaced(client.clone(), &lease.namespace);
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
        let mut manager = builder
            .build()
            .await
            .with_context(|| format!("lease {}/{}", lease.namespace, lease.name))?;
        info!(lease = %lease.name, "waiting for the lease");
        let (is_leader, watcher) = loop {
            let (mut is_leader, watcher) = manager.watch().await;
            let is_free = tokio::select! {
                held = is_leader.wait_for(|is_leader| *is_leader) => {
                    held.context("leader election has ended")?;
                    false
                }
                () = stop.cancelled() => false,
                () = given_back(&leases, &lease.name) => true,
            };
            if !is_free {
                break (is_leader, watcher);
            }
            // The manager sleeps until the lease that it has seen would end; begun anew, it takes
            // the one that was given back.
            drop(is_leader);
            manager = watcher.await.context("leader election")??;
        };
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

/// Waits until nobody holds the lease. What cannot be asked is asked again: the manager says what is
/// wrong.
async fn given_back(leases: &Api<LeaseObject>, name: &str) {
    loop {
        tokio::time::sleep(LOOK).await;
        let holder = leases.get_opt(name).await.map(|lease| {
            let holder = lease.and_then(|lease| lease.spec?.holder_identity);
            holder.filter(|holder| !holder.is_empty())
        });
        if matches!(holder, Ok(None)) {
            return;
        }
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
