//! Counters of the connections and their TLS.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
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

/// What is told of the certificate that senders see.
#[derive(Debug)]
pub(crate) struct TlsMetrics {
    expiry: Gauge,
    refused: Counter,
}

impl TlsMetrics {
    /// Adds every metric to `catalog`.
    pub(crate) fn new(catalog: &mut Catalog) -> Self {
        Self {
            expiry: catalog.add_seconds(
                "tls_certificate_expiry_timestamp",
                "When the certificate that senders see expires, since the Unix epoch; 0 without TLS",
                Gauge::default(),
            ),
            refused: catalog.add(
                "tls_certificate_errors",
                "Certificates that could not be shown; the last good one stayed",
                Counter::default(),
            ),
        }
    }

    pub(crate) fn loaded(&self, expires_at: i64) {
        self.expiry.set(expires_at);
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }
}
