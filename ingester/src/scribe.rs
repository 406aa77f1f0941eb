//! Tasks that write what may wait, beside the commit path.
//!
//! Invariants: nobody waits for a scribe; it has a connection of its own, while it has something to
//! write. What could not be written goes back to its desk, so that an outage of the database costs
//! nothing. Between two statements there is a pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use trunkline_pgconn::Target;

use crate::commit::{Reason, Session};

/// Rows of one statement.
const MAX_ROWS: usize = 500;

/// Longest pause after a failure; the first is [`Desk::PACE`].
const LONGEST_PACE: Duration = Duration::from_secs(30);

/// How long a connection that nothing needs stays open: longer than the pause between two rows that
/// are written once a minute.
const IDLE: Duration = Duration::from_secs(90);

/// How long the last rows may take at the end.
const LAST_DEADLINE: Duration = Duration::from_millis(800);

/// Where notes wait, and what becomes of them.
pub(crate) trait Desk: Send + Sync + 'static {
    /// What becomes a row.
    type Note: Send + Sync;

    /// Pause after a statement.
    const PACE: Duration;

    /// Notified when a note may be due earlier than was said.
    fn wake(&self) -> &Notify;

    /// When the next note may be taken; None while nothing waits.
    fn next_due(&self) -> Option<Instant>;

    /// Takes up to `limit` notes that are due.
    fn take(&self, limit: usize) -> Vec<Self::Note>;

    /// Takes everything, for the last time.
    fn take_all(&self) -> Vec<Self::Note>;

    /// Takes back what could not be written.
    fn give_back(&self, notes: Vec<Self::Note>);

    /// Writes notes in one flight.
    fn statement(&self, notes: &[Self::Note]) -> String;

    /// They are in the database.
    fn written(&self, notes: &[Self::Note]);

    /// Nothing can be written since now.
    fn unwritten(&self, reason: &str);

    /// They will never be written.
    fn lost(&self, notes: &[Self::Note]);
}

/// The database that scribes write to.
#[derive(Debug)]
pub(crate) struct Destination(watch::Sender<Option<Arc<Target>>>);

impl Destination {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Writes to this database from now on.
    pub(crate) fn follow(&self, target: &Target) {
        self.0.send_if_modified(|current| {
            let is_new = current.as_deref() != Some(target);
            if is_new {
                *current = Some(Arc::new(target.clone()));
            }
            is_new
        });
    }
}

/// The running task. Dropping it ends it where it stands.
#[derive(Debug)]
pub(crate) struct Scribe {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Scribe {
    /// Starts the task.
    pub(crate) fn start(desk: impl Desk, destination: &Destination) -> Self {
        let stop = CancellationToken::new();
        let worker = Worker {
            desk,
            target: destination.0.subscribe(),
            taken: Vec::new(),
            way: Way {
                session: None,
                rows: MAX_ROWS,
            },
        };
        let task = tokio::spawn(worker.run(stop.clone()));
        Self {
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Writes what waits, within a second, and ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It only fails when the task has panicked, of which the log tells.
        let _ = self.task.await;
    }
}

struct Worker<D: Desk> {
    desk: D,
    target: watch::Receiver<Option<Arc<Target>>>,
    /// Taken from the desk and not written yet.
    taken: Vec<D::Note>,
    way: Way,
}

impl<D: Desk> Worker<D> {
    async fn run(mut self, stop: CancellationToken) {
        let mut pace = D::PACE;
        loop {
            let written = tokio::select! {
                () = stop.cancelled() => break,
                written = self.write_next() => written,
            };
            pace = match written {
                Ok(()) => D::PACE,
                Err(reason) => {
                    if pace == D::PACE {
                        self.desk.unwritten(&reason);
                    }
                    (pace * 2).min(LONGEST_PACE)
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pace) => {}
            }
        }
        self.write_last().await;
    }

    /// Waits for notes and writes them.
    async fn write_next(&mut self) -> Result<(), Reason> {
        let target = self.wait().await;
        self.taken = self.desk.take(self.way.rows);
        if self.taken.is_empty() {
            return Ok(());
        }
        let statement = self.desk.statement(&self.taken);
        let written = self.way.run(&target, &statement).await;
        let taken = std::mem::take(&mut self.taken);
        match written {
            Ok(()) => self.desk.written(&taken),
            Err(_) => self.desk.give_back(taken),
        }
        written
    }

    /// Waits until a note may be written and there is a database to write it to.
    async fn wait(&mut self) -> Arc<Target> {
        loop {
            let due = self.desk.next_due();
            let until = match due {
                Some(due) if due <= Instant::now() => break,
                Some(due) => due,
                None => Instant::now() + IDLE,
            };
            tokio::select! {
                () = self.desk.wake().notified() => {}
                () = sleep_until(until.into()) => if due.is_none() {
                    self.way.close().await;
                }
            }
        }
        let found = match self.target.wait_for(Option::is_some).await {
            Ok(target) => target.clone(),
            // Its sender lives as long as the ingester.
            Err(_) => None,
        };
        match found {
            Some(target) => target,
            None => std::future::pending().await,
        }
    }

    async fn write_last(&mut self) {
        let target = self.target.borrow().clone();
        // A write that the stop has cut short is done again: it may have come to nothing.
        let mut last = std::mem::take(&mut self.taken);
        last.extend(self.desk.take_all());
        let mut left = last.as_slice();
        if let Some(target) = target.filter(|_| !left.is_empty()) {
            let write = async {
                while !left.is_empty() {
                    let (rows, others) = left.split_at(left.len().min(MAX_ROWS));
                    let statement = self.desk.statement(rows);
                    if self.way.run(&target, &statement).await.is_err() {
                        break;
                    }
                    self.desk.written(rows);
                    left = others;
                }
                self.way.close().await;
            };
            // What has not been written by then is lost.
            let _ = timeout(LAST_DEADLINE, write).await;
        }
        if !left.is_empty() {
            self.desk.lost(left);
        }
    }
}

/// The way to the database: a session while there is something to write.
struct Way {
    session: Option<(Arc<Target>, Session)>,
    /// Rows that a statement may have: fewer after one that the server has refused, since one of its
    /// rows may be to blame.
    rows: usize,
}

impl Way {
    async fn run(&mut self, target: &Arc<Target>, statement: &str) -> Result<(), Reason> {
        let mut session = match self.session.take() {
            Some((known, session)) if Arc::ptr_eq(&known, target) => session,
            _ => Session::open(target)
                .await
                .map_err(|error| Reason::from(error.reason))?,
        };
        let ran = session.run(statement).await;
        match ran {
            Ok(()) => {
                self.rows = (self.rows * 2).min(MAX_ROWS);
                // Kept only after it has worked.
                self.session = Some((Arc::clone(target), session));
            }
            Err(_) => self.rows = (self.rows / 2).max(1),
        }
        ran
    }

    async fn close(&mut self) {
        if let Some((_, session)) = self.session.take() {
            session.close().await;
        }
    }
}
