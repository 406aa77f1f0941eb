//! Counters of the connections.

use prometheus_client::metrics::counter::Counter;
use trunkline_telemetry::metrics::Catalog;

/// What is counted of connections. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionMetrics {
    refused: Counter,
    evicted: Counter,
}

impl Default for ConnectionMetrics {
    /// Metrics that nobody scrapes.
    fn default() -> Self {
        Self::new(&mut Catalog::new("trunkline"))
    }
}

impl ConnectionMetrics {
    /// Adds every metric to `catalog`.
    pub(crate) fn new(catalog: &mut Catalog) -> Self {
        Self {
            refused: catalog.add(
                "refused_connections",
                "Connections refused because all that may be open had a request on them",
                Counter::default(),
            ),
            evicted: catalog.add(
                "evicted_connections",
                "Idle connections closed to make room for new ones",
                Counter::default(),
            ),
        }
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn evicted(&self) {
        self.evicted.inc();
    }
}
