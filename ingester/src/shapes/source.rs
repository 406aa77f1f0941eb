//! What one source's requests share of what has been noted.
//!
//! Invariant: reading waits for nobody. What is known is replaced as a whole, which is rare: news
//! has a rate.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use trunkline_model::limits::RateLimit;

use super::known::Known;
use crate::request::RateMeter;

/// News that a source may have: the first events of a new source at once, and then slowly enough
/// that names made of random numbers are no load for the database.
const NEWS: RateLimit = RateLimit {
    requests_per_second: NonZeroU32::MIN.saturating_add(19),
    burst: NonZeroU32::MIN.saturating_add(499),
};

/// What has been noted of a source. It outlives the configurations in which the source notes.
#[derive(Debug, Default)]
pub(crate) struct SourceShapes {
    known: ArcSwap<Known>,
    /// Held while `known` is replaced.
    replacing: Mutex<()>,
    rate: RateMeter,
    /// In which `known` was noted; 0 before the first.
    era: AtomicU64,
}

impl SourceShapes {
    pub(super) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    /// Replaces what is known by what `change` makes of it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let replacing = self.replacing.lock();
        let _replacing = replacing.unwrap_or_else(PoisonError::into_inner);
        let mut known = Known::clone(&self.known.load());
        let result = change(&mut known);
        self.known.store(Arc::new(known));
        result
    }

    /// Whether there may be news now.
    pub(super) fn may_have_news(&self) -> bool {
        self.rate.would_admit(NEWS)
    }

    /// The same, and counts it.
    pub(super) fn admit_news(&self) -> bool {
        self.rate.admit(NEWS).is_ok()
    }

    /// Says which era it is. In another than before everything is news: the database may be one
    /// that has not seen it, a standby or a backup for instance.
    pub(crate) fn live_in(&self, era: u64) {
        if self.era.load(Ordering::Relaxed) == era {
            return;
        }
        let before = self.era.swap(era, Ordering::Relaxed);
        if before != 0 && before != era {
            self.change(|known| *known = Known::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::known::{Group, Sighting};
    use super::*;

    #[test]
    fn another_era_makes_everything_news_and_the_first_does_not() {
        let shapes = SourceShapes::default();
        let seen = Sighting {
            group: Group {
                hash: 1,
                is_event: true,
            },
            path: None,
            shape: 2,
        };
        shapes.change(|known| known.add(seen));
        for era in [1, 1] {
            shapes.live_in(era);
            assert!(shapes.known().has(2));
        }
        shapes.live_in(2);
        assert!(!shapes.known().has(2));
    }

    #[test]
    fn there_is_a_burst_of_news_and_no_more_at_once() {
        let shapes = SourceShapes::default();
        let mut news = 0;
        while shapes.may_have_news() {
            assert!(shapes.admit_news());
            news += 1;
        }
        // One more each 50 ms that a slow machine takes for it.
        assert!((500..=520).contains(&news), "{news}");
    }
}
