//! The bytes that all requests hold at once, so that no flood ends the process by its memory, and
//! those of each source, so that no source's flood takes the room of the others.
//!
//! Invariant: what is reserved is given back exactly once, when its [`Reservation`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trunkline_model::document::Limits;

use super::body::held;
use super::source_use::SourceUse;

/// What requests hold now, in bytes: all of them, or those of one source.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicUsize,
}

impl Budget {
    /// Bytes that are reserved now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A reservation of nothing yet, for a request to a source.
    pub(super) fn open(self: &Arc<Self>, source: &Arc<SourceUse>, bounds: Bounds) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            source: Arc::clone(source),
            bytes: 0,
            bounds,
        }
    }

    /// Adds to what a request holds already, as far as `limit` allows.
    ///
    /// A request that is alone may exceed the limit: refusing it would refuse it for ever, and its
    /// size has bounds of its own.
    fn grow(&self, held: usize, more: usize, limit: usize) -> bool {
        let grow = |used: usize| {
            let is_alone = used == held;
            used.checked_add(more)
                .filter(|&used| is_alone || used <= limit)
        };
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What requests may hold, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// All of them.
    pod: usize,
    /// Those of one source.
    source: usize,
}

impl Bounds {
    /// One source of several may hold half of what all may, or one body of the largest size; a
    /// source without others has nobody to leave room for.
    pub(super) fn new(limits: &Limits, sources: usize) -> Self {
        let pod = limits.bytes_in_flight;
        let source = match sources {
            0 | 1 => usize::MAX,
            _ => (pod / 2).max(held(limits.max_body_bytes)),
        };
        Self { pod, source }
    }
}

/// A request's share of the [`Budget`].
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    source: Arc<SourceUse>,
    bytes: usize,
    bounds: Bounds,
}

/// Whose bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// That of all requests.
    Pod,
    /// That of the request's source.
    Source,
}

impl Reservation {
    /// Grows to at least `bytes` in all.
    pub(super) fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|&more| more > 0) else {
            return Ok(());
        };
        if !self.source.held.grow(self.bytes, more, self.bounds.source) {
            return Err(Exhausted::Source);
        }
        if !self.budget.grow(self.bytes, more, self.bounds.pod) {
            self.source.held.give_back(more);
            return Err(Exhausted::Pod);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Gives back what is above `bytes` in all.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.source.held.give_back(surplus);
        self.budget.give_back(surplus);
        self.bytes -= surplus;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(any(test, fuzzing))]
impl Budget {
    /// A reservation for a source that has no share of its own, under a limit.
    pub(super) fn open_alone(self: &Arc<Self>, limit: usize) -> Reservation {
        let bounds = Bounds {
            pod: limit,
            source: usize::MAX,
        };
        self.open(&Arc::default(), bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_end_at_the_limit_and_give_back() {
        let budget = Arc::new(Budget::default());
        let mut one = budget.open_alone(100);
        assert_eq!(one.cover(60), Ok(()));
        assert_eq!(one.cover(10), Ok(()));
        assert_eq!(budget.used(), 60);
        let mut two = budget.open_alone(100);
        assert_eq!(two.cover(40), Ok(()));
        assert_eq!(two.cover(41), Err(Exhausted::Pod));
        assert_eq!(budget.used(), 100);
        drop(one);
        assert_eq!(budget.used(), 40);
        drop(two);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_needed_no_more_is_given_back() {
        let budget = Arc::new(Budget::default());
        let mut one = budget.open_alone(100);
        assert_eq!(one.cover(60), Ok(()));
        one.shrink(70);
        assert_eq!(budget.used(), 60);
        one.shrink(10);
        assert_eq!(budget.used(), 10);
        assert_eq!(one.cover(20), Ok(()));
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_request_alone_is_never_refused() {
        let budget = Arc::new(Budget::default());
        let mut alone = budget.open_alone(10);
        assert_eq!(alone.cover(50), Ok(()));
        assert_eq!(alone.cover(500), Ok(()));
        assert_eq!(budget.open_alone(10).cover(1), Err(Exhausted::Pod));
    }

    #[test]
    fn a_source_leaves_half_of_the_room_to_the_others() {
        let limits = Limits {
            max_body_bytes: 0,
            bytes_in_flight: 100 << 10,
            writers: 1,
            max_connections: None,
        };
        let bounds = Bounds::new(&limits, 2);
        let (budget, flooded, other) =
            (Arc::new(Budget::default()), Arc::default(), Arc::default());
        let mut requests = Vec::new();
        for _ in 0..5 {
            let mut request = budget.open(&flooded, bounds);
            assert_eq!(request.cover(10 << 10), Ok(()));
            requests.push(request);
        }
        let mut next = budget.open(&flooded, bounds);
        assert_eq!(next.cover(10 << 10), Err(Exhausted::Source));
        for _ in 0..5 {
            let mut request = budget.open(&other, bounds);
            assert_eq!(request.cover(10 << 10), Ok(()));
            requests.push(request);
        }
        // What the pod has no room for is not counted for the source either.
        drop(requests.remove(0));
        let mut more = budget.open(&Arc::default(), bounds);
        assert_eq!(more.cover(10 << 10), Ok(()));
        assert_eq!(next.cover(10 << 10), Err(Exhausted::Pod));
        drop(more);
        assert_eq!(next.cover(10 << 10), Ok(()));
        drop((next, requests));
        assert_eq!((budget.used(), flooded.held.used()), (0, 0));
    }

    #[test]
    fn a_share_holds_one_largest_body_and_a_lone_source_everything() {
        let limits = Limits {
            max_body_bytes: 6 << 20,
            bytes_in_flight: 20 << 20,
            writers: 1,
            max_connections: None,
        };
        assert_eq!(Bounds::new(&limits, 2).source, held(6 << 20));
        assert_eq!(Bounds::new(&limits, 1).source, usize::MAX);
    }
}
