//! Says on standard error how far a purge has come, now and then.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use trunkline_warehouse::Progress;

/// Between two lines: a short purge says nothing.
const PACE: Duration = Duration::from_secs(5);

/// What has been said, and what there is to say.
#[derive(Debug)]
pub(super) struct Ticker {
    said: Instant,
    found: i64,
}

impl Ticker {
    pub(super) fn new() -> Self {
        Self {
            said: Instant::now(),
            found: 0,
        }
    }

    /// After a portion.
    pub(super) fn tick(&mut self, progress: Progress<'_>) {
        self.found += progress.found;
        if self.said.elapsed() >= PACE {
            self.said = Instant::now();
            // Nothing is left to do when standard error is closed.
            let _ = writeln!(io::stderr(), "{}", line(progress, self.found));
        }
    }
}

fn line(progress: Progress<'_>, found: i64) -> String {
    let Progress {
        partition,
        looked_at,
        total,
        ..
    } = progress;
    let percent = (looked_at.saturating_mul(100))
        .checked_div(total)
        .unwrap_or(100);
    let megabytes = total.div_euclid(1 << 20);
    format!("{percent} % of {megabytes} MiB looked at, {found} rows found; at {partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_an_empty_database_divides_nothing() {
        let mut progress = Progress {
            partition: "trunkline_data.bucket_1_202611",
            looked_at: 32 << 20,
            total: 128 << 20,
            found: 3,
        };
        assert_eq!(
            line(progress, 7),
            "25 % of 128 MiB looked at, 7 rows found; at trunkline_data.bucket_1_202611"
        );
        (progress.looked_at, progress.total) = (0, 0);
        assert!(line(progress, 0).starts_with("100 % of 0 MiB"));
    }
}
