//! How often a source is posted to: a token bucket in one number.
//!
//! It is the generic cell rate algorithm (ITU-T I.371): instead of tokens it keeps the time until
//! which the requests so far are paid for. That time may be ahead of now by what a burst costs.
//!
//! Invariant: a request that is refused costs nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkline_model::limits::RateLimit;

/// Counts the requests of one source.
#[derive(Debug)]
pub(crate) struct RateMeter {
    begun: Instant,
    /// Nanoseconds since `begun`.
    paid_until: AtomicU64,
}

impl Default for RateMeter {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            paid_until: AtomicU64::new(0),
        }
    }
}

impl RateMeter {
    /// Lets a request pass, or says after what time one would.
    pub(crate) fn admit(&self, limit: RateLimit) -> Result<(), Duration> {
        self.admit_at(self.begun.elapsed(), limit)
    }

    /// Whether one would pass now.
    pub(crate) fn would_admit(&self, limit: RateLimit) -> bool {
        let now = nanos(self.begun.elapsed());
        let paid_until = self.paid_until.load(Ordering::Relaxed);
        pay(paid_until, now, limit).is_some()
    }

    fn admit_at(&self, now: Duration, limit: RateLimit) -> Result<(), Duration> {
        let now = nanos(now);
        match self
            .paid_until
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |paid_until| {
                pay(paid_until, now, limit)
            }) {
            Ok(_) => Ok(()),
            Err(paid_until) => {
                let paid_until = paid_until.saturating_add(each(limit));
                let wait = paid_until.saturating_sub(latest(now, limit));
                Err(Duration::from_nanos(wait))
            }
        }
    }
}

/// 584 years from the start of the process.
fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// What a request costs.
fn each(limit: RateLimit) -> u64 {
    1_000_000_000 / u64::from(limit.requests_per_second.get())
}

/// Until when may be paid for now.
fn latest(now: u64, limit: RateLimit) -> u64 {
    now.saturating_add(each(limit).saturating_mul(u64::from(limit.burst.get())))
}

/// Until when is paid for once one more request has passed, if it may.
fn pay(paid_until: u64, now: u64, limit: RateLimit) -> Option<u64> {
    let paid_until = paid_until.max(now).saturating_add(each(limit));
    (paid_until <= latest(now, limit)).then_some(paid_until)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(requests_per_second: u32, burst: u32) -> RateLimit {
        RateLimit {
            requests_per_second: requests_per_second.try_into().unwrap(),
            burst: burst.try_into().unwrap(),
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let meter = RateMeter::default();
        let limit = limit(10, 3);
        let at = |millis: u64| meter.admit_at(Duration::from_millis(millis), limit);
        for _ in 0..3 {
            assert_eq!(at(5_000), Ok(()));
        }
        assert_eq!(at(5_000), Err(Duration::from_millis(100)));
        assert_eq!(at(5_040), Err(Duration::from_millis(60)));
        assert_eq!(at(5_100), Ok(()));
        assert_eq!(at(5_100), Err(Duration::from_millis(100)));
        // A quiet time earns a burst and no more.
        for _ in 0..3 {
            assert_eq!(at(60_000), Ok(()));
        }
        assert_eq!(at(60_000), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_lower_limit_holds_at_once() {
        let meter = RateMeter::default();
        let now = Duration::from_secs(5);
        for _ in 0..100 {
            assert_eq!(meter.admit_at(now, limit(100, 100)), Ok(()));
        }
        let wait = meter.admit_at(now, limit(1, 1)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_time_has_more_than_its_rate_and_one_burst(
            rate in 1_u32..1_000,
            burst in 1_u32..50,
            pauses in prop::collection::vec(0_u64..20_000_000, 1..400),
        ) {
            let meter = RateMeter::default();
            let mut now = 0;
            let mut passed = 0_u64;
            for pause in pauses {
                now += pause;
                if meter.admit_at(Duration::from_nanos(now), limit(rate, burst)).is_ok() {
                    passed += 1;
                }
                let most = now / (1_000_000_000 / u64::from(rate)) + u64::from(burst);
                prop_assert!(passed <= most);
            }
        }
    }
}
