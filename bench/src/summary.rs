//! The table at the end: medians for each scenario and receiver, and ratios within pairs.
//!
//! Pure. Machines and minutes differ by more than receivers do, so only what ran side by side is
//! compared: a ratio is taken within each pair, and then the median of the ratios.

use std::fmt::Write;

use trunkline_bench::figures::median;

use crate::receiver::Kind;
use crate::scenario::{Run, Scenario};
use crate::stalls::{Stall, distribution, longest_first, to_blame};

/// The table of some runs.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = format!(
        "{:<8}  {:<11}  {:>4}  {:>9}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}\n",
        "scenario",
        "receiver",
        "runs",
        "events/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "recv us",
        "pg us",
        "idle MiB",
        "peak MiB",
    );
    for scenario in present(runs.iter().map(|run| run.scenario)) {
        let of = |kind: Kind| runs_of(runs, scenario, kind);
        for kind in present(runs.iter().map(|run| run.receiver)) {
            let runs = of(kind);
            let middle = |value: fn(&Run) -> f64| median(runs.iter().map(|run| value(run)));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{:<8}  {:<11}  {:>4}  {:>9.0}  {:>8.2}  {:>8.2}  {:>8.2}  {:>8.1}  {:>8.1}  {:>8.1}  {:>8.1}",
                scenario.name(),
                kind.name(),
                runs.len(),
                middle(|run| run.events_per_second),
                middle(|run| run.p50_ms),
                middle(|run| run.p99_ms),
                middle(|run| run.p999_ms),
                middle(|run| run.receiver_us),
                middle(|run| run.postgres_us),
                middle(|run| run.idle_kib as f64 / 1024.0),
                middle(|run| run.peak_kib as f64 / 1024.0),
            );
        }
    }
    text
}

/// What the ingester reaches of each other receiver's figure, as `median (lowest to highest)`.
pub(crate) fn ratios(runs: &[Run]) -> String {
    let mut text = format!(
        "{:<8}  {:<22}  {:>22}  {:>22}\n",
        "scenario", "ratio", "events/s", "p99"
    );
    for scenario in present(runs.iter().map(|run| run.scenario)) {
        for kind in present(runs.iter().map(|run| run.receiver)) {
            if kind == Kind::Trunkline {
                continue;
            }
            let ours = runs_of(runs, scenario, Kind::Trunkline);
            let theirs = runs_of(runs, scenario, kind);
            let ratio = |value: fn(&Run) -> f64| {
                let mut ratios = Vec::new();
                for our in &ours {
                    let pair = theirs.iter().find(|their| their.pair == our.pair);
                    ratios.extend(pair.map(|their| value(our) / value(their)));
                }
                spread(&ratios)
            };
            let _ = writeln!(
                text,
                "{:<8}  {:<22}  {:>22}  {:>22}",
                scenario.name(),
                format!("trunkline / {}", kind.name()),
                ratio(|run| run.events_per_second),
                ratio(|run| run.p99_ms),
            );
        }
    }
    text
}

/// How soon new events were found.
pub(crate) fn news(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs.iter().filter(|run| !run.found_ms.is_empty()) {
        let slowest = run.found_ms.iter().copied().fold(0.0, f64::max);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>3}  {} new events beside {:.0} events/s: found after {:.0} ms, the slowest after \
             {slowest:.0} ms",
            run.pair,
            run.found_ms.len(),
            run.events_per_second,
            median(run.found_ms.iter().copied()),
        );
    }
    text
}

/// Stalls of a run that are printed; the results have all of them.
const SHOWN: usize = 20;

/// What the scenarios that look for stalls have found.
pub(crate) struct Stalls {
    pub(crate) text: String,
    /// How many came with a change and are not the control's likewise.
    pub(crate) to_blame: usize,
}

