//! The Queries of a session: what stands around a COPY.

use super::settings::ServerSettings;
use crate::rows::{copy_statement, marking_copy_statement};

/// How long a commit waits for a lock, in milliseconds: above all for another commit's entry in a
/// unique index. Whoever made it may be a pod whose node is gone, and whose transaction the server
/// will not give up for hours.
const LOCK_TIMEOUT_MS: u32 = 500;

/// How long a probe waits for a lock on the parent, in milliseconds: less than any deadline of
/// ours, so that the owner reads of a lock and not of a server that does not answer.
const PROBE_LOCK_TIMEOUT_MS: u32 = 1_000;

/// Which Query a flight begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flight {
    /// COPY and COMMIT.
    Commit,
    /// The same of rows with marks.
    Marked,
    /// The same with patience: nothing of it is in another commit's way.
    Unsettled,
    /// COPY of rows with marks, and ROLLBACK.
    Probe,
    /// COPY as of a commit, and ROLLBACK.
    Check,
}

/// The Queries, for a server's settings.
#[derive(Debug)]
pub(super) struct Statements {
    commit: String,
    marked: String,
    unsettled: String,
    probe: String,
    check: String,
}

impl Statements {
    /// The isolation level is set because a database's default of `serializable` would cost much and
    /// gain nothing for a transaction that only adds rows.
    pub(super) fn new(settings: ServerSettings) -> Self {
        let level = settings.synchronous_commit.of_commits().as_str();
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = {level}; "
        );
        let (plain, marking) = (copy_statement(), marking_copy_statement());
        let bounded = |millis| format!("{begin}SET LOCAL lock_timeout = {millis}; ");
        Self {
            commit: format!("{}{plain}; COMMIT", bounded(LOCK_TIMEOUT_MS)),
            marked: format!("{}{marking}; COMMIT", bounded(LOCK_TIMEOUT_MS)),
            // The deadline of the commit bounds it.
            unsettled: format!("{begin}{marking}; COMMIT"),
            probe: format!("{}{marking}; ROLLBACK", bounded(PROBE_LOCK_TIMEOUT_MS)),
            check: format!("{}{plain}; ROLLBACK", bounded(PROBE_LOCK_TIMEOUT_MS)),
        }
    }

    pub(super) fn of(&self, flight: Flight) -> &str {
        match flight {
            Flight::Commit => &self.commit,
            Flight::Marked => &self.marked,
            Flight::Unsettled => &self.unsettled,
            Flight::Probe => &self.probe,
            Flight::Check => &self.check,
        }
    }
}

/// The Query that asks something and changes nothing.
pub(super) fn asking(questions: &str) -> String {
    format!("BEGIN READ ONLY; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; {questions}COMMIT")
}
