//! Freezing and analyzing, which the database's task does when nothing else is to be done.

use std::time::Duration;

use tokio::time::timeout;

use super::chore::Late;
use super::{Keeper, Wanted};

/// How long it may take at each look. What is left comes at the next; whatever is wanted meanwhile
/// goes first.
const UPKEEP_DEADLINE: Duration = Duration::from_secs(300);

impl Keeper {
    /// Freezes partitions whose time is over, and analyzes what PostgreSQL does not.
    pub(super) async fn upkeep(&mut self, wanted: &Wanted) {
        let work = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.upkeep().await
        };
        let kept = timeout(UPKEEP_DEADLINE, work).await;
        if let Some(report) = self.settle("upkeep", Late::Busy, kept) {
            let (cluster, done) = (&self.cluster, report.changed.len());
            tracing::debug!(%cluster, done, waiting = report.pending.len(), "upkeep");
        }
    }
}
