//! How long to wait before what failed is tried again.
//!
//! Pure but for the jitter. kube-rs tells its error policy nothing of successes, so attempts are
//! counted here, by object.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Failures in a row, by object.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    failures: HashMap<K, u32>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self {
            failures: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq> Backoff<K> {
    /// Notes a failure; the pause until the next attempt, up to a quarter longer or shorter by
    /// chance, so that many objects that failed together do not return together.
    pub(crate) fn failed(&mut self, key: K) -> Duration {
        let failures = self.failures.entry(key).or_default();
        let pause = nominal(*failures);
        *failures = failures.saturating_add(1);
        pause.mul_f64(rand::random_range(0.75..1.25))
    }

    /// Notes a success, or that the object is gone.
    pub(crate) fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }
}

/// The pause after so many failures before this one.
fn nominal(failures: u32) -> Duration {
    FIRST
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_success() {
        let pauses: Vec<_> = (0..4).map(nominal).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000].map(Duration::from_millis));
        assert_eq!(nominal(40), LONGEST);
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed("a");
        }
        assert!(backoff.failed("a") >= LONGEST.mul_f64(0.75));
        backoff.succeeded(&"a");
        assert!(backoff.failed("a") <= FIRST.mul_f64(1.25));
    }
}
