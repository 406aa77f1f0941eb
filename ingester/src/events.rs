//! What can be observed: one struct per event, which writes its log line and its metrics together.
//!
//! Invariants: no event takes a secret, a signature, a path or a part of a body. Whatever a stranger
//! can cause is logged at most once per second, source and reason, with the number of the others.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tracing::{info, warn};
use trunkline_model::document::Configuration;

use crate::memory::InFlight;
use crate::metrics::{BoundLabels, Metrics, RefusalLabels, SourceLabels, StatusLabels};
use crate::rejections::Rejections;
use crate::request::Refusal;
use crate::verify::Unverified;

/// Least time between two log lines about refusals of one source for one reason.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Where events go.
#[derive(Debug)]
pub(crate) struct Events {
    metrics: Metrics,
    /// Refusals on their way to the database.
    pub(crate) rejections: Rejections,
    refusals: LogLimiter,
    unverified: LogLimiter,
}

impl Events {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            rejections: Rejections::new(),
            refusals: LogLimiter::default(),
            unverified: LogLimiter::default(),
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// A request was answered.
pub(crate) struct RequestAnswered<'a> {
    /// The source, or `""`.
    pub(crate) source: &'a Arc<str>,
    pub(crate) status: u16,
    pub(crate) duration: Duration,
}

impl RequestAnswered<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let labels = StatusLabels {
            source: Arc::clone(self.source),
            status: self.status,
        };
        events.metrics.requests.get_or_create(&labels).inc();
        events
            .metrics
            .request_seconds
            .observe(self.duration.as_secs_f64());
    }
}

/// A request was answered with anything but 200.
pub(crate) struct RequestRefused<'a> {
    /// The source, or `""`.
    pub(crate) source: &'a Arc<str>,
    pub(crate) refusal: &'a Refusal,
}

impl RequestRefused<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let reason = self.refusal.reason();
        let labels = RefusalLabels {
            source: Arc::clone(self.source),
            reason,
        };
        events.metrics.refusals.get_or_create(&labels).inc();
        if !events.rejections.note(labels.clone(), self.refusal) {
            events.metrics.unrecorded_refusals.inc();
        }
        if let Some(others) = events.refusals.pass(labels, Instant::now()) {
            warn!(
                source = %self.source,
                reason,
                status = self.refusal.status().as_u16(),
                others,
                "request refused: {}",
                self.refusal
            );
        }
    }
}

/// The events of a request were committed.
pub(crate) struct EventsCommitted<'a> {
    pub(crate) source: &'a Arc<str>,
    pub(crate) events: u64,
    /// How many of them have a repaired body.
    pub(crate) repaired: u64,
    /// How many of them repeat what is there, and were not stored.
    pub(crate) left_out: u64,
}

impl EventsCommitted<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let labels = SourceLabels {
            source: Arc::clone(self.source),
        };
        let add = |counters: &Family<SourceLabels, Counter>, count| {
            counters.get_or_create(&labels).inc_by(count);
        };
        let stored = self.events.saturating_sub(self.left_out);
        add(&events.metrics.events, stored);
        // Of a request of which a part is stored nobody has kept which.
        let repaired = self.repaired.min(stored);
        if repaired > 0 {
            add(&events.metrics.repaired_events, repaired);
        }
        if self.left_out > 0 {
            add(&events.metrics.deduplicated_rows, self.left_out);
        }
    }
}

/// A request was stored although it failed verification, because its source only reports that.
pub(crate) struct UnverifiedStored<'a> {
    pub(crate) source: &'a Arc<str>,
    pub(crate) reason: Unverified,
}

impl UnverifiedStored<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let labels = RefusalLabels {
            source: Arc::clone(self.source),
            reason: self.reason.label(),
        };
        events.metrics.unverified.get_or_create(&labels).inc();
        if let Some(others) = events.unverified.pass(labels, Instant::now()) {
            warn!(
                source = %self.source,
                reason = self.reason.label(),
                others,
                "request stored that spec.verification.mode: Enforce would refuse: {}",
                self.reason
            );
        }
    }
}

/// A configuration is about to be served.
pub(crate) struct ConfigurationLoaded<'a> {
    pub(crate) configuration: &'a Configuration,
    pub(crate) in_flight: InFlight,
}

impl ConfigurationLoaded<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        events
            .metrics
            .config_loaded
            .set(since_epoch.unwrap_or_default().as_secs_f64());
        let bound = &events.metrics.in_flight_limit;
        bound.clear();
        bound
            .get_or_create(&BoundLabels {
                set_by: self.in_flight.set_by,
            })
            .set(i64::try_from(self.in_flight.bytes).unwrap_or(i64::MAX));
        info!(
            hash = self.configuration.hash.as_str(),
            cluster = %self.configuration.cluster.name,
            sources = self.configuration.sources.len(),
            bytes_in_flight = self.in_flight.bytes,
            set_by = self.in_flight.set_by,
            "configuration loaded"
        );
    }
}

/// What lies in the configuration directory is not served.
pub(crate) struct ConfigurationRefused<'a> {
    pub(crate) error: &'a str,
}

