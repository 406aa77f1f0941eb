//! What has been refused and is not written yet. Pure: the time is a parameter.
//!
//! Invariants: under one source and reason at most one row is taken per [`INTERVAL`]. What is taken
//! and given back is counted as if it had never been taken. Its size has a bound.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use crate::metrics::RefusalLabels;

/// Least time between two rows of one source for one reason.
const INTERVAL: Duration = Duration::from_secs(60);

/// Bound on what is remembered: some two megabytes with the longest sentences that are usual.
const MAX_KEYS: usize = 4_096;

/// Refusals by source and reason.
#[derive(Debug, Default)]
pub(super) struct Tally {
    keys: HashMap<RefusalLabels, Key>,
}

#[derive(Debug)]
struct Key {
    /// What no row stands for yet.
    waiting: Option<Rejection>,
    /// When the next row may be taken.
    not_before: Instant,
}

/// What became of a refusal that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Nothing waited under its source and reason.
    First,
    /// Others did.
    Another,
    /// It is forgotten.
    NoRoom,
}

/// A row to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) labels: RefusalLabels,
    pub(super) status: u16,
    /// Of the first of the requests.
    pub(super) detail: String,
    /// How many requests it stands for.
    pub(super) count: u64,
    /// When the first of them was refused.
    pub(super) first: Instant,
    /// When the last was.
    pub(super) last: Instant,
}

impl Tally {
    /// Counts a refusal. `detail` is asked for only when it is the first.
    pub(super) fn note(
        &mut self,
        labels: RefusalLabels,
        status: u16,
        detail: impl FnOnce() -> String,
        now: Instant,
    ) -> Noted {
        let is_full = self.keys.len() >= MAX_KEYS;
        let key = match self.keys.entry(labels.clone()) {
            Entry::Occupied(key) => key.into_mut(),
            Entry::Vacant(_) if is_full => return Noted::NoRoom,
            Entry::Vacant(key) => key.insert(Key {
                waiting: None,
                not_before: now,
            }),
        };
        if let Some(waiting) = &mut key.waiting {
            waiting.count += 1;
            waiting.last = now;
            return Noted::Another;
        }
        key.waiting = Some(Rejection {
            labels,
            status,
            detail: detail(),
            count: 1,
            first: now,
            last: now,
        });
        Noted::First
    }

    /// When the next row can be taken; None while nothing waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.keys
            .values()
            .filter(|key| key.waiting.is_some())
            .map(|key| key.not_before)
            .min()
    }

    /// Takes up to `limit` rows whose time has come, and forgets the keys of which nothing has been
    /// heard for an interval.
    pub(super) fn take(&mut self, limit: usize, now: Instant) -> Vec<Rejection> {
        let mut taken = Vec::new();
        self.keys.retain(|_, key| {
            if key.not_before > now || taken.len() >= limit {
                return true;
            }
            let Some(waiting) = key.waiting.take() else {
                return false;
            };
            key.not_before = now + INTERVAL;
            taken.push(waiting);
            true
        });
        taken
    }

    /// Takes everything, for the last time.
    pub(super) fn take_all(&mut self) -> Vec<Rejection> {
        std::mem::take(&mut self.keys)
            .into_values()
            .filter_map(|key| key.waiting)
            .collect()
    }

    /// Counts again what was taken and could not be written. It may be taken at once.
    pub(super) fn give_back(&mut self, rejections: Vec<Rejection>) {
        for mut rejection in rejections {
            let first = rejection.first;
            let key = self.keys.entry(rejection.labels.clone()).or_insert(Key {
                waiting: None,
                not_before: first,
            });
            key.not_before = first;
            if let Some(later) = key.waiting.take() {
                rejection.count += later.count;
                rejection.last = later.last;
            }
            key.waiting = Some(rejection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn labels(source: &str) -> RefusalLabels {
        RefusalLabels {
            source: Arc::from(source),
            reason: "signature_mismatch",
        }
    }

    fn note(tally: &mut Tally, source: &str, now: Instant) -> Noted {
        tally.note(labels(source), 400, || format!("why {source}"), now)
    }

    fn counts(rejections: &[Rejection]) -> Vec<(&str, u64)> {
        let count = |rejection: &Rejection| rejection.count;
        let mut counts: Vec<_> = rejections
            .iter()
            .map(|rejection| (&*rejection.labels.source, count(rejection)))
            .collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn the_first_is_taken_at_once_and_a_flood_as_one_row_a_minute() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        assert_eq!(tally.next_due(), None);
        assert_eq!(note(&mut tally, "a/b", start), Noted::First);
        assert_eq!(tally.next_due(), Some(start));
        assert_eq!(counts(&tally.take(9, start)), [("a/b", 1)]);
        assert_eq!(tally.next_due(), None);

        let later = start + Duration::from_secs(1);
        assert_eq!(note(&mut tally, "a/b", later), Noted::First);
        for _ in 1..1_000 {
            assert_eq!(note(&mut tally, "a/b", later), Noted::Another);
        }
        assert_eq!(tally.next_due(), Some(start + INTERVAL));
        assert_eq!(tally.take(9, later), []);
        let taken = tally.take(9, start + INTERVAL);
        assert_eq!(counts(&taken), [("a/b", 1_000)]);
        assert_eq!((taken[0].first, taken[0].last), (later, later));
        assert_eq!(taken[0].detail, "why a/b");
    }

    #[test]
    fn one_sources_flood_does_not_delay_anothers_first() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        note(&mut tally, "a/b", start);
        tally.take(9, start);
        note(&mut tally, "a/b", start);
        note(&mut tally, "a/c", start);
        assert_eq!(counts(&tally.take(9, start)), [("a/c", 1)]);
    }

    #[test]
    fn what_could_not_be_written_is_counted_with_what_came_after() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        note(&mut tally, "a/b", start);
        let taken = tally.take(9, start);
        let later = start + Duration::from_secs(5);
        note(&mut tally, "a/b", later);
        tally.give_back(taken);
        let taken = tally.take(9, later);
        assert_eq!(counts(&taken), [("a/b", 2)]);
        assert_eq!((taken[0].first, taken[0].last), (start, later));
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_time() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        for source in ["a/a", "a/b", "a/c"] {
            note(&mut tally, source, start);
        }
        let mut taken = tally.take(2, start);
        assert_eq!(taken.len(), 2);
        taken.extend(tally.take(2, start));
        assert_eq!(counts(&taken), [("a/a", 1), ("a/b", 1), ("a/c", 1)]);
    }

    #[test]
    fn keys_are_bounded_and_silent_ones_forgotten() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        for key in 0..MAX_KEYS {
            assert_eq!(note(&mut tally, &format!("a/{key}"), start), Noted::First);
        }
        assert_eq!(note(&mut tally, "a/new", start), Noted::NoRoom);
        assert_eq!(note(&mut tally, "a/0", start), Noted::Another);
        tally.take(usize::MAX, start);
        assert_eq!(note(&mut tally, "a/new", start), Noted::NoRoom);
        tally.take(usize::MAX, start + INTERVAL);
        assert_eq!(note(&mut tally, "a/new", start), Noted::First);
        assert_eq!(counts(&tally.take_all()), [("a/new", 1)]);
    }
}
