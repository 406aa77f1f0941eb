//! How much there is, by the system's catalogs: no row is read.

use tokio_postgres::Client;

use crate::apply::{field, read};
use crate::error::Error;

/// Buckets up to which nothing of them is noticed: a commit that carries rows of a hundred of them
/// costs 1.5 times the processor time of one into a single bucket, and 1.6 times at 1,000.
const MANY_BUCKETS: i64 = 300;

/// Partitions up to which the first commits of a new connection stay below 100 ms. Their files and
/// catalogs grow with them: 30,000 are 90,000 files.
const MANY_PARTITIONS: i64 = 30_000;

/// A view for the owner, who alone may read it.
///
/// Rows are estimated by whatever knows more: the last vacuum or analyze, or the server's running
/// count, which it forgets in a crash.
pub(crate) fn view() -> String {
    format!(
        "CREATE VIEW trunkline.source_statistics AS
SELECT s.source AS name, s.cluster, s.schema || '.events' AS relation, s.bucket, s.partition_by, \
s.removed_at IS NOT NULL AS removed, leaves.*
FROM trunkline.sources s
{LEAVES};
{COMMENTS}"
    )
}

/// The same with a row for each bucket: one that sources share has no name.
pub(crate) fn view_of_buckets() -> String {
    format!(
        "CREATE OR REPLACE VIEW trunkline.source_statistics AS
SELECT s.name, s.cluster, s.relation, s.bucket, s.partition_by, s.removed, leaves.*, s.sources
FROM (
  SELECT source AS name, cluster, schema || '.events' AS relation, bucket, partition_by, \
removed_at IS NOT NULL AS removed, 1::bigint AS sources
  FROM trunkline.sources
  WHERE shared_bucket IS NULL
  UNION ALL
  SELECT NULL, b.cluster, NULL, b.bucket, b.partition_by, \
bool_and(s.source IS NULL OR s.removed_at IS NOT NULL), count(s.source)
  FROM trunkline.shared_buckets b
  LEFT JOIN trunkline.sources s ON s.shared_bucket = b.bucket
  GROUP BY b.bucket
) AS s
{LEAVES};
COMMENT ON VIEW trunkline.source_statistics IS \
'How much each bucket has stored, by the system catalogs: reading it reads no rows.';
COMMENT ON COLUMN trunkline.source_statistics.name IS \
'The WebhookSource, as namespace/name; NULL for what several share.';
COMMENT ON COLUMN trunkline.source_statistics.removed IS \
'Whether its WebhookSources are gone and rows were kept.';
COMMENT ON COLUMN trunkline.source_statistics.sources IS \
'How many WebhookSources it holds the rows of, those that are gone included.'"
    )
}

/// What is counted of each bucket `s`.
const LEAVES: &str = "\
CROSS JOIN LATERAL (
  SELECT count(*) AS partitions,
    min(r.bounds[1]::timestamptz) AS range_start,
    max(r.bounds[2]::timestamptz) AS range_end,
    coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes,
    coalesce(sum(greatest(c.reltuples::float8, pg_stat_get_live_tuples(c.oid)::float8, 0)), 0)\
::bigint AS estimated_rows
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  LEFT JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), \
'^FOR VALUES FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)$') AS r(bounds) ON true
  WHERE i.inhparent = to_regclass('trunkline_data.bucket_' || s.bucket) AND NOT i.inhdetachpending
) AS leaves";

const COMMENTS: &str = "\
COMMENT ON VIEW trunkline.source_statistics IS \
'How much each source has stored, by the system catalogs: reading it reads no rows.';
COMMENT ON COLUMN trunkline.source_statistics.name IS 'The WebhookSource, as namespace/name.';
COMMENT ON COLUMN trunkline.source_statistics.bucket IS \
'The number in the names of its tables in the schema trunkline_data.';
COMMENT ON COLUMN trunkline.source_statistics.removed IS \
'Whether the WebhookSource is gone and its rows were kept.';
COMMENT ON COLUMN trunkline.source_statistics.partitions IS \
'How many partitions there are, those made ahead included.';
COMMENT ON COLUMN trunkline.source_statistics.range_start IS \
'The earliest received_at that the oldest partition can hold.';
COMMENT ON COLUMN trunkline.source_statistics.range_end IS \
'Up to when there are partitions.';
COMMENT ON COLUMN trunkline.source_statistics.bytes IS 'Size on disk with indexes and TOAST.';
COMMENT ON COLUMN trunkline.source_statistics.estimated_rows IS \
'Rows, as the server estimates them.';
REVOKE ALL ON trunkline.source_statistics FROM PUBLIC";

/// How much a database has to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Buckets: one for each source with storage of its own, those of every cluster and the removed
    /// ones too, and the shared ones.
    pub buckets: i64,
    /// Partitions of all of them.
    pub partitions: i64,
}

/// A database that carries much, though it takes everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// Many buckets.
    #[error(
        "the database holds {0} buckets, one for each source with storage of its own, and above \
         {MANY_BUCKETS} each makes commits slower; let new small sources share one with \
         spec.storage: Shared, or plan for another WebhookCluster with a database of its own (no \
         new bucket is made at {limit})",
        limit = crate::claim::MAX_BUCKETS
    )]
    Buckets(i64),
    /// Many partitions.
    #[error(
        "the database holds {0} partitions, and above {MANY_PARTITIONS} new connections and \
         checkpoints become slow; set spec.retention of sources, or a wider spec.partitionBy"
    )]
    Partitions(i64),
}

/// What there is to say of a census.
#[must_use]
pub fn crowding(census: Census) -> Vec<Crowded> {
    let Census {
        buckets,
        partitions,
    } = census;
    let buckets = (buckets > MANY_BUCKETS).then_some(Crowded::Buckets(buckets));
    let partitions = (partitions > MANY_PARTITIONS).then_some(Crowded::Partitions(partitions));
    buckets.into_iter().chain(partitions).collect()
}

/// Counts.
pub(crate) async fn census(client: &Client) -> Result<Census, Error> {
    let doing = "count buckets and partitions";
    let sql = "SELECT (SELECT count(*) FROM trunkline.sources WHERE shared_bucket IS NULL) \
               + (SELECT count(*) FROM trunkline.shared_buckets), \
               (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'trunkline_data' AND c.relkind = 'r' AND c.relispartition)";
    let rows = read(client, doing, sql, &[]).await?;
    let row = rows.first().ok_or_else(|| Error::NoRow {
        doing: doing.to_owned(),
    })?;
    Ok(Census {
        buckets: field(row, doing, 0)?,
        partitions: field(row, doing, 1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowded_database_is_told_what_to_do() {
        let of = |buckets, partitions| {
            let census = Census {
                buckets,
                partitions,
            };
            let words = |crowded: Crowded| crowded.to_string();
            crowding(census)
                .into_iter()
                .map(words)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert_eq!(of(300, 30_000), "");
        let buckets = of(301, 0);
        assert!(
            buckets.contains("301 buckets") && buckets.contains("storage: Shared"),
            "{buckets}"
        );
        let partitions = of(0, 30_001);
        assert!(
            partitions.contains("30001 partitions") && partitions.contains("spec.retention"),
            "{partitions}"
        );
        assert_eq!(of(301, 30_001), format!("{buckets}\n{partitions}"));
    }
}
