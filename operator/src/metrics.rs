//! The operator's own metrics.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What a reconciliation came to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
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
        let mut registry = Registry::with_prefix("trunkline_operator");
        let reconciliations = Family::<ResultLabel, Counter>::default();
        let duration = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let (writes, leader, ready_sources) =
            (Counter::default(), Gauge::default(), Gauge::default());
        registry.register(
            "reconciliations",
            "Reconciliations of WebhookClusters by result",
            reconciliations.clone(),
        );
        registry.register_with_unit(
            "reconciliation_duration",
            "Duration of a reconciliation",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register(
            "writes",
            "Objects and statuses written to the API server",
            writes.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica acts, 0 while it stands by",
            leader.clone(),
        );
        registry.register(
            "sources_ready",
            "WebhookSources that were Ready when last looked at",
            ready_sources.clone(),
        );
        Arc::new(Self {
            registry,
            reconciliations,
            duration,
            writes,
            leader,
            ready_sources,
        })
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
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
