//! Where deliveries wait for a writer.
//!
//! Sources take turns ([`Turns`]), and while several of them send, commits are kept short, so that a
//! source's flood is its own trouble.
//!
//! Invariants: while no writer serves a lane, nothing waits in it: what comes is refused at once
//! with the reason. Every delivery is answered, also when its writer panics (its answer is then an
//! unknown outcome).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::error::CommitError;
use super::turns::{BatchLimits, Turns, Weighed};
use crate::rows::{EncodedRows, SourceKey};

/// What became of a delivery that is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rows of it that were not stored, since they repeat what is and their source stores no repeats.
    pub left_out: usize,
}

/// Answer to a delivery.
pub(super) type Answer = Result<Committed, CommitError>;

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

impl Weighed for Delivery {
    fn source(&self) -> SourceKey {
        self.rows.source()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn bytes(&self) -> usize {
        self.rows.bytes().len()
    }
}

/// How long after another source's delivery a source still counts as not alone. A source that
/// sends more seldom may meet a commit that is as large as a lone source's.
const COMPANY: Duration = Duration::from_secs(60);

/// A queue with the writers that serve it.
pub(super) struct Lane {
    limits: BatchLimits,
    queue: Mutex<Queue>,
    arrival: Notify,
}

struct Queue {
    waiting: Turns<Delivery>,
    /// The source of the last delivery.
    last: Option<SourceKey>,
    /// Until when commits are kept short.
    shared_until: Option<Instant>,
    /// Writers that will take what waits.
    serving: usize,
    /// Whether there has ever been one.
    has_served: bool,
    /// The answer while there are none.
    refusal: CommitError,
    /// Nothing new is taken; what waits is still committed.
    is_closed: bool,
}

impl Lane {
    /// A lane whose commits hold no more than `limits`, and in which a source's turn is of
    /// `quantum` bytes.
    pub(super) fn new(limits: BatchLimits, quantum: usize) -> Self {
        let queue = Queue {
            waiting: Turns::new(quantum),
            last: None,
            shared_until: None,
            serving: 0,
            has_served: false,
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
            queue.push(delivery);
            drop(queue);
            self.arrival.notify_one();
            return;
        };
        drop(queue);
        delivery.answer(Err(refusal));
    }

    /// Takes what has gathered, as far as one commit may hold it. While several sources send, that is
    /// no more than `short` bytes.
    pub(super) fn take(&self, short: usize) -> Vec<Delivery> {
        let mut queue = self.queue();
        let mut limits = self.limits;
        if queue.is_shared() {
            limits.bytes = limits.bytes.min(short);
        }
        let batch = queue.waiting.take(limits);
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

    /// Whether a writer has ever served.
    pub(super) fn has_served(&self) -> bool {
        self.queue().has_served
    }

    /// Says how to answer while no writer serves.
    pub(super) fn set_refusal(&self, refusal: CommitError) {
        self.queue().refusal = refusal;
    }

    /// Refuses what waits.
    pub(super) fn refuse_all(&self, refusal: &CommitError) {
        let refused = self.queue().waiting.drain();
        for delivery in refused {
            delivery.answer(Err(refusal.clone()));
        }
    }
}

impl Queue {
    fn push(&mut self, delivery: Delivery) {
        let source = delivery.source();
        if self.last != Some(source) {
            if self.last.is_some() {
                self.shared_until = Some(Instant::now() + COMPANY);
            }
            self.last = Some(source);
        }
        self.waiting.push(delivery);
    }

    /// Whether several sources send. Forgets the time when it has passed, so that a lone source
    /// does not ask for it again and again.
    fn is_shared(&mut self) -> bool {
        self.shared_until = self.shared_until.filter(|&until| Instant::now() < until);
        self.shared_until.is_some()
    }
}

/// A writer's promise to take what waits in a lane, until it is dropped.
pub(super) struct Place {
    lane: Arc<Lane>,
}

impl Place {
    pub(super) fn new(lane: &Arc<Lane>) -> Self {
        let mut queue = lane.queue();
        queue.serving += 1;
        queue.has_served = true;
        drop(queue);
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
        let refused = queue.waiting.drain();
        let refusal = queue.refusal.clone();
        drop(queue);
        for delivery in refused {
            delivery.answer(Err(refusal.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::verification::AuthScope;
    use uuid::Uuid;

    use super::*;
    use crate::json::{ArrayRows, decode};
    use crate::rows::{DeliveryFields, RowEncoder};

    /// Of a source; all of them share a bucket.
    fn delivery(source: &str) -> Delivery {
        let fields = DeliveryFields {
            bucket: 1,
            source,
            delivery_id: Uuid::nil(),
            headers: None,
            header_values: None,
        };
        let mut encoder = RowEncoder::new(fields, 0);
        for element in decode(b"{}", ArrayRows::Whole).unwrap() {
            encoder.push(&element, AuthScope::None);
        }
        Delivery::new(encoder.finish(), Box::new(())).0
    }

    #[test]
    fn commits_are_short_while_several_sources_send() {
        let limits = BatchLimits {
            rows: 100,
            bytes: 1 << 20,
        };
        let lane = Arc::new(Lane::new(limits, 1 << 10));
        let _place = Place::new(&lane);
        let short = 3 * delivery("a/b").bytes();
        for _ in 0..50 {
            lane.push(delivery("a/b"));
        }
        assert_eq!(lane.take(short).len(), 50, "a source alone");
        for _ in 0..50 {
            lane.push(delivery("a/b"));
        }
        lane.push(delivery("a/c"));
        for taken in [3, 3] {
            assert_eq!(lane.take(short).len(), taken, "with another");
        }
        lane.queue().shared_until = Some(Instant::now());
        assert_eq!(lane.take(short).len(), 45, "the other was long ago");
        assert!(lane.is_empty());
    }

    #[test]
    fn a_lane_that_was_served_once_stays_one_that_was() {
        let lane = Arc::new(Lane::new(super::super::SMALL_BATCH, 1));
        assert!(!lane.has_served());
        drop(Place::new(&lane));
        assert!(lane.has_served());
    }
}
