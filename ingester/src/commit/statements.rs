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

/// How long a transaction that has taken keys may wait for its rows, in milliseconds, before the server
/// gives it up: above our own deadline for the whole, so that it happens only where the ingester is
/// gone without a word.
const IDLE_TIMEOUT_MS: u32 = 5_000;

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

/// Whether a flight begins its transaction, or goes on in one that [`Statements::taking`] has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It begins one.
    New,
    /// It goes on.
    Open,
}

/// The Queries, for a server's settings.
#[derive(Debug)]
pub(super) struct Statements {
    commit: String,
    marked: String,
    unsettled: String,
    probe: String,
    check: String,
    take: String,
    rest: Rest,
}

/// What comes after the keys were taken.
#[derive(Debug)]
struct Rest {
    commit: String,
    marked: String,
    unsettled: String,
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
            take: format!(
                "{}SET LOCAL idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}; ",
                bounded(LOCK_TIMEOUT_MS)
            ),
            rest: Rest {
                commit: format!("{plain}; COMMIT"),
                marked: format!("{marking}; COMMIT"),
                unsettled: format!("SET LOCAL lock_timeout TO DEFAULT; {marking}; COMMIT"),
            },
        }
    }

    /// The Query of a flight. Probes and checks take no keys.
    pub(super) fn of(&self, flight: Flight, start: Start) -> &str {
        match (flight, start) {
            (Flight::Commit, Start::New) => &self.commit,
            (Flight::Marked, Start::New) => &self.marked,
            (Flight::Unsettled, Start::New) => &self.unsettled,
            (Flight::Commit, Start::Open) => &self.rest.commit,
            (Flight::Marked, Start::Open) => &self.rest.marked,
            (Flight::Unsettled, Start::Open) => &self.rest.unsettled,
            (Flight::Probe, _) => &self.probe,
            (Flight::Check, _) => &self.check,
        }
    }

    /// The Query that begins a commit by a question that takes keys, and leaves it open.
    pub(super) fn taking(&self, question: &str) -> String {
        format!("{}{question}", self.take)
    }
}

/// The Query that asks something and changes nothing.
pub(super) fn asking(questions: &str) -> String {
    format!("BEGIN READ ONLY; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; {questions}COMMIT")
}

#[cfg(test)]
mod tests {
    use super::super::settings::SynchronousCommit;
    use super::*;

    fn statements() -> Statements {
        Statements::new(ServerSettings {
            version_num: 150_004,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: SynchronousCommit::Off,
        })
    }

    #[test]
    fn a_commit_is_one_query_that_sets_what_it_needs_for_itself_alone() {
        assert_eq!(
            statements().of(Flight::Commit, Start::New),
            format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; \
                 SET LOCAL lock_timeout = 500; {}; COMMIT",
                copy_statement()
            )
        );
    }

    #[test]
    fn where_keys_are_taken_it_is_two_and_the_first_has_all_settings() {
        let statements = statements();
        assert_eq!(
            statements.taking("SELECT 1"),
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; \
             SET LOCAL lock_timeout = 500; SET LOCAL idle_in_transaction_session_timeout = 5000; \
             SELECT 1"
        );
        for (flight, copy) in [
            (Flight::Commit, copy_statement()),
            (Flight::Marked, marking_copy_statement()),
        ] {
            let rest = statements.of(flight, Start::Open);
            assert_eq!(rest, format!("{copy}; COMMIT"));
            assert!(statements.of(flight, Start::New).ends_with(rest));
        }
        // As much patience as in a transaction that sets none.
        assert_eq!(
            statements.of(Flight::Unsettled, Start::Open),
            format!(
                "SET LOCAL lock_timeout TO DEFAULT; {}; COMMIT",
                marking_copy_statement()
            )
        );
    }
}
