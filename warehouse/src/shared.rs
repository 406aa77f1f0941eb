//! Buckets that several sources share, each for one class of sources.
//!
//! Retention drops whole partitions, and so it is a bucket's and not a source's, as the width of its
//! partitions is: sources of one cluster that have both in common share a bucket.
//!
//! Invariants:
//! - A shared bucket's retention and width are those that it was made with. What a manifest says
//!   later never changes how long the rows of others stay.
//! - Numbers of shared buckets come from the sequence that numbers the sources, so that no table has
//!   the name of another's.

use std::num::NonZeroU16;

use trunkline_model::names::{ClusterName, quote_literal};

use crate::partitions::{Bucket, bucket_table};
use crate::ranges::PartitionBy;
use crate::sources::{DesiredSource, NEW_PARTITION_BY};

/// Whether a source has a bucket of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// It has: partitions and a retention of its own, and the fastest reads. A database carries some
    /// hundreds of them.
    #[default]
    Dedicated,
    /// It shares one with sources of its cluster that have its retention and width of partitions.
    Shared,
}

/// The shared buckets, and how the catalog's older tables know of them.
///
/// A dropped partition belongs to a bucket, which need not be a source's any more.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline.shared_buckets (
  bucket integer PRIMARY KEY,
  cluster text NOT NULL,
  retention_days integer CHECK (retention_days > 0),
  partition_by text NOT NULL CHECK (partition_by IN ('Hour', 'Day', 'Month')),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX shared_buckets_class_idx ON trunkline.shared_buckets \
(cluster, coalesce(retention_days, 0), partition_by);
COMMENT ON TABLE trunkline.shared_buckets IS \
'Partitions of trunkline.events that hold the rows of several sources.';
COMMENT ON COLUMN trunkline.shared_buckets.bucket IS \
'The number in the names of its tables in the schema trunkline_data.';
COMMENT ON COLUMN trunkline.shared_buckets.cluster IS 'The WebhookCluster whose sources share it.';
COMMENT ON COLUMN trunkline.shared_buckets.retention_days IS \
'How long the rows of all of them stay, in days; NULL for ever.';
COMMENT ON COLUMN trunkline.shared_buckets.partition_by IS \
'How long a time (UTC) each of its partitions holds.';
REVOKE ALL ON trunkline.shared_buckets FROM PUBLIC;
ALTER TABLE trunkline.sources
  ADD COLUMN shared_bucket integer REFERENCES trunkline.shared_buckets,
  ADD COLUMN drop_rows boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN trunkline.sources.bucket IS \
'Number of the source, never given to another one. Unless shared_bucket says otherwise, that of the \
partition of trunkline.events that holds its rows.';
COMMENT ON COLUMN trunkline.sources.shared_bucket IS \
'The partition of trunkline.events that holds its rows beside those of other sources.';
COMMENT ON COLUMN trunkline.sources.drop_rows IS \
'Whether its rows in a shared bucket are being deleted, after which it is forgotten.';
ALTER TABLE trunkline.dropped_partitions \
DROP CONSTRAINT IF EXISTS dropped_partitions_bucket_fkey";

/// What sources have to have in common to share a bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) cluster: String,
    /// None for ever.
    pub(crate) retention_days: Option<NonZeroU16>,
    pub(crate) partition_by: PartitionBy,
}

impl Class {
    /// That of a source that is new.
    pub(crate) fn of(cluster: &ClusterName, source: &DesiredSource) -> Self {
        Self {
            cluster: cluster.to_string(),
            retention_days: source.retention_days,
            partition_by: source.partition_by.unwrap_or(NEW_PARTITION_BY),
        }
    }

    /// A bucket of the class, unless there is one.
    pub(crate) fn record(&self) -> String {
        let Self {
            cluster,
            retention_days,
            partition_by,
        } = self;
        let retention = retention_days.map_or_else(|| "NULL".to_owned(), |days| days.to_string());
        format!(
            "INSERT INTO trunkline.shared_buckets (bucket, cluster, retention_days, partition_by) \
             SELECT nextval(pg_get_serial_sequence('trunkline.sources', 'bucket')), {}, {retention}, \
             {} WHERE NOT EXISTS (SELECT FROM trunkline.shared_buckets WHERE {})",
            quote_literal(cluster),
            quote_literal(partition_by.as_str()),
            self.condition()
        )
    }

    /// Is true of the bucket of the class, a row of the table.
    pub(crate) fn condition(&self) -> String {
        format!(
            "cluster = {} AND coalesce(retention_days, 0) = {} AND partition_by = {}",
            quote_literal(&self.cluster),
            self.retention_days.map_or(0, NonZeroU16::get),
            quote_literal(self.partition_by.as_str())
        )
    }
}

/// A row of `trunkline.shared_buckets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedBucket {
    pub(crate) bucket: i32,
    pub(crate) class: Class,
}

/// Is true of the rows of one source in a shared bucket.
///
/// Names are compared byte by byte: it is what the index of the partitions is made with, costs less
/// than the order of a language, and survives an upgrade of the system's locales.
pub(crate) fn of_source(source: &str) -> String {
    format!("\"source\" COLLATE \"C\" = {}", quote_literal(source))
}

/// Where the rows of one source are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceRows {
    /// The table of its bucket, as SQL.
    pub(crate) table: String,
    /// What is true of its rows alone, where they are not the only ones in there. A view with such a
    /// condition has to be a `security_barrier`.
    pub(crate) condition: Option<String>,
}

impl SourceRows {
    /// `source` is namespace/name.
    pub(crate) fn new(source: &str, bucket: Bucket) -> Self {
        Self {
            table: bucket_table(bucket.number),
            condition: bucket.is_shared.then(|| of_source(source)),
        }
    }
}

/// What shared partitions are indexed by, in the place of the time alone.
pub(crate) const INDEXED: &str = "\"source\" COLLATE \"C\", received_at";
