//! The metrics of an ingester, as Prometheus reads them.
//!
//! Invariant: labels come from the configuration or from this code, never from a request: an
//! unknown path counts under the source `""`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use trunkline_telemetry::metrics::{Catalog, Description, LabelNames};

use crate::commit::CommitMetrics;
use crate::server::{ConnectionMetrics, TlsMetrics};

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

impl LabelNames for StatusLabels {
    const NAMES: &'static [&'static str] = &["source", "status"];
}

/// Labels of a counter of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusalLabels {
    pub(crate) source: Arc<str>,
    pub(crate) reason: &'static str,
}

impl LabelNames for RefusalLabels {
    const NAMES: &'static [&'static str] = &["source", "reason"];
}

/// The label of what is counted for each source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SourceLabels {
    pub(crate) source: Arc<str>,
}

impl LabelNames for SourceLabels {
    const NAMES: &'static [&'static str] = &["source"];
}

/// The label of a bound that may come from one of several places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BoundLabels {
    pub(crate) set_by: &'static str,
}

impl LabelNames for BoundLabels {
    const NAMES: &'static [&'static str] = &["set_by"];
}

/// What holds at the moment of a scrape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) connections: usize,
    pub(crate) bytes_in_flight: usize,
    pub(crate) database_up: bool,
    pub(crate) database_durable: bool,
}

/// Every metric.
pub(crate) struct Metrics {
    catalog: Catalog,
    pub(crate) requests: Family<StatusLabels, Counter>,
    pub(crate) request_seconds: Histogram,
    pub(crate) refusals: Family<RefusalLabels, Counter>,
    pub(crate) recorded_refusals: Counter,
    pub(crate) unrecorded_refusals: Counter,
    pub(crate) unverified: Family<RefusalLabels, Counter>,
    pub(crate) events: Family<SourceLabels, Counter>,
    pub(crate) repaired_events: Family<SourceLabels, Counter>,
    pub(crate) deduplicated_rows: Family<SourceLabels, Counter>,
    pub(crate) noted_shapes: Family<SourceLabels, Counter>,
    pub(crate) unnoted_shapes: Family<RefusalLabels, Counter>,
    pub(crate) config_loaded: Gauge<f64, AtomicU64>,
    pub(crate) config_errors: Counter,
    pub(crate) commits: CommitMetrics,
    pub(crate) connections: ConnectionMetrics,
    pub(crate) tls: TlsMetrics,
    open_connections: Gauge,
    in_flight: Gauge,
    pub(crate) in_flight_limit: Family<BoundLabels, Gauge>,
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
        let mut catalog = Catalog::new("trunkline_ingester");
        catalog.add_build_info(env!("CARGO_PKG_VERSION"));
        Self {
            requests: catalog.add("requests", "Requests answered", Family::default()),
            request_seconds: catalog.add_seconds(
                "request_duration",
                "Time from a request's headers to its answer",
                Histogram::new(REQUEST_SECONDS),
            ),
            refusals: catalog.add(
                "refusals",
                "Requests answered with anything but 200, by reason",
                Family::default(),
            ),
            recorded_refusals: catalog.add(
                "recorded_refusals",
                "Refused requests that a row of trunkline.rejections stands for",
                Counter::default(),
            ),
            unrecorded_refusals: catalog.add(
                "unrecorded_refusals",
                "Refused requests that no row of trunkline.rejections will stand for",
                Counter::default(),
            ),
            unverified: catalog.add(
                "unverified_requests",
                "Requests that failed verification and were stored, because the source's \
                 verification.mode is ReportOnly, by the reason of the 400 that they would have got",
                Family::default(),
            ),
            events: catalog.add("events", "Events committed", Family::default()),
            repaired_events: catalog.add(
                "repaired_events",
                "Events committed with a body that is not exactly what was sent, because jsonb \
                 cannot hold that",
                Family::default(),
            ),
            deduplicated_rows: catalog.add(
                "deduplicated_rows",
                "Events answered with 200 and not stored, since they repeat one that is and their \
                 source has deduplicate",
                Family::default(),
            ),
            noted_shapes: catalog.add(
                "noted_shapes",
                "Event names and fields, each with its kind, written to trunkline.shapes, those \
                 that were there included",
                Family::default(),
            ),
            unnoted_shapes: catalog.add(
                "unnoted_shapes",
                "How often an event name or field was seen that is not noted in trunkline.shapes, \
                 by the bound that leaves no room for it: event_names, fields, shapes, length for \
                 good, rate for now",
                Family::default(),
            ),
            in_flight: catalog.add_bytes(
                "in_flight",
                "Memory reserved by requests that are not answered yet",
                Gauge::default(),
            ),
            in_flight_limit: catalog.add_bytes(
                "in_flight_limit",
                "The most that requests may reserve: as configured, or less where the process's \
                 own memory limit has no room for that",
                Family::default(),
            ),
            open_connections: catalog.add(
                "connections",
                "Connections from senders that are open",
                Gauge::default(),
            ),
            connections: ConnectionMetrics::new(&mut catalog),
            tls: TlsMetrics::new(&mut catalog),
            commits: CommitMetrics::new(&mut catalog),
            database_up: catalog.add(
                "database_up",
                "1 while the database takes commits, else 0",
                Gauge::default(),
            ),
            database_durable: catalog.add(
                "database_durable",
                "1 while the database keeps what it commits, else 0",
                Gauge::default(),
            ),
            config_loaded: catalog.add_seconds(
                "config_loaded_timestamp",
                "When the served configuration was loaded, since the Unix epoch",
                Gauge::default(),
            ),
            config_errors: catalog.add(
                "config_errors",
                "Configurations that were refused; the last good one stayed",
                Counter::default(),
            ),
            catalog,
        }
    }

    /// What there is, for the reference page.
    pub(crate) fn descriptions(&self) -> &[Description] {
        self.catalog.descriptions()
    }

    /// The metrics as OpenMetrics text, together with what holds now.
    pub(crate) fn encode(&self, now: Snapshot) -> Result<String, fmt::Error> {
        self.open_connections
            .set(i64::try_from(now.connections).unwrap_or(i64::MAX));
        self.in_flight
            .set(i64::try_from(now.bytes_in_flight).unwrap_or(i64::MAX));
        self.database_up.set(i64::from(now.database_up));
        self.database_durable.set(i64::from(now.database_durable));
        self.catalog.encode()
    }
}
