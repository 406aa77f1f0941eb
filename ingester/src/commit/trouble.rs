//! What a flight has come to.

use tokio_postgres::error::SqlState;
use trunkline_model::repeats::bucket_of_index;

use super::error::Reason;
use super::failure::{Failure, Fault, ServerError};
use super::store::{StoreError, Stored};
use super::wire::Reply;
use crate::rows::Mark;

const NOT_COMMITTED: &str = "the server did not say that it committed";
const WARNED: &str =
    "the server warned while it committed; a synchronous standby may lack the rows";

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

/// Why keys could not be taken. What concerns the keys alone (another commit that holds some and does
/// not end, a function or a table that is not there, a right that is missing) is no trouble of the rows
/// without keys.
pub(super) fn undecided(error: &ServerError) -> StoreError {
    let reason = || error.to_string().into();
    let names_what_is_missing = error.code.code().starts_with("42");
    match Fault::of(error) {
        _ if error.is_fatal => StoreError::Barred(reason()),
        _ if names_what_is_missing || error.code == SqlState::LOCK_NOT_AVAILABLE => {
            StoreError::Undecided(reason())
        }
        Fault::Row => StoreError::Undecided(reason()),
        Fault::Passing => StoreError::Refused(reason()),
        Fault::Server => StoreError::Barred(reason()),
    }
}

/// Whether the server has said that it committed a transaction in which nothing was to be stored.
pub(super) fn vouch_for_nothing(reply: &Reply) -> Result<(), StoreError> {
    match (reply.committed, reply.warned) {
        (true, false) => Ok(()),
        (true, true) => Err(StoreError::Doubtful(WARNED.into())),
        (false, _) => Err(StoreError::Doubtful(NOT_COMMITTED.into())),
    }
}

/// Whether the server has said that it committed all of what it was sent.
pub(super) fn vouch(reply: &Reply, sent: usize) -> Result<(), StoreError> {
    let doubt = if !reply.committed {
        NOT_COMMITTED
    } else if reply.warned_at_commit {
        WARNED
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
        ..Stored::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_keys_alone_leaves_the_others_as_they_are() {
        for code in ["55P03", "42883", "42501", "42P01", "23514"] {
            let found = undecided(&ServerError::coded(code));
            assert!(matches!(found, StoreError::Undecided(_)), "{code}");
        }
        for code in ["53100", "40P01", "57014"] {
            let found = undecided(&ServerError::coded(code));
            assert!(matches!(found, StoreError::Refused(_)), "{code}");
        }
        for code in ["25006", "57P01", "XX000"] {
            let found = undecided(&ServerError::coded(code));
            assert!(matches!(found, StoreError::Barred(_)), "{code}");
        }
        let fatal = ServerError {
            is_fatal: true,
            ..ServerError::coded("42501")
        };
        assert!(matches!(undecided(&fatal), StoreError::Barred(_)));
    }

    #[test]
    fn a_commit_of_nothing_is_vouched_for_by_its_tag_and_no_warning() {
        let reply = |committed, warned| Reply {
            committed,
            warned,
            ..Reply::default()
        };
        assert_eq!(vouch_for_nothing(&reply(true, false)), Ok(()));
        for (committed, warned) in [(true, true), (false, false)] {
            let doubt = vouch_for_nothing(&reply(committed, warned));
            assert!(matches!(doubt, Err(StoreError::Doubtful(_))));
        }
    }
}
