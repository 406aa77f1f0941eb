//! Why a delivery was not acknowledged.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

/// A sentence for the owner, shared by everything that one failure refuses. It holds no secret and
/// no part of a row.
pub type Reason = Arc<str>;

/// Why [`Committer::commit`](super::Committer::commit) cannot say that the rows are committed.
///
/// Each is our trouble or the database's, never the sender's: the sender is told to come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: there is no connection, or the database takes no writes.
    #[error("the database is unavailable: {0}")]
    Unavailable(Reason),
    /// Nothing was written: the server would acknowledge what a crash can take away.
    #[error("the database does not keep what it commits: {0}")]
    NotDurable(Reason),
    /// The rows may be committed or not: the connection ended before the server's answer.
    #[error("the outcome of the commit is unknown: {0}")]
    UnknownOutcome(Reason),
    /// Nothing was written: whether the events repeat others, which the source does not store twice,
    /// cannot be told now.
    #[error("cannot tell whether the events repeat others: {0}")]
    Undecided(Reason),
    /// Nothing was written: no partition takes the source's rows now (SQLSTATE 23514).
    #[error("no partition takes rows of this source now")]
    NoPartition,
    /// Nothing was written: the database refuses the rows even in their quarantined form.
    #[error("the database refuses the rows in every form (SQLSTATE {})", .0.code())]
    Unacceptable(SqlState),
    /// Nothing was written: the ingester is stopping.
    #[error("the ingester is stopping")]
    Stopping,
}

impl CommitError {
    /// Whether the rows may have been committed all the same, so that a retry may store them twice.
    #[must_use]
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }

    /// A short, fixed name for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::NotDurable(_) => "not_durable",
            Self::UnknownOutcome(_) => "unknown_outcome",
            Self::Undecided(_) => "undecided",
            Self::NoPartition => "no_partition",
            Self::Unacceptable(_) => "unacceptable",
            Self::Stopping => "stopping",
        }
    }
}
