//! Where deliveries wait for a writer.
//!
//! Invariants: while no writer serves a lane, nothing waits in it: what comes is refused at once
//! with the reason. Every delivery is answered, also when its writer panics (its answer is then an
//! unknown outcome).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::error::CommitError;
use crate::rows::EncodedRows;

/// Answer to a delivery.
pub(super) type Answer = Result<(), CommitError>;

/// The rows of one request on their way to a commit.
pub(super) struct Delivery {
    rows: EncodedRows,
    answer: oneshot::Sender<Answer>,
    /// What the caller wants to be kept until the delivery is answered: its share of a budget.
    guard: Box<dyn Send>,
}

impl Delivery {
    pub(super) fn new(
        rows: EncodedRows,
        guard: Box<dyn Send>,
    ) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        (
            Self {
                rows,
                answer,
                guard,
            },
            answered,
        )
    }

    pub(super) fn rows(&self) -> &EncodedRows {
        &self.rows
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    pub(super) fn answer(self, answer: Answer) {
        // An error means that the caller has gone.
        let _ = self.answer.send(answer);
        drop(self.guard);
    }
}

/// Bounds on what one commit takes. A delivery that alone exceeds them is taken alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// A queue with the writers that serve it.
pub(super) struct Lane {
    limits: BatchLimits,
    queue: Mutex<Queue>,
    arrival: Notify,
}

struct Queue {
    waiting: VecDeque<Delivery>,
    /// Writers that will take what waits.
    serving: usize,
    /// The answer while there are none.
    refusal: CommitError,
    /// Nothing new is taken; what waits is still committed.
    is_closed: bool,
}

impl Lane {
    pub(super) fn new(limits: BatchLimits) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            serving: 0,
            refusal: CommitError::Unavailable("no connection has been made yet".into()),
            is_closed: false,
        };
        Self {
            limits,
            queue: Mutex::new(queue),
            arrival: Notify::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a delivery wait, or answers it at once.
    pub(super) fn push(&self, delivery: Delivery) {
        let mut queue = self.queue();
        let refusal = if queue.is_closed {
            CommitError::Stopping
        } else if queue.serving == 0 {
            queue.refusal.clone()
        } else {
            queue.waiting.push_back(delivery);
            drop(queue);
            self.arrival.notify_one();
            return;
        };
        drop(queue);
        delivery.answer(Err(refusal));
    }

    /// Takes everything that has gathered, as far as one commit may hold it.
    pub(super) fn take(&self) -> Vec<Delivery> {
        let mut queue = self.queue();
        let (mut rows, mut bytes, mut count) = (0, 0, 0);
        for delivery in &queue.waiting {
            rows += delivery.rows.len();
            bytes += delivery.rows.bytes().len();
            if count > 0 && (rows > self.limits.rows || bytes > self.limits.bytes) {
                break;
            }
            count += 1;
        }
        let batch = queue.waiting.drain(..count).collect();
        if !queue.waiting.is_empty() {
            // The arrivals of the rest have woken this writer only.
            self.arrival.notify_one();
        }
        batch
    }

    /// Waits for a delivery. It may have been taken by another writer meanwhile.
    pub(super) async fn arrival(&self) {
        self.arrival.notified().await;
    }

    /// Refuses what comes from now on; what waits is still committed.
    pub(super) fn close(&self) {
        self.queue().is_closed = true;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue().waiting.is_empty()
    }

    /// Says how to answer while no writer serves.
    pub(super) fn set_refusal(&self, refusal: CommitError) {
        self.queue().refusal = refusal;
    }

    /// Refuses what waits.
    pub(super) fn refuse_all(&self, refusal: &CommitError) {
        let refused = std::mem::take(&mut self.queue().waiting);
        for delivery in refused {
            delivery.answer(Err(refusal.clone()));
        }
    }
}

/// A writer's promise to take what waits in a lane, until it is dropped.
pub(super) struct Place {
    lane: Arc<Lane>,
}

impl Place {
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        lane.queue().serving += 1;
        Self {
            lane: Arc::clone(lane),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queue = self.lane.queue();
        queue.serving -= 1;
        if queue.serving > 0 {
            // A wake-up that this writer has had may have been meant for one that stays.
            self.lane.arrival.notify_one();
            return;
        }
        let refused = std::mem::take(&mut queue.waiting);
        let refusal = queue.refusal.clone();
        drop(queue);
        for delivery in refused {
            delivery.answer(Err(refusal.clone()));
        }
    }
}
