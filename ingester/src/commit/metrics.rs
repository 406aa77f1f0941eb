//! Counters of the commit path.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use trunkline_telemetry::metrics::{Catalog, LabelNames};

use super::error::CommitError;
use super::store::Stored;
use crate::rows::EncodedRows;

/// Upper bounds of the duration of a commit, in seconds: from a local disk to our own deadline.
const COMMIT_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0,
];

/// Upper bounds of the rows of a commit.
const COMMIT_ROWS: [f64; 9] = [
    1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0,
];

/// The label of a counter of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl LabelNames for ReasonLabel {
    const NAMES: &'static [&'static str] = &["reason"];
}

/// What the commit path counts. Clones count together.
#[derive(Debug, Clone)]
pub struct CommitMetrics {
    rows: Counter,
    bytes: Counter,
    commit_rows: Histogram,
    commit_seconds: Histogram,
    refusals: Family<ReasonLabel, Counter>,
    bisections: Counter,
    repeats: Counter,
    unsettled: Counter,
    quarantined_rows: Counter,
    connections: Counter,
    failed_connections: Counter,
}

impl Default for CommitMetrics {
    /// Metrics that nobody scrapes.
    fn default() -> Self {
        Self::new(&mut Catalog::new("trunkline"))
    }
}

impl CommitMetrics {
    /// Adds every metric to `catalog`.
    pub fn new(catalog: &mut Catalog) -> Self {
        Self {
            rows: catalog.add("committed_rows", "Rows committed", Counter::default()),
            bytes: catalog.add_bytes(
                "committed",
                "Size of the rows committed, as sent to the database",
                Counter::default(),
            ),
            commit_rows: catalog.add(
                "commit_rows",
                "Rows of one commit",
                Histogram::new(COMMIT_ROWS),
            ),
            commit_seconds: catalog.add_seconds(
                "commit_duration",
                "Time from the first byte of a commit to the database's answer",
                Histogram::new(COMMIT_SECONDS),
            ),
            refusals: catalog.add(
                "commit_refusals",
                "Deliveries that the commit path did not acknowledge, by reason",
                Family::default(),
            ),
            bisections: catalog.add(
                "commit_bisections",
                "Batches that were split because the database refused a row of them",
                Counter::default(),
            ),
            repeats: catalog.add(
                "repeated_rows",
                "Rows stored that repeat a message that was there, which the analysts' relations hide",
                Counter::default(),
            ),
            unsettled: catalog.add(
                "unsettled_rows",
                "Rows stored without knowing whether they repeat a message, which the owner settles",
                Counter::default(),
            ),
            quarantined_rows: catalog.add(
                "quarantined_rows",
                "Rows stored with their JSON as text, because the database refused it as JSON",
                Counter::default(),
            ),
            connections: catalog.add(
                "database_connections",
                "Connections made to the database",
                Counter::default(),
            ),
            failed_connections: catalog.add(
                "failed_database_connections",
                "Attempts to connect to the database that failed",
                Counter::default(),
            ),
        }
    }

    pub(super) fn committed(
        &self,
        deliveries: &[&EncodedRows],
        stored: &Stored,
        duration: Duration,
    ) {
        let rows: usize = deliveries.iter().map(|rows| rows.len()).sum();
        let bytes: usize = deliveries.iter().map(|rows| rows.bytes().len()).sum();
        let rows = rows.saturating_sub(stored.left_out.rows());
        let bytes = bytes.saturating_sub(stored.left_out.bytes());
        self.rows.inc_by(count(rows));
        self.bytes.inc_by(count(bytes));
        self.repeats.inc_by(count(stored.repeats));
        self.unsettled.inc_by(count(stored.unsettled));
        self.commit_rows
            .observe(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
        self.commit_seconds.observe(duration.as_secs_f64());
    }

    pub(super) fn refused(&self, error: &CommitError) {
        self.refusals
            .get_or_create(&ReasonLabel {
                reason: error.label(),
            })
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