/// The longest stalls of calm and of changes, and which of the latter are the changes'.
pub(crate) fn stalls(runs: &[Run]) -> Stalls {
    let (mut text, mut all_to_blame) = (String::new(), 0);
    for run in runs {
        let Some(stalls) = &run.stalls else {
            continue;
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>3}  {:<8} {:<11} {:.0} s, p99.9 {:.2} ms, {} changes; stalls: {}",
            run.pair,
            run.scenario.name(),
            run.receiver.name(),
            run.seconds,
            run.p999_ms,
            run.changes.len(),
            distribution(stalls),
        );
        for stall in longest_first(stalls).iter().take(SHOWN) {
            let _ = writeln!(text, "     {}", line(stall));
        }
        if run.scenario == Scenario::Changes {
            let is_control = |other: &&Run| {
                (other.pair, other.receiver, other.scenario)
                    == (run.pair, run.receiver, Scenario::Calm)
            };
            let control = runs.iter().find(is_control);
            let control = control.and_then(|run| run.stalls.as_deref());
            let blamed = to_blame(control.unwrap_or_default(), stalls);
            for stall in &blamed {
                let _ = writeln!(text, "     to blame: {}", line(stall));
            }
            all_to_blame += blamed.len();
        }
    }
    Stalls {
        text,
        to_blame: all_to_blame,
    }
}

fn line(stall: &Stall) -> String {
    let during = if stall.during.is_empty() {
        "nothing".to_owned()
    } else {
        stall.during.join(", ")
    };
    format!(
        "at {:.1} s: {} requests, the slowest {:.0} ms, no answer for {:.0} ms; during {during}",
        stall.at_ms / 1e3,
        stall.requests,
        stall.slowest_ms,
        stall.silence_ms,
    )
}

fn present<T: Ord>(values: impl Iterator<Item = T>) -> std::collections::BTreeSet<T> {
    values.collect()
}

fn runs_of(runs: &[Run], scenario: Scenario, kind: Kind) -> Vec<&Run> {
    runs.iter()
        .filter(|run| run.scenario == scenario && run.receiver == kind)
        .collect()
}

fn spread(values: &[f64]) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values.iter().copied());
    format!("{middle:.2} ({lowest:.2} to {highest:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pair: u32, receiver: Kind, events_per_second: f64, p99_ms: f64) -> Run {
        Run {
            pair,
            scenario: Scenario::Full,
            receiver,
            events: 1,
            seconds: 1.0,
            events_per_second,
            p50_ms: 1.0,
            p99_ms,
            p999_ms: 3.0,
            max_ms: 4.0,
            late: 0,
            receiver_us: 5.0,
            postgres_us: 6.0,
            sender_us: 7.0,
            idle_kib: 1024,
            peak_kib: 2048,
            load_average: 0.0,
            stalls: None,
            changes: Vec::new(),
            found_ms: Vec::new(),
        }
    }

    /// The machine is slow in pair 2; the ratio stays what it is.
    #[test]
    fn ratios_are_taken_within_pairs() {
        let runs = [
            run(1, Kind::Trunkline, 80.0, 2.0),
            run(1, Kind::Floor, 100.0, 1.0),
            run(2, Kind::Trunkline, 8.0, 20.0),
            run(2, Kind::Floor, 10.0, 10.0),
            run(3, Kind::Trunkline, 90.0, 3.0),
            run(3, Kind::Floor, 100.0, 1.0),
        ];
        let text = ratios(&runs);
        assert!(text.contains("0.80 (0.80 to 0.90)"), "{text}");
        assert!(text.contains("2.00 (2.00 to 3.00)"), "{text}");
        assert!(!text.contains("fastify"), "{text}");
        let text = table(&runs);
        assert!(text.contains("trunkline       3         80"), "{text}");
    }

    #[test]
    fn changes_are_compared_with_the_calm_of_the_same_pair_and_receiver() {
        let watched = |pair, receiver, scenario, slowest_ms| Run {
            scenario,
            stalls: Some(vec![Stall {
                slowest_ms,
                during: vec!["retention"],
                ..Stall::default()
            }]),
            ..run(pair, receiver, 1.0, 1.0)
        };
        let runs = [
            run(1, Kind::Trunkline, 1.0, 1.0),
            watched(1, Kind::Trunkline, Scenario::Calm, 200.0),
            watched(1, Kind::Trunkline, Scenario::Changes, 210.0),
            watched(2, Kind::Trunkline, Scenario::Calm, 60.0),
            watched(2, Kind::Trunkline, Scenario::Changes, 211.0),
            watched(2, Kind::Floor, Scenario::Calm, 300.0),
        ];
        let found = stalls(&runs);
        assert_eq!(found.to_blame, 1, "{}", found.text);
        let blamed: Vec<_> = found
            .text
            .lines()
            .filter(|l| l.contains("to blame"))
            .collect();
        assert_eq!(blamed.len(), 1);
        assert!(blamed[0].contains("the slowest 211 ms"), "{}", blamed[0]);
        assert!(blamed[0].ends_with("during retention"), "{}", blamed[0]);
    }
}
