//! The table at the end: medians for each scenario and receiver, and ratios within pairs.
//!
//! Pure. Machines and minutes differ by more than receivers do, so only what ran side by side is
//! compared: a ratio is taken within each pair, and then the median of the ratios.

use std::fmt::Write;

use crate::receiver::Kind;
use crate::scenario::{Run, Scenario};

/// The table of some runs.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = format!(
        "{:<8}  {:<9}  {:>4}  {:>9}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}\n",
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
                "{:<8}  {:<9}  {:>4}  {:>9.0}  {:>8.2}  {:>8.2}  {:>8.2}  {:>8.1}  {:>8.1}  {:>8.1}  {:>8.1}",
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

/// The middle value, or the mean of the two in the middle; NaN of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    match (values.get(upper), values.len() % 2) {
        (Some(middle), 1) => *middle,
        (Some(above), _) => f64::midpoint(*above, values[upper - 1]),
        (None, _) => f64::NAN,
    }
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
        assert!(text.contains("trunkline     3         80"), "{text}");
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert!(median([].into_iter()).is_nan());
    }
}
