//! The metrics of an ingester, as Prometheus reads them.
//!
//! Invariant: labels come from the configuration or from this code, never from a request: an
//! unknown path counts under the source `""`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::commit::CommitMetrics;

/// Upper bounds of the duration of a request, in seconds: from a commit on a local disk to the time
/// within which every request is to be answered.
const REQUEST_SECONDS: [f64; 13] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Labels of a counter of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StatusLabels {
    pub(crate) source: Arc<str>,
    pub(crate) status: u16,
}

/// Labels of a counter of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusalLabels {
    pub(crate) source: Arc<str>,
    pub(crate) reason: &'static str,
}

/// The label of what is counted for each source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceLabels {
    pub(crate) source: Arc<str>,
}

/// What holds at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) bytes_in_flight: usize,
    pub(crate) database_up: bool,
    pub(crate) database_durable: bool,
}

/// Every metric.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<StatusLabels, Counter>,
    pub(crate) request_seconds: Histogram,
    pub(crate) refusals: Family<RefusalLabels, Counter>,
    pub(crate) recorded_refusals: Counter,
    pub(crate) unrecorded_refusals: Counter,
    pub(crate) unverified: Family<RefusalLabels, Counter>,
    pub(crate) events: Family<SourceLabels, Counter>,
    pub(crate) repaired_events: Family<SourceLabels, Counter>,
    pub(crate) config_loaded: Gauge<f64, AtomicU64>,
    pub(crate) config_errors: Counter,
    pub(crate) commits: CommitMetrics,
    bytes_in_flight: Gauge,
    database_up: Gauge,
    database_durable: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("trunkline_ingester"),
            requests: Family::default(),
            request_seconds: Histogram::new(REQUEST_SECONDS),
            refusals: Family::default(),
            recorded_refusals: Counter::default(),
            unrecorded_refusals: Counter::default(),
            unverified: Family::default(),
            events: Family::default(),
            repaired_events: Family::default(),
            config_loaded: Gauge::default(),
            config_errors: Counter::default(),
            commits: CommitMetrics::default(),
            bytes_in_flight: Gauge::default(),
            database_up: Gauge::default(),
            database_durable: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's headers to its answer",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register(
            "refusals",
            "Requests refused, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "recorded_refusals",
            "Refused requests that a row of trunkline.rejections stands for",
            self.recorded_refusals.clone(),
        );
        registry.register(
            "unrecorded_refusals",
            "Refused requests that no row of trunkline.rejections will stand for",
            self.unrecorded_refusals.clone(),
        );
        registry.register(
            "unverified_requests",
            "Requests stored although they failed verification, by reason",
            self.unverified.clone(),
        );
        registry.register("events", "Events committed", self.events.clone());
        registry.register(
            "repaired_events",
            "Events committed with a repaired body, because jsonb cannot hold it as sent",
            self.repaired_events.clone(),
        );
        registry.register_with_unit(
            "config_loaded_timestamp",
            "When the served configuration was loaded, since the Unix epoch",
            Unit::Seconds,
            self.config_loaded.clone(),
        );
        registry.register(
            "config_errors",
            "Configurations that were refused",
            self.config_errors.clone(),
        );
        self.commits.register(registry);
        registry.register(
            "bytes_in_flight",
            "Memory reserved by requests that are not answered yet, in bytes",
            self.bytes_in_flight.clone(),
        );
        registry.register(
            "database_up",
            "1 while the database takes commits",
            self.database_up.clone(),
        );
        registry.register(
            "database_durable",
            "1 while the database keeps what it commits",
            self.database_durable.clone(),
        );
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
    }

    /// The metrics as OpenMetrics text, together with what holds now.
    pub(crate) fn encode(&self, now: Snapshot) -> Result<String, fmt::Error> {
        self.bytes_in_flight
            .set(i64::try_from(now.bytes_in_flight).unwrap_or(i64::MAX));
        self.database_up.set(i64::from(now.database_up));
        self.database_durable.set(i64::from(now.database_durable));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
