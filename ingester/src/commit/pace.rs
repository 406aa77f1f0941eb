//! How much one commit may hold, so that nobody waits for it noticeably.
//!
//! A delivery waits at most for the commit that runs when it arrives, then for its own. Both are
//! therefore kept short while several sources send; how many bytes that is, is learnt from the
//! commits before.
//!
//! Pure: durations in, a number of bytes out.

use std::time::Duration;

/// How long the rows of a commit may keep the database at work.
const WORK: Duration = Duration::from_millis(5);

/// A commit of no more than this takes as long as one of nothing, some ten events.
const SMALL_BYTES: usize = 16 << 10;

/// A commit of no less than this tells how long a byte takes.
const TELLING_BYTES: usize = 32 << 10;

/// The least that a commit may hold, some fifty events: below it the database would mostly begin
/// and end transactions. Above [`TELLING_BYTES`], so that a bound that was too low is found out.
const LEAST_BYTES: usize = 64 << 10;

/// What is believed before the first commit: 1 KB of JSON takes 16 microseconds.
const FIRST_GUESS: f64 = 16e-9;

/// Part of a new observation in what is believed.
const WEIGHT: f64 = 1.0 / 8.0;

/// A commit that takes longer has waited for something else: a lock, a checkpoint, a failover.
const LONGEST: Duration = Duration::from_millis(250);

/// What commits have taken.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Seconds that a commit takes however little it holds.
    base: f64,
    /// Seconds that each byte adds.
    each: f64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            base: 0.0,
            each: FIRST_GUESS,
        }
    }

    /// Learns from a commit.
    pub(super) fn committed(&mut self, bytes: usize, took: Duration) {
        let took = took.min(LONGEST).as_secs_f64();
        if bytes <= SMALL_BYTES {
            // What is quicker was not held up by anything else.
            self.base = if took < self.base {
                took
            } else {
                mix(self.base, took)
            };
        } else if bytes >= TELLING_BYTES {
            let each = (took - self.base).max(0.0) / approximate(bytes);
            self.each = mix(self.each, each);
        }
    }

    /// The bytes that one commit may hold. Where a commit takes long in itself (a distant server, a
    /// synchronous standby), its rows may take as long again: a shorter one would not be sooner.
    pub(super) fn bytes(&self) -> usize {
        let work = WORK.as_secs_f64().max(self.base);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive quotient; the conversion saturates, and so does that of a division by zero"
        )]
        let bytes = (work / self.each) as usize;
        bytes.max(LEAST_BYTES)
    }
}

fn mix(believed: f64, observed: f64) -> f64 {
    believed + (observed - believed) * WEIGHT
}

/// A commit has less than 2^32 bytes.
fn approximate(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database: what a commit takes besides its rows, and how many bytes it writes in a second.
    fn settled(base: Duration, bytes_per_second: f64) -> (Pace, Duration) {
        let mut pace = Pace::new();
        let takes = |bytes: usize| base + Duration::from_secs_f64(bytes as f64 / bytes_per_second);
        for _ in 0..100 {
            pace.committed(1_000, takes(1_000));
        }
        for _ in 0..100 {
            let bytes = pace.bytes();
            pace.committed(bytes, takes(bytes));
        }
        let last = takes(pace.bytes());
        (pace, last)
    }

    #[test]
    fn a_commit_is_made_to_take_some_five_milliseconds() {
        let millis = Duration::from_millis;
        for (base, rate, least, most) in [
            (Duration::from_micros(500), 80e6, millis(5), millis(6)),
            (Duration::from_micros(500), 25e6, millis(5), millis(6)),
            (Duration::from_micros(500), 500e6, millis(5), millis(6)),
            // Distant: twice its own time.
            (millis(20), 80e6, millis(38), millis(42)),
            // Too slow: as short as it gets.
            (Duration::from_micros(500), 1e6, millis(60), millis(70)),
        ] {
            let (pace, took) = settled(base, rate);
            assert!(
                least <= took && took <= most,
                "{base:?} {rate} {took:?} {pace:?}"
            );
        }
    }

    #[test]
    fn one_commit_that_was_held_up_is_forgotten_soon() {
        let (mut pace, _) = settled(Duration::from_micros(500), 80e6);
        let usual = pace.bytes();
        pace.committed(usual, Duration::from_secs(3));
        pace.committed(1_000, Duration::from_secs(3));
        for _ in 0..60 {
            pace.committed(1_000, Duration::from_micros(500));
            let bytes = pace.bytes();
            let took = Duration::from_micros(500) + Duration::from_secs_f64(bytes as f64 / 80e6);
            pace.committed(bytes, took);
        }
        assert!(pace.bytes() > usual * 9 / 10, "{} {usual}", pace.bytes());
    }

    #[test]
    fn a_database_that_takes_no_time_has_no_bound() {
        let (pace, _) = settled(Duration::ZERO, f64::INFINITY);
        assert!(pace.bytes() > 1 << 30);
    }
}
