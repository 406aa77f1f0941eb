//! What was refused in the last hour, for whoever asks the admin listener. Pure: the time is a
//! parameter.
//!
//! Invariants: nothing that is told is older than [`WINDOW`]. Its size has a bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::RefusalLabels;

/// How far back it goes, less up to one slot.
pub(crate) const WINDOW: Duration = Duration::from_secs(3600);

/// Parts of the window, so that it moves on by one of them.
const SLOTS: usize = 12;
const SLOTS_IN_WINDOW: u64 = SLOTS as u64;
const SLOT_SECONDS: u64 = WINDOW.as_secs() / SLOTS_IN_WINDOW;

/// Bound on sources and reasons.
const MAX_KEYS: usize = 4_096;

/// Refusals by source and reason.
#[derive(Debug)]
pub(super) struct Recent {
    begun: Instant,
    keys: HashMap<RefusalLabels, Slots>,
}

/// What was refused of one source, the most frequent reason first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceRefusals {
    /// `namespace/name`, or empty for requests that no source has the path of.
    pub(crate) source: Arc<str>,
    /// Reasons and how often each was met.
    pub(crate) reasons: Vec<(&'static str, u64)>,
}

#[derive(Debug, Default)]
struct Slots {
    counts: [u64; SLOTS],
    /// The number of the last slot that was counted in.
    last: u64,
}

impl Slots {
    /// Empties what has left the window by `slot`.
    fn move_on(&mut self, slot: u64) {
        let passed = slot.saturating_sub(self.last).min(SLOTS_IN_WINDOW);
        for number in 0..passed {
            self.counts[index(slot - number)] = 0;
        }
        self.last = self.last.max(slot);
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS_IN_WINDOW).unwrap_or_default()
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            keys: HashMap::new(),
        }
    }

    /// Counts a refusal, unless too many others are counted already.
    pub(super) fn note(&mut self, labels: &RefusalLabels, now: Instant) {
        let slot = self.slot(now);
        if !self.keys.contains_key(labels) {
            if self.keys.len() >= MAX_KEYS {
                self.forget(slot);
            }
            if self.keys.len() >= MAX_KEYS {
                return;
            }
        }
        let slots = self.keys.entry(labels.clone()).or_default();
        slots.move_on(slot);
        slots.counts[index(slot)] += 1;
    }

    /// What was refused, by the name of the source.
    pub(super) fn told(&mut self, now: Instant) -> Vec<SourceRefusals> {
        self.forget(self.slot(now));
        let mut sources: BTreeMap<Arc<str>, Vec<(&'static str, u64)>> = BTreeMap::new();
        for (labels, slots) in &self.keys {
            let reasons = sources.entry(Arc::clone(&labels.source)).or_default();
            reasons.push((labels.reason, slots.total()));
        }
        let told = sources.into_iter().map(|(source, mut reasons)| {
            reasons.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
            SourceRefusals { source, reasons }
        });
        told.collect()
    }

    /// Forgets what has left the window.
    fn forget(&mut self, slot: u64) {
        self.keys.retain(|_, slots| {
            slots.move_on(slot);
            slots.total() > 0
        });
    }

    fn slot(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs() / SLOT_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(source: &str, reason: &'static str) -> RefusalLabels {
        RefusalLabels {
            source: Arc::from(source),
            reason,
        }
    }

    fn told(recent: &mut Recent, now: Instant) -> Vec<(String, Vec<(&'static str, u64)>)> {
        let told = recent.told(now).into_iter();
        told.map(|it| (it.source.to_string(), it.reasons)).collect()
    }

    #[test]
    fn reasons_are_told_by_source_the_most_frequent_first() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        for (source, reason, times) in [("b", "x", 1), ("a", "y", 2), ("a", "x", 3), ("", "z", 1)] {
            for _ in 0..times {
                recent.note(&labels(source, reason), start);
            }
        }
        assert_eq!(
            told(&mut recent, start),
            [
                (String::new(), vec![("z", 1)]),
                ("a".to_owned(), vec![("x", 3), ("y", 2)]),
                ("b".to_owned(), vec![("x", 1)]),
            ]
        );
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        let minute = |number: u64| start + Duration::from_secs(number * 60);
        for number in [0, 4, 5, 31, 59] {
            recent.note(&labels("a", "x"), minute(number));
        }
        let count = |recent: &mut Recent, number| {
            let told = recent.told(minute(number));
            told.first().map_or(0, |source| source.reasons[0].1)
        };
        assert_eq!(count(&mut recent, 59), 5);
        assert_eq!(count(&mut recent, 60), 3);
        assert_eq!(count(&mut recent, 66), 2);
        assert_eq!(count(&mut recent, 92), 1);
        assert_eq!(count(&mut recent, 119), 0);
        assert!(recent.keys.is_empty());
        recent.note(&labels("a", "x"), minute(10_000));
        assert_eq!(count(&mut recent, 10_000), 1);
    }

    #[test]
    fn a_flood_of_sources_is_bounded_and_its_end_makes_room() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        for number in 0..=MAX_KEYS {
            recent.note(&labels(&number.to_string(), "x"), start);
        }
        assert_eq!(recent.keys.len(), MAX_KEYS);
        recent.note(&labels("later", "x"), start + WINDOW);
        assert_eq!(told(&mut recent, start + WINDOW).len(), 1);
    }
}
