//! What is known of the database, for readiness, conditions and the log.
//!
//! The log tells changes of the whole, never the attempts of single writers: an outage is two lines
//! however long it lasts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tracing::{info, warn};

use super::error::Reason;
use super::settings::{ServerSettings, SynchronousCommit};

/// The database as the writers of small deliveries see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseState {
    /// No attempt to connect has ended yet.
    Connecting,
    /// At least one writer commits to it.
    Ready(ServerSettings),
    /// No writer does.
    Unavailable {
        /// What the last attempt met.
        reason: Reason,
        /// Since when.
        since: SystemTime,
    },
    /// It can be reached, but a crash could take what it acknowledges; every delivery is refused.
    NotDurable {
        /// Which setting, and how to mend it.
        reason: Reason,
        /// Since when.
        since: SystemTime,
    },
}

/// What one writer has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriterState {
    Ready(ServerSettings),
    Unavailable(Reason),
    NotDurable(Reason),
}

/// Puts the writers' findings together.
pub(super) struct Board {
    /// By the writer's number.
    writers: Mutex<BTreeMap<usize, WriterState>>,
    state: watch::Sender<DatabaseState>,
    has_reached: AtomicBool,
    era: AtomicU64,
}

impl Board {
    pub(super) fn new() -> Self {
        Self {
            writers: Mutex::default(),
            state: watch::Sender::new(DatabaseState::Connecting),
            has_reached: AtomicBool::new(false),
            era: AtomicU64::new(0),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<DatabaseState> {
        self.state.subscribe()
    }

    /// Whether a connection that takes commits has ever been made.
    pub(super) fn has_reached(&self) -> bool {
        self.has_reached.load(Ordering::Acquire)
    }

    /// See [`super::Committer::era`].
    pub(super) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// The database is another from now on, or may be.
    pub(super) fn begin_era(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
    }

    /// Writes down what a writer has found; `None` when the writer has ended.
    pub(super) fn set(&self, writer: usize, found: Option<WriterState>) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if writers.get(&writer) == found.as_ref() {
            return;
        }
        match found {
            Some(found) => writers.insert(writer, found),
            None => writers.remove(&writer),
        };
        // Under the lock, so that states are published in the order in which they were found.
        self.state.send_if_modified(|state| {
            let Some(next) = summarise(writers.values(), state) else {
                return false;
            };
            if matches!(next, DatabaseState::Ready(_)) {
                self.has_reached.store(true, Ordering::Release);
                if !matches!(state, DatabaseState::Ready(_)) {
                    self.begin_era();
                }
            }
            log(state, &next);
            *state = next;
            true
        });
    }
}

/// The state that follows from the writers' findings, when it differs from `current`.
fn summarise<'a>(
    writers: impl Iterator<Item = &'a WriterState>,
    current: &DatabaseState,
) -> Option<DatabaseState> {
    // One writer that commits is enough; without one, a fault of the settings tells more than a
    // lack of connections.
    let rank = |found: &&WriterState| match found {
        WriterState::Ready(_) => 2,
        WriterState::NotDurable(_) => 1,
        WriterState::Unavailable(_) => 0,
    };
    let since = match current {
        DatabaseState::Unavailable { since, .. } | DatabaseState::NotDurable { since, .. } => {
            *since
        }
        DatabaseState::Connecting | DatabaseState::Ready(_) => SystemTime::now(),
    };
    let next = match writers.max_by_key(rank)?.clone() {
        WriterState::Ready(settings) => DatabaseState::Ready(settings),
        WriterState::Unavailable(reason) => DatabaseState::Unavailable { reason, since },
        WriterState::NotDurable(reason) => DatabaseState::NotDurable { reason, since },
    };
    (next != *current).then_some(next)
}

fn log(before: &DatabaseState, after: &DatabaseState) {
    match after {
        DatabaseState::Connecting => {}
        DatabaseState::Ready(settings) => {
            if !matches!(before, DatabaseState::Ready(_)) {
                info!(
                    server_version = settings.version_num,
                    "database takes commits"
                );
            }
            let weaker = |before: &DatabaseState| match before {
                DatabaseState::Ready(before) => before.synchronous_commit < SynchronousCommit::On,
                _ => false,
            };
            if weaker(after) && !weaker(before) {
                warn!(
                    synchronous_commit = settings.synchronous_commit.as_str(),
                    "server would acknowledge before a commit is durable; each commit sets \
                     synchronous_commit = on"
                );
            }
            if !settings.full_page_writes {
                warn!(
                    "server has full_page_writes = off; a crash can damage pages unless its file \
                     system never tears them"
                );
            }
        }
        DatabaseState::Unavailable { reason, .. } => {
            if !matches!(before, DatabaseState::Unavailable { .. }) {
                warn!(%reason, "database is unavailable; deliveries are refused until it is back");
            }
        }
        DatabaseState::NotDurable { reason, .. } => {
            warn!(%reason, "database is not durable; deliveries are refused until it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(version_num: u32) -> ServerSettings {
        ServerSettings {
            version_num,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: SynchronousCommit::On,
        }
    }

    #[test]
    fn one_writer_that_commits_makes_the_database_ready() {
        let board = Board::new();
        let state = board.subscribe();
        board.set(0, Some(WriterState::Unavailable("refused".into())));
        assert!(matches!(*state.borrow(), DatabaseState::Unavailable { .. }));
        assert!(!board.has_reached());
        board.set(1, Some(WriterState::Ready(settings(1))));
        assert_eq!(*state.borrow(), DatabaseState::Ready(settings(1)));
        board.set(1, Some(WriterState::NotDurable("fsync".into())));
        assert!(matches!(*state.borrow(), DatabaseState::NotDurable { .. }));
        board.set(1, None);
        assert!(matches!(*state.borrow(), DatabaseState::Unavailable { .. }));
        assert!(board.has_reached());
    }

    #[test]
    fn an_era_begins_when_commits_are_taken_again() {
        let board = Board::new();
        assert_eq!(board.era(), 0);
        for era in 1..4 {
            board.set(0, Some(WriterState::Ready(settings(1))));
            board.set(1, Some(WriterState::Ready(settings(2))));
            assert_eq!(board.era(), era);
            board.set(0, Some(WriterState::Unavailable("refused".into())));
            assert_eq!(board.era(), era, "one writer still commits");
            board.set(1, None);
            board.set(0, Some(WriterState::NotDurable("fsync".into())));
            assert_eq!(board.era(), era);
        }
    }

    #[test]
    fn an_outage_keeps_its_beginning_while_its_reason_changes() {
        let board = Board::new();
        let state = board.subscribe();
        let since = |state: &DatabaseState| match state {
            DatabaseState::Unavailable { since, .. } => *since,
            other => panic!("{other:?}"),
        };
        board.set(0, Some(WriterState::Unavailable("refused".into())));
        let first = since(&state.borrow());
        board.set(0, Some(WriterState::Unavailable("starting up".into())));
        assert_eq!(since(&state.borrow()), first);
    }
}
