//! From encoded rows to a durable COMMIT.
//!
//! Deliveries wait in two lanes, small and large, so that a batch of 4 MB never stalls a single
//! event. Writers, each a thread with one connection, take what has gathered and commit it in one
//! flight; sources take turns in it, so that none has to wait for what another has sent.
//!
//! Invariants: `Ok` means committed, durably, and visible. A delivery is stored whole or not at
//! all; of a source that stores no repeats, that is but for those. While the database cannot take writes, deliveries are refused at once. Nothing here is
//! ever retried after it may have been committed.

mod batch;
mod error;
mod failure;
mod isolate;
mod login;
mod metrics;
mod pace;
mod queue;
mod repeats;
mod roster;
mod session;
mod settings;
mod state;
mod statements;
mod store;
mod trouble;
mod turns;
mod unseen;
mod wire;
mod writer;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use trunkline_pgconn::Target;

use crate::rows::EncodedRows;
use queue::{Delivery, Lane};
use roster::Roster;
use state::Board;
use turns::BatchLimits;
use writer::{Orders, Role, Writer};

pub use error::{CommitError, Reason};
pub use metrics::CommitMetrics;
pub use queue::Committed;
pub(crate) use session::Session;
pub use settings::{ServerSettings, SynchronousCommit};
pub use state::DatabaseState;

/// Deliveries of more encoded bytes than this take the large lane.
const LARGE_DELIVERY_BYTES: usize = 256 << 10;

/// A commit of small deliveries while one source alone sends: about a hundred milliseconds of the
/// database's work. While several do, [`pace`] keeps commits shorter.
const SMALL_BATCH: BatchLimits = BatchLimits {
    rows: 5_000,
    bytes: 4 << 20,
};

/// A commit of large deliveries: mostly one, since one is enough to make its fsync cheap.
const LARGE_BATCH: BatchLimits = BatchLimits {
    rows: 5_000,
    bytes: 1 << 20,
};

/// What a source may add to a commit of small deliveries before the next has its turn: ten events
/// or so, so that even the shortest commit has turns of several sources.
const SMALL_QUANTUM: usize = 16 << 10;

/// The same of large deliveries.
const LARGE_QUANTUM: usize = 512 << 10;

/// Pause before a writer that panicked runs again.
const PANIC_PAUSE: Duration = Duration::from_millis(250);

/// The way to the database.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    threads: TaskTracker,
}

/// What the writers share.
pub(crate) struct Shared {
    small: Arc<Lane>,
    large: Arc<Lane>,
    roster: Roster,
    board: Board,
    orders: watch::Sender<Orders>,
    metrics: CommitMetrics,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("orders", &*self.orders.borrow())
            .finish_non_exhaustive()
    }
}

impl Committer {
    /// Starts `writers` writers for small deliveries and one for large ones, and returns before
    /// they have connected: see [`Committer::state`].
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(target: Target, writers: usize, metrics: CommitMetrics) -> io::Result<Self> {
        let orders = Orders {
            target: Arc::new(target),
            is_stopping: false,
        };
        let shared = Arc::new(Shared {
            small: Arc::new(Lane::new(SMALL_BATCH, SMALL_QUANTUM)),
            large: Arc::new(Lane::new(LARGE_BATCH, LARGE_QUANTUM)),
            roster: Roster::default(),
            board: Board::new(),
            orders: watch::Sender::new(orders),
            metrics,
        });
        let committer = Self {
            shared,
            threads: TaskTracker::new(),
        };
        committer.spawn(Role::Large)?;
        committer.resize(writers)?;
        Ok(committer)
    }

