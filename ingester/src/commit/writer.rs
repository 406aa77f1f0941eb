//! A writer: a thread with one session, which commits what waits in its lane.
//!
//! A writer takes what gathered while its last commit ran, so that batches grow with the load and a
//! lone delivery never waits for company.
//!
//! Invariants: a writer serves its lane only while it has a session that keeps what it commits, and
//! for a moment (`PATIENCE`) after it has lost one. Nothing is committed twice by us: what was in
//! flight on a lost session is answered, never repeated.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use trunkline_pgconn::Target;

use super::Shared;
use super::batch::{Health, deliver};
use super::error::{CommitError, Reason};
use super::failure::Failure;
use super::pace::Pace;
use super::queue::{Lane, Place};
use super::session::{OpenError, Session};
use super::state::WriterState;
use super::turns::Weighed;

/// How long deliveries may wait for a lost session to be replaced before they are refused. A
/// server that has ended one session (an administrator, PgBouncer) mostly gives another in a few
/// milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// Pause between attempts to connect, with jitter, so that the writers of many pods do not meet a
/// returning server at once.
const RETRY_MILLIS: std::ops::Range<u64> = 100..250;

/// The same when the server has answered that it will not have us.
const SETTLED_RETRY_MILLIS: std::ops::Range<u64> = 700..1_300;

/// How often a server that takes commits is asked for its settings.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The same while something is wrong with it.
const TROUBLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What a writer is told to do.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    pub(super) target: Arc<Target>,
    /// Commit what waits, take nothing new, end.
    pub(super) is_stopping: bool,
}

/// Which writer this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One of those that commit small deliveries, by its number.
    Small(usize),
    /// The one that commits large deliveries.
    Large,
}

pub(super) struct Writer {
    role: Role,
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    orders: watch::Receiver<Orders>,
    /// While it serves its lane.
    place: Option<Place>,
    pace: Pace,
}

/// Why a session is no longer served.
enum End {
    /// The writer is told to end.
    Leave(Session),
    /// The database is another one now.
    Moved(Session),
    /// The session broke or cannot be trusted.
    Broken,
}

impl Writer {
    pub(super) fn new(role: Role, shared: &Arc<Shared>) -> Self {
        let lane = match role {
            Role::Small(_) => &shared.small,
            Role::Large => &shared.large,
        };
        Self {
            role,
            shared: Arc::clone(shared),
            lane: Arc::clone(lane),
            orders: shared.orders.subscribe(),
            place: None,
            pace: Pace::new(),
        }
    }

    /// Runs until told to end.
    pub(super) async fn run(mut self) {
        while let Some((session, target)) = self.connect().await {
            match self.serve(session, &target).await {
                End::Leave(session) => {
                    self.leave();
                    session.close().await;
                    return;
                }
                End::Moved(session) => session.close().await,
                End::Broken => {}
            }
        }
        self.leave();
    }

    /// Takes back its promises. Another writer may get the same number from here on.
    fn leave(&mut self) {
        self.place = None;
        self.report(None);
    }

    /// Connects, however long it takes. `None` when told to end meanwhile.
    async fn connect(&mut self) -> Option<(Session, Arc<Target>)> {
        loop {
            if self.must_leave() {
                return None;
            }
            let target = Arc::clone(&self.orders.borrow_and_update().target);
            match self.attempt(&target).await {
                Attempt::Made(session) => {
                    self.shared.metrics.connected();
                    return Some((session, target));
                }
                Attempt::OrdersChanged => {}
                Attempt::Failed(error) => {
                    self.shared.metrics.connection_failed();
                    self.stand_back(Trouble::Unavailable(error.reason.into()));
                    let pause = if error.is_settled {
                        SETTLED_RETRY_MILLIS
                    } else {
                        RETRY_MILLIS
                    };
                    let pause = Duration::from_millis(rand::rng().random_range(pause));
                    // Orders end the pause, too.
                    let _ = timeout(pause, self.orders.changed()).await;
                }
            }
        }
    }

