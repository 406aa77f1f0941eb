//! [`Sender`]: a plan, run.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::producer::produce;
use super::progress::Counters;
use super::report::Report;
use super::request::{Outcome, SentRequest};
use super::worker::{Shared, work};

/// Learns of every request after its end, on the task of the worker that sent it.
pub(super) type Observer = dyn Fn(&SentRequest, &Outcome) + Send + Sync;

/// How many events may be made ahead of the connections, in whole requests.
const EVENTS_AHEAD: usize = 512;

/// Sends what a plan says.
pub struct Sender {
    plan: Plan,
    counters: Arc<Counters>,
    observer: Option<Arc<Observer>>,
}

impl Sender {
    /// Takes a plan; nothing is sent yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            counters: Arc::default(),
            observer: None,
        }
    }

    /// Calls `observer` with every request and what became of it. It delays the connection that it
    /// is called from, so it should only take notes.
    #[must_use]
    pub fn observe(
        mut self,
        observer: impl Fn(&SentRequest, &Outcome) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Counters that move while [`Sender::run`] runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Sends everything, or what it comes to until `stop` is cancelled: then no new request is sent
    /// and those under way are waited for.
    pub async fn run(self, stop: CancellationToken) -> Report {
        let Self {
            plan,
            counters,
            observer,
        } = self;
        let ahead = EVENTS_AHEAD / plan.batch.map_or(1, std::num::NonZero::get);
        let (sender, queue) = mpsc::channel(ahead.max(plan.concurrency.get()));
        let (concurrency, seed, count) = (plan.concurrency.get(), plan.seed, plan.count);
        let target = plan.target.clone();
        let producer = tokio::task::spawn_blocking(move || produce(&plan, &sender));
        let start = Instant::now();
        let shared = Arc::new(Shared {
            target,
            queue: Mutex::new(queue),
            start,
            stop,
            counters,
            tally: Default::default(),
            observer,
        });
        let mut workers: JoinSet<()> = (0..concurrency)
            .map(|_| work(Arc::clone(&shared)))
            .collect();
        while let Some(ended) = workers.join_next().await {
            // A worker fails only by a panic of the observer, which a test must not miss.
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let elapsed = start.elapsed();
        let total = std::mem::take(&mut *shared.tally());
        // Closes the queue, which ends the producer.
        drop(shared);
        // It has no result, and a panic of its own has been printed.
        let _ = producer.await;
        let interrupted = total.events < count;
        Report::new(total, elapsed, seed, interrupted)
    }
}
