//! Rows that a dropped source has left in partitions that others share are deleted by the database's
//! task, when nothing else is to be done.

use std::time::Duration;

use tokio::time::timeout;

use super::{Keeper, Wanted};
use crate::error::chain;

/// How long deleting may take at each look. What is left comes at the next; whatever is wanted
/// meanwhile goes first.
const PURGE_DEADLINE: Duration = Duration::from_secs(300);

impl Keeper {
    /// Deletes rows that nobody sees any more. Nothing rests on it, so that a failure is no news for
    /// the status.
    pub(super) async fn purge(&mut self, wanted: &Wanted) {
        let cluster = self.cluster.clone();
        let work = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.purge(&cluster).await
        };
        match timeout(PURGE_DEADLINE, work).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%cluster, "purge: {}", chain(&error)),
            Err(_) => {
                tracing::info!(%cluster, "purge: takes long, and goes on at the next look");
                // The connection is in the middle of something.
                self.warehouse = None;
            }
        }
    }
}
