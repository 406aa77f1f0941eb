//! Rows that a dropped source has left in partitions that others share are deleted by the database's
//! task, when nothing else is to be done.

use std::time::Duration;

use tokio::time::timeout;

use super::chore::Late;
use super::{Keeper, Wanted};

/// How long deleting may take at each look. What is left comes at the next; whatever is wanted
/// meanwhile goes first.
const PURGE_DEADLINE: Duration = Duration::from_secs(300);

impl Keeper {
    /// Deletes rows that nobody sees any more.
    pub(super) async fn purge(&mut self, wanted: &Wanted) {
        let cluster = self.cluster.clone();
        let work = async {
            let warehouse = self.connect(&wanted.owner).await?;
            warehouse.purge(&cluster).await
        };
        let purged = timeout(PURGE_DEADLINE, work).await;
        self.settle("purge", Late::Busy, purged);
    }
}