impl ConfigurationRefused<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        events.metrics.config_errors.inc();
        warn!(
            error = self.error,
            "configuration refused; what is served stays as it is"
        );
    }
}

/// Refusals wait, because the database does not take them.
pub(crate) struct RejectionsUnwritten<'a> {
    pub(crate) reason: &'a str,
}

impl RejectionsUnwritten<'_> {
    pub(crate) fn emit(&self, _: &Events) {
        warn!(
            reason = self.reason,
            "cannot write to trunkline.rejections; what is refused waits, and is told in the log"
        );
    }
}

/// Refusals that no row tells of, at the end of the process.
pub(crate) struct RejectionsLost {
    pub(crate) requests: u64,
}

impl RejectionsLost {
    pub(crate) fn emit(&self, events: &Events) {
        events.metrics.unrecorded_refusals.inc_by(self.requests);
        warn!(
            requests = self.requests,
            "refused requests are not in trunkline.rejections, since the process ends"
        );
    }
}

/// A shape is in the database.
pub(crate) struct ShapesNoted<'a> {
    pub(crate) source: &'a Arc<str>,
}

impl ShapesNoted<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let labels = SourceLabels {
            source: Arc::clone(self.source),
        };
        events.metrics.noted_shapes.get_or_create(&labels).inc();
    }
}

/// What was seen is not noted, because a bound leaves no room for it.
pub(crate) struct ShapesUnnoted<'a> {
    pub(crate) source: &'a Arc<str>,
    pub(crate) bound: &'static str,
    pub(crate) times: u64,
}

impl ShapesUnnoted<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        let labels = RefusalLabels {
            source: Arc::clone(self.source),
            reason: self.bound,
        };
        let unnoted = &events.metrics.unnoted_shapes;
        unnoted.get_or_create(&labels).inc_by(self.times);
    }
}

/// Shapes wait, because the database does not take them.
pub(crate) struct ShapesUnwritten<'a> {
    pub(crate) reason: &'a str,
}

impl ShapesUnwritten<'_> {
    pub(crate) fn emit(&self, _: &Events) {
        warn!(
            reason = self.reason,
            "cannot write to trunkline.shapes; new relations and columns for analysts wait"
        );
    }
}

/// Shapes that were not written by the end of the process. The next one notes them when it sees them.
pub(crate) struct ShapesLost {
    pub(crate) shapes: usize,
}

impl ShapesLost {
    pub(crate) fn emit(&self, _: &Events) {
        warn!(
            shapes = self.shapes,
            "shapes are not in trunkline.shapes, since the process ends; they are noted when they \
             are seen again"
        );
    }
}

/// A certificate is shown to senders from now on.
pub(crate) struct CertificateLoaded {
    /// In seconds since the Unix epoch.
    pub(crate) expires_at: i64,
}

impl CertificateLoaded {
    pub(crate) fn emit(&self, events: &Events) {
        events.metrics.tls.loaded(self.expires_at);
        let expires_at = jiff::Timestamp::from_second(self.expires_at);
        let expires_at = expires_at.unwrap_or(jiff::Timestamp::MAX);
        info!(%expires_at, "certificate loaded");
    }
}

/// What lies in the files of the certificate is not shown.
pub(crate) struct CertificateRefused<'a> {
    pub(crate) error: &'a str,
}

impl CertificateRefused<'_> {
    pub(crate) fn emit(&self, events: &Events) {
        events.metrics.tls.refused();
        warn!(
            error = self.error,
            "certificate refused; the last good one stays"
        );
    }
}

/// An error and what caused it, as one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// Lets one line per label set and interval pass. Its size is bounded by the label sets, which the
/// configuration bounds.
#[derive(Debug, Default)]
struct LogLimiter {
    lines: Mutex<HashMap<RefusalLabels, Line>>,
}

#[derive(Debug)]
struct Line {
    last: Instant,
    held_back: u64,
}

impl LogLimiter {
    /// Whether a line may be written now, and then how many were held back before it.
    fn pass(&self, labels: RefusalLabels, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = lines.get_mut(&labels) else {
            lines.insert(
                labels,
                Line {
                    last: now,
                    held_back: 0,
                },
            );
            return Some(0);
        };
        if now.duration_since(line.last) < REFUSAL_LOG_INTERVAL {
            line.held_back += 1;
            return None;
        }
        line.last = now;
        Some(std::mem::take(&mut line.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_line_a_second_with_a_count() {
        let limiter = LogLimiter::default();
        let labels = |reason| RefusalLabels {
            source: Arc::from("default/a"),
            reason,
        };
        let start = Instant::now();
        assert_eq!(limiter.pass(labels("x"), start), Some(0));
        for _ in 0..1_000 {
            assert_eq!(limiter.pass(labels("x"), start), None);
        }
        assert_eq!(limiter.pass(labels("y"), start), Some(0));
        assert_eq!(
            limiter.pass(labels("x"), start + REFUSAL_LOG_INTERVAL),
            Some(1_000)
        );
        assert_eq!(
            limiter.pass(labels("x"), start + 2 * REFUSAL_LOG_INTERVAL),
            Some(0)
        );
    }
}
