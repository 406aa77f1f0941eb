//! A database as the logic of batches needs it, so that the logic can be tested without one.

use tokio_postgres::error::SqlState;

use super::error::Reason;
use crate::rows::EncodedRows;

/// Why a [`Store`] did not commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreError {
    /// Rolled back, because of a row.
    Rows(SqlState),
    /// Rolled back, for a passing reason of the database's own.
    Refused(Reason),
    /// Rolled back: the database takes no writes as things are.
    Barred(Reason),
    /// The server did not vouch for a commit that may have happened.
    Doubtful(Reason),
    /// The connection is gone, and with it the outcome.
    Lost {
        /// What was seen last.
        reason: Reason,
        /// Whether the server missed a deadline, so that another connection is not likely soon.
        is_silent: bool,
    },
}

/// What became of the rows of a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Rows that repeat a message that was there, or another of the commit.
    pub(super) repeats: usize,
    /// Rows that could not be compared.
    pub(super) unsettled: usize,
}

/// A database as this module needs it.
pub(super) trait Store {
    /// Stores all rows of all deliveries in one transaction.
    async fn commit(&mut self, deliveries: &[&EncodedRows]) -> Result<Stored, StoreError>;

    /// Tries rows in a transaction that rolls back. Whether they repeat others is not looked at.
    async fn probe(&mut self, rows: &[&[u8]]) -> Result<(), StoreError>;
}
