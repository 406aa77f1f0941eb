//! The bytes that all requests hold at once, so that no flood ends the process by its memory.
//!
//! Invariant: what is reserved is given back exactly once, when its [`Reservation`] is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What requests hold now, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicUsize,
}

impl Budget {
    /// Bytes that are reserved now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A reservation of nothing yet, under a limit in bytes.
    pub(super) fn open(self: &Arc<Self>, limit: usize) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            bytes: 0,
            limit,
        }
    }
}

/// A request's share of the [`Budget`].
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
    limit: usize,
}

/// The budget is used up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Reservation {
    /// Grows to at least `bytes` in all.
    ///
    /// A request that is alone may exceed the limit: refusing it would refuse it for ever, and its
    /// size has bounds of its own.
    pub(super) fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|&more| more > 0) else {
            return Ok(());
        };
        let grow = |used: usize| {
            let is_alone = used == self.bytes;
            used.checked_add(more)
                .filter(|&used| is_alone || used <= self.limit)
        };
        self.budget
            .used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .map_err(|_| Exhausted)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Reservation {
    /// Gives back what is above `bytes` in all.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.budget.used.fetch_sub(surplus, Ordering::Relaxed);
        self.bytes -= surplus;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_end_at_the_limit_and_give_back() {
        let budget = Arc::new(Budget::default());
        let mut one = budget.open(100);
        assert_eq!(one.cover(60), Ok(()));
        assert_eq!(one.cover(10), Ok(()));
        assert_eq!(budget.used(), 60);
        let mut two = budget.open(100);
        assert_eq!(two.cover(40), Ok(()));
        assert_eq!(two.cover(41), Err(Exhausted));
        assert_eq!(budget.used(), 100);
        drop(one);
        assert_eq!(budget.used(), 40);
        drop(two);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_needed_no_more_is_given_back() {
        let budget = Arc::new(Budget::default());
        let mut one = budget.open(100);
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
        let mut alone = budget.open(10);
        assert_eq!(alone.cover(50), Ok(()));
        assert_eq!(alone.cover(500), Ok(()));
        assert_eq!(budget.open(10).cover(1), Err(Exhausted));
    }
}
