//! What the chores of the database's task have in common: nothing rests on them, so that a failure is
//! no news for the status, and what is left comes at the next look.

use tokio::time::error::Elapsed;
use trunkline_warehouse::{Error, Report};

use super::{Keeper, SILENT};
use crate::error::chain;

/// What it means when a chore is not done within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The database does not answer as it should.
    Silent,
    /// There is much to do.
    Busy,
}

impl Keeper {
    /// Logs why a chore was not done. Otherwise what it did.
    pub(super) fn settle(
        &mut self,
        chore: &str,
        late: Late,
        done: Result<Result<Report, Error>, Elapsed>,
    ) -> Option<Report> {
        let cluster = &self.cluster;
        match done {
            Ok(Ok(report)) => return Some(report),
            Ok(Err(error)) => tracing::warn!(%cluster, "{chore}: {}", chain(&error)),
            Err(_) => {
                match late {
                    Late::Silent => tracing::warn!(%cluster, "{chore}: {SILENT}"),
                    Late::Busy => {
                        tracing::info!(%cluster, "{chore}: takes long, and goes on at the next look");
                    }
                }
                // It is in the middle of something. With the connection, what it may still do ends.
                self.warehouse = None;
            }
        }
        None
    }
}
