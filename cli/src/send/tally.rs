//! What the workers of a run counted, from which the report is made.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::request::{Outcome, SentRequest};
use crate::http::Failure;

/// Counts and latencies. Latencies are in microseconds, kept to three significant digits.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) events: u64,
    pub(super) acknowledged: u64,
    pub(super) statuses: BTreeMap<u16, u64>,
    /// The first refusal of each status.
    pub(super) refusals: BTreeMap<u16, String>,
    pub(super) timeouts: u64,
    pub(super) connection_errors: u64,
    /// The first of them.
    pub(super) connection_error: Option<String>,
    /// Of the requests that were answered, whatever the status. None when it cannot be built,
    /// which three digits never cause.
    pub(super) latencies: Option<Histogram<u64>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: 0,
            events: 0,
            acknowledged: 0,
            statuses: BTreeMap::new(),
            refusals: BTreeMap::new(),
            timeouts: 0,
            connection_errors: 0,
            connection_error: None,
            latencies: Histogram::new(3).ok(),
        }
    }
}

impl Tally {
    /// Counts one request.
    pub(super) fn count(&mut self, request: &SentRequest, outcome: &Outcome) {
        let events = request.events.len() as u64;
        self.requests += 1;
        self.events += events;
        if outcome.is_acknowledged() {
            self.acknowledged += events;
        }
        match &outcome.result {
            Ok(status) => {
                *self.statuses.entry(*status).or_default() += 1;
                if !outcome.is_acknowledged() {
                    self.refusals
                        .entry(*status)
                        .or_insert_with(|| outcome.refusal.clone());
                }
                if let Some(latencies) = &mut self.latencies {
                    let micros = u64::try_from(outcome.latency.as_micros()).unwrap_or(u64::MAX);
                    // It grows to any value; `saturating_record` would keep it small instead.
                    let _ = latencies.record(micros);
                }
            }
            Err(Failure::Timeout) => self.timeouts += 1,
            Err(Failure::Connection(text)) => {
                self.connection_errors += 1;
                self.connection_error.get_or_insert_with(|| text.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::report::Report;
    use bytes::Bytes;
    use hyper::HeaderMap;
    use std::time::Duration;

    #[test]
    fn latencies_of_all_sizes_make_the_percentiles() {
        let request = SentRequest::alone(Bytes::new(), HeaderMap::new(), Vec::new());
        let mut total = Tally::default();
        // 1,000 latencies, 10 ms to 10 s.
        for n in 1..=1_000 {
            let latency = Duration::from_millis(10 * n);
            let outcome = Outcome {
                result: Ok(200),
                latency,
                refusal: String::new(),
            };
            total.count(&request, &outcome);
        }
        let report = Report::new(total, Duration::from_secs(1), 0, false);
        let latency = report.latency_ms.unwrap();
        for (value, expected) in [
            (latency.p50, 5_000.0),
            (latency.p90, 9_000.0),
            (latency.p99, 9_900.0),
            (latency.p99_9, 9_990.0),
            (latency.max, 10_000.0),
        ] {
            assert!(
                (value - expected).abs() < expected / 500.0,
                "{value} for {expected}"
            );
        }
    }
}
