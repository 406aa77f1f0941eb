//! Rows that are older than their retention are dropped by the database's task, when nothing else is
//! to be done, and so is what the log of refusals keeps too long.

use std::time::Duration;

use tokio::time::timeout;

use super::{Keeper, SILENT, Wanted};
use crate::error::chain;

/// How long dropping what is older than its retention may keep the task from other work, at each
/// look. What is left comes at the next.
const DROPPING_DEADLINE: Duration = Duration::from_secs(30);

impl Keeper {
    /// Drops what is older than its retention. Nothing rests on it, so that a failure
    /// is no news for the status.
    pub(super) async fn drop_expired(&mut self, wanted: &Wanted) {
        let cluster = self.cluster.clone();
        let dropping = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.prune_rejections().await?;
            warehouse.drop_expired(&cluster, &wanted.sources).await
        };
        match timeout(DROPPING_DEADLINE, dropping).await {
            Ok(Ok(report)) => {
                for step in report.pending {
                    tracing::warn!(%cluster, "retention: {step}");
                }
            }
            Ok(Err(error)) => tracing::warn!(%cluster, "retention: {}", chain(&error)),
            Err(_) => {
                tracing::warn!(%cluster, "retention: {SILENT}");
                // With the connection, what it may still do ends.
                self.warehouse = None;
            }
        }
    }
}