    async fn attempt(&mut self, target: &Arc<Target>) -> Attempt {
        let mut opening = std::pin::pin!(Session::open(target));
        let patience = sleep(PATIENCE);
        let mut patience = std::pin::pin!(patience);
        loop {
            tokio::select! {
                opened = &mut opening => {
                    return opened.map_or_else(Attempt::Failed, Attempt::Made);
                }
                // An error means that nobody is left to give orders, which `must_leave` sees.
                _ = self.orders.changed() => return Attempt::OrdersChanged,
                () = &mut patience, if self.place.is_some() => {
                    let reason = format!("no connection within {} ms", PATIENCE.as_millis());
                    self.stand_back(Trouble::Unavailable(reason.into()));
                }
            }
        }
    }

    /// Commits what comes until the session or the writer ends.
    async fn serve(&mut self, mut session: Session, target: &Arc<Target>) -> End {
        let mut next_check = Instant::now() + CHECK_INTERVAL;
        let mut failing: Option<Reason> = None;
        loop {
            if self.must_leave() {
                return End::Leave(session);
            }
            if !Arc::ptr_eq(target, &self.orders.borrow_and_update().target) {
                return End::Moved(session);
            }
            if Instant::now() >= next_check {
                if let Err(failure) = session.check().await {
                    return self.broken(&failure);
                }
                failing = None;
                next_check = Instant::now() + CHECK_INTERVAL;
            }
            if session.settings().fsync {
                self.step_up(&session, failing.as_ref());
                let batch = self.lane.take(self.pace.bytes());
                if !batch.is_empty() {
                    let bytes = batch.iter().map(Weighed::bytes).sum();
                    let begun = Instant::now();
                    match deliver(&mut session, batch, &self.shared.metrics).await {
                        Health::Good => {
                            self.pace.committed(bytes, begun.elapsed());
                            failing = None;
                        }
                        Health::Failing(reason) => {
                            failing = Some(reason);
                            next_check = Instant::now() + TROUBLE_CHECK_INTERVAL;
                        }
                        Health::Ended { reason, is_silent } => {
                            if is_silent {
                                self.stand_back(Trouble::Unavailable(reason));
                            }
                            return End::Broken;
                        }
                    }
                    continue;
                }
            } else {
                let reason = "fsync is off, so a crash takes acknowledged rows; set fsync = on";
                self.stand_back(Trouble::NotDurable(reason.into()));
                next_check = next_check.min(Instant::now() + TROUBLE_CHECK_INTERVAL);
            }
            tokio::select! {
                () = self.lane.arrival(), if self.place.is_some() => {}
                failure = session.ended() => return self.broken(&failure),
                _ = self.orders.changed() => {}
                () = sleep_until(next_check) => {}
            }
        }
    }

    /// Gives up a session that failed while it was idle.
    fn broken(&mut self, failure: &Failure) -> End {
        if matches!(failure, Failure::Deadline(_)) {
            self.stand_back(Trouble::Unavailable(failure.to_string().into()));
        }
        End::Broken
    }

    fn must_leave(&self) -> bool {
        if self.orders.borrow().is_stopping && (self.place.is_none() || self.lane.is_empty()) {
            return true;
        }
        match self.role {
            Role::Small(number) => self.shared.roster.retire(number),
            Role::Large => false,
        }
    }

    /// Takes part in the lane.
    fn step_up(&mut self, session: &Session, failing: Option<&Reason>) {
        self.place.get_or_insert_with(|| Place::new(&self.lane));
        self.report(Some(match failing {
            None => WriterState::Ready(session.settings()),
            Some(reason) => WriterState::Unavailable(Arc::clone(reason)),
        }));
    }

    /// Takes no part in the lane. When nobody else does, what waits is refused.
    fn stand_back(&mut self, trouble: Trouble) {
        let (refusal, state) = match trouble {
            Trouble::Unavailable(reason) => (
                CommitError::Unavailable(reason.clone()),
                WriterState::Unavailable(reason),
            ),
            Trouble::NotDurable(reason) => (
                CommitError::NotDurable(reason.clone()),
                WriterState::NotDurable(reason),
            ),
        };
        self.lane.set_refusal(refusal);
        self.place = None;
        self.report(Some(state));
    }

    /// The state of the database is that of the small lane.
    fn report(&self, found: Option<WriterState>) {
        if let Role::Small(number) = self.role {
            self.shared.board.set(number, found);
        }
    }
}

enum Attempt {
    Made(Session),
    Failed(OpenError),
    OrdersChanged,
}

/// Why a writer does not serve.
enum Trouble {
    Unavailable(Reason),
    NotDurable(Reason),
}
