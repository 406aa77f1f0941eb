//! A database as the logic of batches needs it, so that the logic can be tested without one.

use tokio_postgres::error::SqlState;

use super::error::Reason;
use crate::rows::EncodedRows;

/// Why a [`Store`] did not commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreError {
    /// Rolled back, because of a row.
    Rows(SqlState),
    /// Rolled back: it cannot be told which deliveries with keys are repeats. Others can be committed
    /// without them.
    Undecided(Reason),
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Rows that were not stored.
    pub(super) left_out: LeftOut,
    /// Rows that repeat a message that was there, or another of the commit.
    pub(super) repeats: usize,
    /// Rows that could not be compared.
    pub(super) unsettled: usize,
}

/// Rows that were not stored, since they repeat what is and their source stores no repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Of each delivery that has ended, in their order; none where nobody looked.
    counts: Vec<usize>,
    /// Of the delivery that has not.
    count: usize,
    bytes: usize,
}

impl LeftOut {
    pub(super) fn add(&mut self, rows: usize, bytes: usize) {
        self.count += rows;
        self.bytes += bytes;
    }

    pub(super) fn end_delivery(&mut self) {
        self.counts.push(std::mem::take(&mut self.count));
    }

    /// How many rows of a delivery, by its place in the commit.
    pub(super) fn of(&self, delivery: usize) -> usize {
        self.counts.get(delivery).copied().unwrap_or(0)
    }

    /// How many rows of all deliveries.
    pub(super) fn rows(&self) -> usize {
        self.counts.iter().sum()
    }

    /// How many bytes the rows have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A database as this module needs it.
pub(super) trait Store {
    /// Stores all rows of all deliveries in one transaction.
    async fn commit(&mut self, deliveries: &[&EncodedRows]) -> Result<Stored, StoreError>;

    /// Tries rows in a transaction that rolls back. Whether they repeat others is not looked at.
    async fn probe(&mut self, rows: &[&[u8]]) -> Result<(), StoreError>;
}
