//! Takes a partition out of the table above it, in front of which nobody waits.
//!
//! Invariant: DETACH CONCURRENTLY, which queues for no lock that a COPY or a SELECT conflicts with.
//! It is two transactions of the server's: after the first the partition takes no row and shows
//! none, and the second waits for whoever was using the table above. One that was cut short between
//! them is found in the catalog and finished.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use trunkline_pgconn::Target;

use crate::apply::{run_alone, run_or_fail};
use crate::catalog::{self, Attachment};
use crate::error::Error;
use crate::partitions::finish_detach;
use crate::step::{Outcome, Report};

/// How long to wait for transactions that were using the table above when the detaching began. It
/// blocks nobody, but keeps the caller from other work.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the partition's state is looked at: once to detach it, once to see it gone, and more
/// when others have a hand in it or their removals hang.
const TRIES: u32 = 12;

/// Takes `table` out of `above`. A removal that hangs is finished first, be it this one's or another
/// partition's: PostgreSQL allows one at a time.
pub(crate) async fn detach(
    client: &Client,
    owner: &Target,
    above: &str,
    table: &str,
) -> Result<Report, Error> {
    let doing = format!("detach {table}");
    let sql = format!("ALTER TABLE {above} DETACH PARTITION {table} CONCURRENTLY");
    let mut report = Report::default();
    for _ in 0..TRIES {
        let attachments = catalog::attachments(client, above, table).await?;
        if attachments.iter().all(|(attached, _)| attached != table) {
            return Ok(report);
        }
        let hangs =
            |(_, attachment): &&(String, Attachment)| *attachment == Attachment::DetachPending;
        let result = match attachments.iter().find(hangs) {
            Some((pending, _)) => run_or_fail(client, &finish_detach(above, pending)).await,
            None => match run_alone(owner, &doing, &sql, PATIENCE).await {
                Ok(Outcome::Done) => Ok(Report {
                    changed: vec![doing.clone()],
                    pending: Vec::new(),
                }),
                Ok(_) => return Err(Error::Locked { doing }),
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(done) => report.absorb(done),
            // Another process was faster with this partition, or is busy with another one.
            Err(Error::Statement { source, .. }) if is_overtaken(&source) => {
                tracing::debug!(%source, "detaching is looked at again");
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Locked { doing })
}

/// Whether the partition's state changed under the statement, or the statement was cancelled.
fn is_overtaken(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [
            &SqlState::UNDEFINED_TABLE,
            &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            &SqlState::LOCK_NOT_AVAILABLE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            &SqlState::QUERY_CANCELED,
        ]
        .contains(&code)
    })
}
