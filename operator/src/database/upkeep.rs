//! Freezing and analyzing, which the database's task does when nothing else is to be done.

use std::time::Duration;

use tokio::time::timeout;

use super::{Keeper, Wanted};
use crate::error::chain;

/// How long it may take at each look. What is left comes at the next; whatever is wanted meanwhile
/// goes first.
const UPKEEP_DEADLINE: Duration = Duration::from_secs(300);

impl Keeper {
    /// Freezes partitions whose time is over, and analyzes what PostgreSQL does not. Nothing rests on
    /// it, so that a failure is no news for the status.
    pub(super) async fn upkeep(&mut self, wanted: &Wanted) {
        let cluster = self.cluster.clone();
        let work = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.upkeep().await
        };
        match timeout(UPKEEP_DEADLINE, work).await {
            Ok(Ok(report)) => {
                let done = report.changed.len();
                tracing::debug!(%cluster, done, waiting = report.pending.len(), "upkeep");
            }
            Ok(Err(error)) => tracing::warn!(%cluster, "upkeep: {}", chain(&error)),
            Err(_) => {
                tracing::info!(%cluster, "upkeep: takes long, and goes on at the next look");
                // The connection is in the middle of something.
                self.warehouse = None;
            }
        }
    }
}