    /// Commits a delivery's rows. `guard` is dropped once the delivery is answered and its memory
    /// free, also when this future has been dropped meanwhile.
    ///
    /// A caller that gives up drops the future: a delivery that has not been sent by then is not
    /// written; one that is in flight may be.
    ///
    /// # Errors
    /// [`CommitError`] says why the rows cannot be acknowledged.
    pub async fn commit(
        &self,
        rows: EncodedRows,
        guard: impl Send + 'static,
    ) -> Result<Committed, CommitError> {
        if rows.is_empty() {
            return Ok(Committed::default());
        }
        let is_large = rows.bytes().len() > LARGE_DELIVERY_BYTES;
        let lane = if is_large {
            &self.shared.large
        } else {
            &self.shared.small
        };
        let (delivery, answered) = Delivery::new(rows, Box::new(guard));
        lane.push(delivery);
        let answer = answered.await.unwrap_or_else(|_| {
            Err(CommitError::UnknownOutcome(
                "the writer ended without an answer".into(),
            ))
        });
        if let Err(error) = &answer {
            self.shared.metrics.refused(error);
        }
        answer
    }

    /// What is known of the database, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DatabaseState> {
        self.shared.board.subscribe()
    }

    /// Whether a database that takes commits has been reached since the start, for small deliveries
    /// and for large ones: before that, a first delivery would be refused.
    #[must_use]
    pub fn has_reached_database(&self) -> bool {
        let shared = &self.shared;
        shared.board.has_reached() && shared.small.has_served() && shared.large.has_served()
    }

    /// A number that is another whenever the database may be another: one that is configured anew, or
    /// one that takes commits again after an outage, from whose end it may be a standby or a backup.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.shared.board.era()
    }

    /// Moves to another database or another number of writers (at least one). Commits in flight
    /// end first; what waits meanwhile goes to the new connections.
    ///
    /// # Errors
    /// When a thread cannot be started; the writers that run then go on.
    pub fn reconfigure(&self, target: Target, writers: usize) -> io::Result<()> {
        self.shared.orders.send_if_modified(|orders| {
            let is_new = *orders.target != target;
            if is_new {
                orders.target = Arc::new(target);
                self.shared.board.begin_era();
            }
            is_new
        });
        self.resize(writers)
    }

    /// Takes no new deliveries, commits those that wait, and ends the writers. What is left at the
    /// deadline is refused.
    pub async fn stop(&self, deadline: Duration) {
        self.order_stop();
        self.threads.close();
        if tokio::time::timeout(deadline, self.threads.wait())
            .await
            .is_err()
        {
            self.shared.small.refuse_all(&CommitError::Stopping);
            self.shared.large.refuse_all(&CommitError::Stopping);
        }
    }

    fn order_stop(&self) {
        self.shared.small.close();
        self.shared.large.close();
        self.shared
            .orders
            .send_modify(|orders| orders.is_stopping = true);
    }

    fn resize(&self, writers: usize) -> io::Result<()> {
        for number in self.shared.roster.resize(writers.max(1)) {
            self.spawn(Role::Small(number))
                .inspect_err(|_| self.shared.roster.missing(number))?;
        }
        // An idle writer that is one too many sees it now.
        self.shared.orders.send_modify(|_| {});
        Ok(())
    }

    fn spawn(&self, role: Role) -> io::Result<()> {
        let name = match role {
            Role::Small(number) => format!("writer-{number}"),
            Role::Large => "writer-large".to_owned(),
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::clone(&self.shared);
        let token = self.threads.token();
        thread::Builder::new()
            .name(name)
            .spawn(move || run(role, &shared, runtime, token))?;
        Ok(())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.order_stop();
    }
}

/// The body of a writer's thread. After a panic the writer begins anew: its deliveries have been
/// answered by then, because dropping one answers it.
fn run(role: Role, shared: &Arc<Shared>, runtime: runtime::Runtime, token: TaskTrackerToken) {
    loop {
        let writer = Writer::new(role, shared);
        if catch_unwind(AssertUnwindSafe(|| runtime.block_on(writer.run()))).is_ok() {
            break;
        }
        tracing::error!(?role, "writer panicked; this is a defect, please report it");
        thread::sleep(PANIC_PAUSE);
    }
    // A name service that does not answer must not hold up the end.
    runtime.shutdown_background();
    drop(token);
}
