//! Counters of the commit path, in the form that the Prometheus client registers.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::error::CommitError;
use crate::rows::EncodedRows;

/// Upper bounds of the duration of a commit, in seconds: from a local disk to our own deadline.
const COMMIT_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0,
];

/// Upper bounds of the rows of a commit.
const COMMIT_ROWS: [f64; 9] = [
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0,
];

/// What the commit path counts. Clones count together.
#[derive(Debug, Clone)]
pub struct CommitMetrics {
    rows: Counter,
    bytes: Counter,
    commit_rows: Histogram,
    commit_seconds: Histogram,
    refusals: Family<[(&'static str, &'static str); 1], Counter>,
    bisections: Counter,
    quarantined_rows: Counter,
    connections: Counter,
    failed_connections: Counter,
}

impl Default for CommitMetrics {
    fn default() -> Self {
        Self {
            rows: Counter::default(),
            bytes: Counter::default(),
            commit_rows: Histogram::new(COMMIT_ROWS),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            refusals: Family::default(),
            bisections: Counter::default(),
            quarantined_rows: Counter::default(),
            connections: Counter::default(),
            failed_connections: Counter::default(),
        }
    }
}

impl CommitMetrics {
    /// Adds every metric to `registry`, whose prefix names the program.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("committed_rows", "Rows committed", self.rows.clone());
        registry.register_with_unit(
            "committed",
            "Size of the rows committed, as sent to the database",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "commit_rows",
            "Rows of one commit",
            self.commit_rows.clone(),
        );
        registry.register_with_unit(
            "commit_duration",
            "Time from the first byte of a commit to the database's answer",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register(
            "commit_refusals",
            "Deliveries that were not acknowledged, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "commit_bisections",
            "Batches that were split because the database refused a row of them",
            self.bisections.clone(),
        );
        registry.register(
            "quarantined_rows",
            "Rows stored with their body as text, because the database refused it as JSON",
            self.quarantined_rows.clone(),
        );
        registry.register(
            "database_connections",
            "Connections made to the database",
            self.connections.clone(),
        );
        registry.register(
            "failed_database_connections",
            "Attempts to connect to the database that failed",
            self.failed_connections.clone(),
        );
    }

    pub(super) fn committed(&self, deliveries: &[&EncodedRows], duration: Duration) {
        let rows: usize = deliveries.iter().map(|rows| rows.len()).sum();
        let bytes: usize = deliveries.iter().map(|rows| rows.bytes().len()).sum();
        self.rows.inc_by(count(rows));
        self.bytes.inc_by(count(bytes));
        self.commit_rows
            .observe(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        self.commit_seconds.observe(duration.as_secs_f64());
    }

    pub(super) fn refused(&self, error: &CommitError) {
        self.refusals
            .get_or_create(&[("reason", error.label())])
            .inc();
    }

    pub(super) fn bisected(&self) {
        self.bisections.inc();
    }

    pub(super) fn quarantined(&self, rows: usize) {
        self.quarantined_rows.inc_by(count(rows));
    }

    pub(super) fn connected(&self) {
        self.connections.inc();
    }

    pub(super) fn connection_failed(&self) {
        self.failed_connections.inc();
    }

    /// Rows that were quarantined since the start.
    #[must_use]
    pub fn quarantined_rows(&self) -> u64 {
        self.quarantined_rows.get()
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
