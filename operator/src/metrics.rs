//! The operator's own metrics.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use trunkline_telemetry::metrics::{Catalog, Description, LabelNames};

/// What a reconciliation came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl LabelNames for ResultLabel {
    const NAMES: &'static [&'static str] = &["result"];
}

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    catalog: Catalog,
    reconciliations: Family<ResultLabel, Counter>,
    duration: Histogram,
    writes: Counter,
    leader: Gauge,
    ready_sources: Gauge,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut catalog = Catalog::new("trunkline_operator");
        catalog.add_build_info(env!("CARGO_PKG_VERSION"));
        Arc::new(Self {
            reconciliations: catalog.add(
                "reconciliations",
                "Reconciliations of WebhookClusters, by their result: success or error",
                Family::default(),
            ),
            duration: catalog.add_seconds(
                "reconciliation_duration",
                "Duration of a reconciliation",
                Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            ),
            writes: catalog.add(
                "writes",
                "Objects and statuses written to the API server",
                Counter::default(),
            ),
            leader: catalog.add(
                "leader",
                "1 while this replica acts, 0 while it stands by",
                Gauge::default(),
            ),
            ready_sources: catalog.add(
                "sources_ready",
                "WebhookSources that were Ready when last looked at",
                Gauge::default(),
            ),
            catalog,
        })
    }

    /// What there is, for the reference page.
    #[must_use]
    pub fn descriptions(&self) -> &[Description] {
        self.catalog.descriptions()
    }

    /// Counts a reconciliation.
    pub fn reconciled(&self, succeeded: bool, seconds: f64) {
        let result = if succeeded { "success" } else { "error" };
        self.reconciliations
            .get_or_create(&ResultLabel { result })
            .inc();
        self.duration.observe(seconds);
    }

    /// Counts writes.
    pub fn wrote(&self, count: u64) {
        self.writes.inc_by(count);
    }

    /// Says whether this replica acts.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Says how many sources are ready.
    pub fn set_ready_sources(&self, count: usize) {
        self.ready_sources.set(i64::try_from(count).unwrap_or(0));
    }

    /// The metrics as OpenMetrics text.
    ///
    /// # Errors
    /// Only when formatting fails.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.catalog.encode()
    }
}
