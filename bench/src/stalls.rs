//! Stalls: times in which senders waited for longer than they should, and whether changes in the
//! database are to blame.
//!
//! Pure. A machine has pauses of its own, so a stall counts only when it came with a change and a
//! window without changes shows none like it.

use std::time::Duration;

use serde::Serialize;

/// How long a sender may wait without a stall.
pub(crate) const LIMIT: Duration = Duration::from_millis(50);

/// How long after its end a change can still be to blame.
const AFTERMATH_MS: f64 = 200.0;

/// Classes of the distribution, by their lower bounds in milliseconds.
const CLASSES_MS: [f64; 5] = [50.0, 100.0, 200.0, 500.0, 1_000.0];

/// A long wait, counted from the beginning of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// Whether nothing at all was answered; else one request was not.
    pub(crate) is_silence: bool,
}

impl Wait {
    pub(crate) fn took(&self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}

/// Waits that overlap. Times are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Stall {
    /// Since the beginning of the run.
    pub(crate) at_ms: f64,
    pub(crate) end_ms: f64,
    /// The slowest request of those that waited.
    pub(crate) slowest_ms: f64,
    /// The longest time without any answer.
    pub(crate) silence_ms: f64,
    /// How many requests waited.
    pub(crate) requests: u64,
    /// Changes that were under way, or just over.
    pub(crate) during: Vec<&'static str>,
}

impl Stall {
    /// The longest wait that is a part of it, in milliseconds.
    pub(crate) fn longest_ms(&self) -> f64 {
        self.slowest_ms.max(self.silence_ms)
    }

    fn add(&mut self, wait: &Wait) {
        let took = millis(wait.took());
        self.end_ms = self.end_ms.max(millis(wait.until));
        if wait.is_silence {
            self.silence_ms = self.silence_ms.max(took);
        } else {
            self.slowest_ms = self.slowest_ms.max(took);
            self.requests += 1;
        }
    }
}

/// A change in the database, since the beginning of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    pub(crate) what: &'static str,
    pub(crate) at_ms: f64,
    pub(crate) end_ms: f64,
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The stalls that waits make up, in the order of time, each with the changes that it came with.
pub(crate) fn stalls(mut waits: Vec<Wait>, changes: &[Change]) -> Vec<Stall> {
    waits.sort_by_key(|wait| wait.from);
    let mut stalls: Vec<Stall> = Vec::new();
    for wait in &waits {
        let from = millis(wait.from);
        match stalls.last_mut() {
            Some(stall) if from <= stall.end_ms => stall.add(wait),
            _ => {
                let mut stall = Stall {
                    at_ms: from,
                    ..Stall::default()
                };
                stall.add(wait);
                stalls.push(stall);
            }
        }
    }
    for stall in &mut stalls {
        let is_near = |change: &&Change| {
            change.at_ms <= stall.end_ms && stall.at_ms <= change.end_ms + AFTERMATH_MS
        };
        stall.during = changes
            .iter()
            .filter(is_near)
            .map(|change| change.what)
            .collect();
    }
    stalls
}

/// Stalls that came with a change and are not `control`'s likewise: those that are more than
/// [`LIMIT`] longer than the one of the same rank there, the longest first.
pub(crate) fn to_blame(control: &[Stall], changed: &[Stall]) -> Vec<Stall> {
    let control = longest_first(control);
    let with_changes = longest_first(changed)
        .into_iter()
        .filter(|stall| !stall.during.is_empty());
    let alike = control
        .iter()
        .map(Stall::longest_ms)
        .chain(std::iter::repeat(0.0));
    with_changes
        .zip(alike)
        .filter(|(stall, alike)| stall.longest_ms() > alike + millis(LIMIT))
        .map(|(stall, _)| stall)
        .collect()
}

/// The same, by their longest wait.
pub(crate) fn longest_first(stalls: &[Stall]) -> Vec<Stall> {
    let mut stalls = stalls.to_vec();
    stalls.sort_by(|a, b| b.longest_ms().total_cmp(&a.longest_ms()));
    stalls
}

/// How many there are of each length.
pub(crate) fn distribution(stalls: &[Stall]) -> String {
    let ends = CLASSES_MS[1..].iter().copied().chain([f64::INFINITY]);
    let class = |(from, to): (f64, f64)| {
        let is_in = |stall: &&Stall| (from..to).contains(&stall.longest_ms());
        let count = stalls.iter().filter(is_in).count();
        if to.is_finite() {
            format!("{from}–{to} ms: {count}")
        } else {
            format!("longer: {count}")
        }
    };
    let classes: Vec<_> = CLASSES_MS.into_iter().zip(ends).map(class).collect();
    classes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(from: u64, until: u64, is_silence: bool) -> Wait {
        Wait {
            from: Duration::from_millis(from),
            until: Duration::from_millis(until),
            is_silence,
        }
    }

    fn stall(longest_ms: f64, during: &[&'static str]) -> Stall {
        Stall {
            slowest_ms: longest_ms,
            during: during.to_vec(),
            ..Stall::default()
        }
    }

    fn lengths(stalls: &[Stall]) -> Vec<f64> {
        stalls.iter().map(Stall::longest_ms).collect()
    }

    #[test]
    fn waits_that_overlap_are_one_stall_with_what_happened_then() {
        let waits = vec![
            wait(1_000, 1_060, false),
            wait(100, 180, false),
            wait(110, 190, true),
            wait(150, 240, false),
        ];
        let change = |what, at_ms, end_ms| Change {
            what,
            at_ms,
            end_ms,
        };
        let changes = [change("early", 0.0, 60.0), change("late", 1_070.0, 1_080.0)];
        let found = stalls(waits, &changes);
        assert_eq!(
            found,
            [
                Stall {
                    at_ms: 100.0,
                    end_ms: 240.0,
                    slowest_ms: 90.0,
                    silence_ms: 80.0,
                    requests: 3 - 1,
                    during: vec!["early"],
                },
                Stall {
                    at_ms: 1_000.0,
                    end_ms: 1_060.0,
                    slowest_ms: 60.0,
                    silence_ms: 0.0,
                    requests: 1,
                    during: Vec::new(),
                },
            ]
        );
    }

    #[test]
    fn a_change_is_to_blame_for_what_the_control_does_not_show() {
        let control = [stall(120.0, &[]), stall(60.0, &[])];
        let like_it = [stall(60.0, &["a"]), stall(160.0, &["a"])];
        assert!(to_blame(&control, &like_it).is_empty());
        // Longer than any, and one more than there are.
        assert_eq!(
            lengths(&to_blame(&control, &[stall(171.0, &["a"])])),
            [171.0]
        );
        let three = [
            stall(51.0, &["a"]),
            stall(70.0, &["a"]),
            stall(90.0, &["b"]),
        ];
        assert_eq!(lengths(&to_blame(&control, &three)), [51.0]);
        // The machine's own.
        assert!(to_blame(&[], &[stall(900.0, &[])]).is_empty());
        assert_eq!(lengths(&to_blame(&[], &[stall(51.0, &["a"])])), [51.0]);
    }

    #[test]
    fn each_stall_is_in_one_class() {
        let all = [50.0, 99.0, 100.0, 5_000.0].map(|longest| stall(longest, &[]));
        assert_eq!(
            distribution(&all),
            "50–100 ms: 2, 100–200 ms: 1, 200–500 ms: 0, 500–1000 ms: 0, longer: 1"
        );
    }
}
