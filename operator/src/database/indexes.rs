//! Indexes that sources ask for, brought to partitions that are there already when nothing else is to
//! be done.

use std::time::Duration;

use tokio::time::timeout;

use super::chore::Late;
use super::{Keeper, Wanted};

/// How long it may take at each look. It begins nothing more after some minutes, and an index of a
/// very large partition needs the rest: one that is given up is begun anew.
const INDEXING_DEADLINE: Duration = Duration::from_secs(3600);

impl Keeper {
    /// Makes and drops indexes. Whether there is news for the status.
    pub(super) async fn keep_indexes(&mut self, wanted: &Wanted) -> bool {
        let cluster = self.cluster.clone();
        let mut troubles = None;
        let work = async {
            let warehouse = self.connect(&wanted.owner).await?;
            let indexed = warehouse.keep_indexes(&cluster).await?;
            troubles = Some(indexed.troubles);
            Ok(indexed.report)
        };
        let kept = timeout(INDEXING_DEADLINE, work).await;
        let report = self.settle("indexes", Late::Busy, kept);
        let Some(troubles) = troubles else {
            return false;
        };
        let is_new = troubles != self.index_troubles;
        for (source, trouble) in &troubles {
            tracing::warn!(%source, "indexes: {trouble}");
        }
        self.index_troubles = troubles;
        is_new || report.is_some_and(|report| !report.changed.is_empty())
    }
}
