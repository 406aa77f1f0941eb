//! Rows that are older than their retention are dropped by the database's task, when nothing else is
//! to be done, and so is what the log of refusals keeps too long.

use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;
use trunkline_warehouse::{Error, Report};

use super::chore::Late;
use super::{Keeper, Wanted};

/// How long dropping what is older than its retention may keep the task from other work, at each
/// look. What is left comes at the next.
const DROPPING_DEADLINE: Duration = Duration::from_secs(30);

/// The same for the log of refusals, which is small.
const PRUNING_DEADLINE: Duration = Duration::from_secs(10);

impl Keeper {
    /// Drops what is older than its retention.
    pub(super) async fn drop_expired(&mut self, wanted: &Wanted) {
        let cluster = self.cluster.clone();
        let dropping = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.drop_expired(&cluster, &wanted.sources).await
        };
        let dropped = timeout(DROPPING_DEADLINE, dropping).await;
        self.tell("retention", dropped);
    }

    /// Deletes what the log of refusals keeps too long.
    pub(super) async fn prune_rejections(&mut self, wanted: &Wanted) {
        let pruning = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.prune_rejections().await
        };
        let pruned = timeout(PRUNING_DEADLINE, pruning).await;
        self.tell("log of refusals", pruned);
    }

    /// Logs what could not be done.
    fn tell(&mut self, chore: &str, done: Result<Result<Report, Error>, Elapsed>) {
        let report = self.settle(chore, Late::Silent, done);
        let cluster = &self.cluster;
        for step in report.into_iter().flat_map(|report| report.pending) {
            tracing::warn!(%cluster, "{chore}: {step}");
        }
    }
}
