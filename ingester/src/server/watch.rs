//! What a connection is doing: told by those who serve it, asked by those who decide on its end.
//!
//! Pure: moments in, deadlines out. Invariant: a connection with a request on it has no deadline
//! here, since the request has its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::settings::Timeouts;

/// How long a connection that sends a request's headers is left alone when others have no room.
/// Longer than a lost packet takes to be sent again.
const SENDING_GRACE: Duration = Duration::from_secs(1);

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    /// Requests that are not answered yet.
    in_flight: AtomicU32,
    /// A [`Phase`] and since when, for while no request is in flight.
    phase: AtomicU64,
    /// Requests that their sender did not finish.
    abandoned: AtomicU32,
    evicted: Notify,
    stopping: Arc<AtomicBool>,
}

/// What a connection without a request in flight is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is new: the headers of its first request have not arrived.
    New,
    /// It is kept for another request.
    Idle,
    /// The headers of another request have begun to arrive.
    Headers,
}

impl Phase {
    /// Packs it with a time since the connection's begin.
    fn at(self, since: Duration) -> u64 {
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX >> 2);
        millis << 2 | self as u64
    }

    fn unpack(packed: u64) -> (Self, Duration) {
        let phase = match packed & 3 {
            0 => Self::New,
            1 => Self::Idle,
            _ => Self::Headers,
        };
        (phase, Duration::from_millis(packed >> 2))
    }
}

impl Watch {
    /// A connection that begins now, of a listener that may stop.
    pub(super) fn new(now: Instant, stopping: Arc<AtomicBool>) -> Self {
        Self {
            begun: now,
            in_flight: AtomicU32::new(0),
            phase: AtomicU64::new(Phase::New.at(Duration::ZERO)),
            abandoned: AtomicU32::new(0),
            evicted: Notify::new(),
            stopping,
        }
    }

    /// The handshake of TLS is done: the time of the first request's headers begins.
    pub(super) fn handshake_done(&self) {
        self.enter(Phase::New, Instant::now());
    }

    /// Bytes have arrived. Tells it from the end of an idle time.
    pub(super) fn bytes_arrived(&self) {
        if self.is_busy() {
            return;
        }
        let (phase, _) = Phase::unpack(self.phase.load(Ordering::Relaxed));
        if phase == Phase::Idle {
            self.enter(Phase::Headers, Instant::now());
        }
    }

    /// The headers of a request have arrived; it ends when what is returned is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            watch: Arc::clone(self),
            is_finished: false,
        }
    }

    fn end_request(&self, now: Instant) {
        self.enter(Phase::Idle, now);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn enter(&self, phase: Phase, now: Instant) {
        let since = now.duration_since(self.begun);
        self.phase.store(phase.at(since), Ordering::Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// When the connection ends unless something arrives; never while a request is in flight.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        let (phase, since) = Phase::unpack(self.phase.load(Ordering::Relaxed));
        let patience = match phase {
            Phase::New | Phase::Headers => timeouts.headers,
            Phase::Idle => timeouts.idle,
        };
        (!self.is_busy()).then(|| self.begun + since + patience)
    }

    /// Since when the connection could be closed without harm; `None` while it does something.
    pub(super) fn idle_since(&self, now: Instant) -> Option<Instant> {
        if self.is_busy() {
            return None;
        }
        let (phase, since) = Phase::unpack(self.phase.load(Ordering::Relaxed));
        let idle_since = match phase {
            Phase::Idle => self.begun + since,
            Phase::New | Phase::Headers => self.begun + since + SENDING_GRACE,
        };
        (idle_since <= now).then_some(idle_since)
    }

    /// How many requests their sender took back, or began and did not finish.
    pub(super) fn abandoned(&self) -> u32 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Asks the connection to end with the request that is on it, if any.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Ends once [`Watch::evict`] was called.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A request that is not answered yet. One that is dropped without an answer was taken back.
#[derive(Debug)]
pub(super) struct InFlight {
    watch: Arc<Watch>,
    is_finished: bool,
}

impl InFlight {
    /// Ends with an answer to what its sender finished, or did not. Returns whether the answer should
    /// be the connection's last.
    pub(super) fn answered(mut self, is_finished: bool) -> bool {
        self.is_finished = is_finished;
        self.watch.stopping.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_finished {
            self.watch.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        self.watch.end_request(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeouts() -> Timeouts {
        Timeouts {
            headers: 10 * SECOND,
            idle: 75 * SECOND,
            ..Timeouts::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_deadline_and_a_request_none() {
        let start = Instant::now();
        let watch = Arc::new(Watch::new(start, Arc::default()));
        let deadline = || watch.deadline(&timeouts()).map(|at| at - start);
        assert_eq!(deadline(), Some(10 * SECOND));
        tokio::time::advance(SECOND).await;
        // Bytes of the first request's headers win it no time.
        watch.bytes_arrived();
        assert_eq!(deadline(), Some(10 * SECOND));
        let request = watch.begin_request();
        assert_eq!(deadline(), None);
        tokio::time::advance(100 * SECOND).await;
        watch.bytes_arrived();
        let second = watch.begin_request();
        drop(request);
        assert_eq!(deadline(), None);
        assert!(!second.answered(true));
        assert_eq!(watch.abandoned(), 1);
        assert_eq!(deadline(), Some(176 * SECOND));
        tokio::time::advance(30 * SECOND).await;
        watch.bytes_arrived();
        assert_eq!(deadline(), Some(141 * SECOND));
        // Nor do further bytes of the next one's.
        tokio::time::advance(SECOND).await;
        watch.bytes_arrived();
        assert_eq!(deadline(), Some(141 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_waits_is_idle() {
        let start = Instant::now();
        let watch = Arc::new(Watch::new(start, Arc::default()));
        let idle_since = || watch.idle_since(Instant::now()).map(|at| at - start);
        assert_eq!(idle_since(), None);
        tokio::time::advance(SENDING_GRACE).await;
        assert_eq!(idle_since(), Some(SENDING_GRACE));
        let request = watch.begin_request();
        assert_eq!(idle_since(), None);
        drop(request);
        assert_eq!(idle_since(), Some(SENDING_GRACE));
        tokio::time::advance(SECOND).await;
        assert_eq!(idle_since(), Some(SENDING_GRACE));
        watch.bytes_arrived();
        assert_eq!(idle_since(), None);
        tokio::time::advance(SENDING_GRACE).await;
        assert_eq!(idle_since(), Some(SENDING_GRACE + SECOND + SENDING_GRACE));
    }
}
