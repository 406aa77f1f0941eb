//! How much there is, by the system's catalogs: no row is read.

use tokio_postgres::Client;

use crate::apply::{field, read};
use crate::error::Error;

/// Sources with a bucket of their own up to which nothing of it is noticed: a commit that carries
/// rows of a hundred of them costs 1.6 times the processor time of one into a plain table.
const MANY_BUCKETS: i64 = 300;

/// Partitions up to which the first commits of a new connection stay below 100 ms. Their files and
/// catalogs grow with them: 30,000 are 90,000 files.
const MANY_PARTITIONS: i64 = 30_000;

/// A view for the owner, who alone may read it.
///
/// Rows are estimated by whatever knows more: the last vacuum or analyze, or the server's running
/// count, which it forgets in a crash.
pub(crate) const VIEW: &str = "\
CREATE VIEW trunkline.source_statistics AS
SELECT s.source AS name, s.cluster, s.schema || '.events' AS relation, s.bucket, s.partition_by, \
s.removed_at IS NOT NULL AS removed, leaves.*
FROM trunkline.sources s
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
) AS leaves;
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
    /// Sources that have storage, those of every cluster and the removed ones too.
    pub sources: i64,
    /// Partitions of all of them.
    pub partitions: i64,
}

/// A database that carries much, though it takes everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// Many sources.
    #[error(
        "the database holds {0} sources with storage of their own, and above {MANY_BUCKETS} each \
         makes commits slower; plan for another WebhookCluster with a database of its own (no new \
         source is taken at {limit})",
        limit = crate::claim::MAX_SOURCES
    )]
    Sources(i64),
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
        sources,
        partitions,
    } = census;
    let sources = (sources > MANY_BUCKETS).then_some(Crowded::Sources(sources));
    let partitions = (partitions > MANY_PARTITIONS).then_some(Crowded::Partitions(partitions));
    sources.into_iter().chain(partitions).collect()
}

/// Counts.
pub(crate) async fn census(client: &Client) -> Result<Census, Error> {
    let doing = "count sources and partitions";
    let sql = "SELECT (SELECT count(*) FROM trunkline.sources), \
               (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'trunkline_data' AND c.relkind = 'r' AND c.relispartition)";
    let rows = read(client, doing, sql, &[]).await?;
    let row = rows.first().ok_or_else(|| Error::NoRow {
        doing: doing.to_owned(),
    })?;
    Ok(Census {
        sources: field(row, doing, 0)?,
        partitions: field(row, doing, 1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowded_database_is_told_what_to_do() {
        let of = |sources, partitions| {
            let census = Census {
                sources,
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
        let sources = of(301, 0);
        assert!(
            sources.contains("301 sources") && sources.contains("another WebhookCluster"),
            "{sources}"
        );
        let partitions = of(0, 30_001);
        assert!(
            partitions.contains("30001 partitions") && partitions.contains("spec.retention"),
            "{partitions}"
        );
        assert_eq!(of(301, 30_001), format!("{sources}\n{partitions}"));
    }
}
