//! What a flight has come to.

use tokio_postgres::error::SqlState;
use trunkline_model::repeats::bucket_of_index;

use super::error::Reason;
use super::failure::{Failure, Fault, ServerError};
use super::store::{StoreError, Stored};
use super::wire::Reply;
use crate::rows::Mark;

/// Why a flight did not commit.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A row repeats what is there, in this bucket; or two commits with the same rows were in each
    /// other's way.
    Repeat(Option<i32>),
    /// Others hold a lock.
    Blocked(Reason),
    /// Neither.
    Store(StoreError),
}

impl Trouble {
    pub(super) fn of(error: &ServerError) -> Self {
        let bucket = error.constraint.as_deref().and_then(bucket_of_index);
        match error.code {
            SqlState::UNIQUE_VIOLATION if bucket.is_some() => Self::Repeat(bucket),
            SqlState::T_R_DEADLOCK_DETECTED => Self::Repeat(None),
            SqlState::LOCK_NOT_AVAILABLE => Self::Blocked(error.to_string().into()),
            _ => Self::Store(match Fault::of(error) {
                Fault::Row => StoreError::Rows(error.code.clone()),
                Fault::Passing => StoreError::Refused(error.to_string().into()),
                Fault::Server => StoreError::Barred(error.to_string().into()),
            }),
        }
    }

    /// Where no other flight can help.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Repeat(_) => StoreError::Refused("other commits are in the way".into()),
            Self::Blocked(reason) => StoreError::Refused(reason),
            Self::Store(error) => error,
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The session is not to be used again.
pub(super) fn lost(failure: &Failure) -> StoreError {
    StoreError::Lost {
        reason: failure.to_string().into(),
        is_silent: matches!(failure, Failure::Deadline(_)),
    }
}

/// Whether the server has said that it committed all of what it was sent.
pub(super) fn vouch(reply: &Reply, sent: usize) -> Result<(), StoreError> {
    let doubt = if !reply.committed {
        "the server did not say that it committed"
    } else if reply.warned_at_commit {
        "the server warned while it committed; a synchronous standby may lack the rows"
    } else if reply.copied != u64::try_from(sent).ok() {
        "the server kept fewer rows than it was sent; drop the triggers and rules of \
         trunkline.events"
    } else {
        return Ok(());
    };
    Err(StoreError::Doubtful(doubt.into()))
}

/// The same of rows with marks.
pub(super) fn vouched(reply: &Reply, rows: &[(&[u8], Mark)]) -> Result<Stored, StoreError> {
    let count = |wanted| rows.iter().filter(|(_, mark)| *mark == wanted).count();
    vouch(reply, rows.len()).map(|()| Stored {
        repeats: count(Mark::Repeat),
        unsettled: count(Mark::Unsettled),
    })
}
