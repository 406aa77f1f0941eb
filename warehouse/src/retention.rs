//! Drops the partitions of a source, or of those that share them, that are older than its retention.
//!
//! Invariants:
//! - A partition goes as a whole, once the last moment of its range is older than the retention; no
//!   row is deleted, and no row goes early.
//! - Nobody waits: it leaves its bucket as [`crate::detach`] says, and is dropped as a table on its
//!   own, which only a straggler can still be reading.
//! - What is to go is written down first, so that the next call goes on after a crash, and a table
//!   that someone else has detached is never dropped.
//! - One at a time. A partition that cannot go keeps no other source's.
//! - A shared bucket has the retention that it was made with, whatever a manifest says.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use trunkline_model::names::{ClusterName, quote_literal};
use trunkline_pgconn::Target;

use crate::apply::{CURRENT_ROLE, column, field, read, run_or_fail};
use crate::catalog::{self, LEAF_BOUNDS, SourceRow};
use crate::detach::detach;
use crate::error::Error;
use crate::materialize::release;
use crate::partitions::{TABLE_NAME, bucket_table, own};
use crate::removal::run;
use crate::sources::DesiredSource;
use crate::step::{PendingReason, PendingStep, Report, Step, Test};

/// What retention has dropped, and what it was at when it was cut short: only a table that is
/// written down here is dropped, so that one which an administrator has detached stays.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline.dropped_partitions (
  bucket integer NOT NULL REFERENCES trunkline.sources ON DELETE CASCADE,
  partition text NOT NULL,
  range_start timestamptz NOT NULL,
  range_end timestamptz NOT NULL,
  bytes bigint NOT NULL,
  retention_days integer NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT now(),
  dropped_at timestamptz,
  PRIMARY KEY (bucket, partition)
);
COMMENT ON TABLE trunkline.dropped_partitions IS \
'Partitions that were older than the retention of their source. An entry stays for a year.';
COMMENT ON COLUMN trunkline.dropped_partitions.partition IS \
'The name of the table in the schema trunkline_data.';
COMMENT ON COLUMN trunkline.dropped_partitions.range_start IS \
'The earliest received_at that it could hold.';
COMMENT ON COLUMN trunkline.dropped_partitions.range_end IS \
'The end of its range of received_at, which it could not hold itself.';
COMMENT ON COLUMN trunkline.dropped_partitions.bytes IS \
'Its size on disk with index and TOAST, before it was dropped.';
COMMENT ON COLUMN trunkline.dropped_partitions.retention_days IS \
'The retention by which it was dropped.';
COMMENT ON COLUMN trunkline.dropped_partitions.dropped_at IS \
'NULL while it is not dropped yet, because somebody reads it for example.';
REVOKE ALL ON trunkline.dropped_partitions FROM PUBLIC";

/// A partition that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expired {
    bucket: i32,
    /// Its name within `trunkline_data`.
    partition: String,
    /// Bounds of its range, with their offset from UTC.
    range: (String, String),
    /// None when it is written down already: then nothing asks for its age any more.
    retention: Option<NonZeroU16>,
}

impl Expired {
    fn table(&self) -> String {
        format!("trunkline_data.{}", self.partition)
    }
}

/// How long the rows of a bucket stay.
#[derive(Debug)]
struct Kept {
    /// Whose rows they are, in words.
    whose: String,
    /// None for ever.
    retention: Option<NonZeroU16>,
}

type Buckets = BTreeMap<i32, Kept>;

impl Kept {
    /// The bucket of a source that is to be kept for so long.
    fn of(row: SourceRow, retention: Option<NonZeroU16>) -> (i32, Self) {
        let bucket = row.bucket().number;
        let (whose, retention) = match row.shared {
            Some(shared) => {
                let cluster = &shared.class.cluster;
                let whose = format!("sources of {cluster} that share it");
                (whose, shared.class.retention_days)
            }
            None => (format!("source {}", row.source), retention),
        };
        (bucket, Self { whose, retention })
    }
}

/// Drops what is older than it may be.
pub(crate) async fn drop_expired(
    client: &Client,
    owner: &Target,
    cluster: &ClusterName,
    desired: &[DesiredSource],
) -> Result<Report, Error> {
    let is_any_kept = desired.iter().any(|source| source.retention_days.is_some());
    if !is_any_kept && !is_any_unfinished(client).await? {
        return Ok(Report::default());
    }
    let desired: HashMap<_, _> = desired
        .iter()
        .map(|source| (source.name.to_string(), source.retention_days))
        .collect();
    let (cluster, mut buckets) = (cluster.to_string(), Buckets::new());
    for row in catalog::sources(client).await? {
        if row.removed || row.cluster != cluster {
            continue;
        }
        if let Some(retention) = desired.get(&row.source) {
            let (bucket, kept) = Kept::of(row, *retention);
            buckets.insert(bucket, kept);
        }
    }
    let mut all = unfinished(client, &buckets).await?;
    all.extend(expired(client, &buckets).await?);
    let (mut report, mut failure) = (Report::default(), None);
    for partition in &all {
        let Some(kept) = buckets.get(&partition.bucket) else {
            continue;
        };
        match drop_one(client, owner, partition, &kept.whose).await {
            Ok(done) => {
                for step in &done.changed {
                    // At once: the caller may not wait for the others.
                    tracing::info!(step, "retention");
                }
                report.absorb(done);
            }
            Err(Error::Locked { doing }) => report.pending.push(PendingStep {
                step: doing,
                reason: PendingReason::Locked,
            }),
            Err(Error::Dependants { doing, objects }) => report.pending.push(PendingStep {
                step: doing,
                reason: PendingReason::Dependants(objects),
            }),
            Err(error) if error.is_local() => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(report), Err)
}

/// Detaches and drops one partition. The report has one line for all of it.
async fn drop_one(
    client: &Client,
    owner: &Target,
    partition: &Expired,
    whose: &str,
) -> Result<Report, Error> {
    if let Some(retention) = partition.retention {
        run_or_fail(client, &record(partition, retention)).await?;
    }
    // What is shown of it from now on is shown until it is detached.
    Box::pin(release(client, partition.bucket, &partition.partition)).await?;
    let above = bucket_table(partition.bucket);
    detach(client, owner, &above, &partition.table()).await?;
    run(client, &drop_table(partition, whose)).await
}

/// Whether there may be something to do although no source has a retention any more.
async fn is_any_unfinished(client: &Client) -> Result<bool, Error> {
    let doing = "look for partitions that are being dropped";
    let sql = "SELECT EXISTS (SELECT FROM trunkline.dropped_partitions WHERE dropped_at IS NULL)";
    column(&read(client, doing, sql, &[]).await?, doing, 0)
}

/// Partitions of these buckets whose dropping was begun and has not ended. One that is attached as
/// ever is not among them: its retention may be longer by now.
async fn unfinished(client: &Client, buckets: &Buckets) -> Result<Vec<Expired>, Error> {
    let doing = "look for partitions that are being dropped";
    let sql = "SELECT d.bucket, d.partition, d.range_start::text, d.range_end::text, 0 \
               FROM trunkline.dropped_partitions d \
               WHERE d.dropped_at IS NULL AND d.bucket = ANY ($1) \
               AND NOT EXISTS (SELECT FROM pg_inherits \
               WHERE inhrelid = to_regclass('trunkline_data.' || d.partition) \
               AND NOT inhdetachpending) ORDER BY d.range_end, d.bucket";
    let buckets: Vec<i32> = buckets.keys().copied().collect();
    let rows = read(client, doing, sql, &[(&buckets, Type::INT4_ARRAY)]).await?;
    rows.iter().map(|row| found(row, doing)).collect()
}

/// Partitions that are attached and older than the retention of their bucket, the oldest first.
///
/// A day has 24 hours: a calendar's day has 23 or 25 in some zones.
async fn expired(client: &Client, buckets: &Buckets) -> Result<Vec<Expired>, Error> {
    let doing = "look for partitions that are older than their retention";
    let sql = format!(
        "SELECT w.bucket, c.relname::text, r.bounds[1]::timestamptz::text, \
         r.bounds[2]::timestamptz::text, w.days FROM unnest($1, $2) AS w(bucket, days) \
         JOIN pg_inherits i ON i.inhparent = to_regclass('trunkline_data.bucket_' || w.bucket) \
         JOIN pg_class c ON c.oid = i.inhrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'trunkline_data' \
         CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds) \
         WHERE NOT i.inhdetachpending AND c.relname ~ '{TABLE_NAME}' \
         AND r.bounds[2]::timestamptz <= now() - make_interval(hours => 24 * w.days) \
         ORDER BY r.bounds[2]::timestamptz, w.bucket"
    );
    let (mut numbers, mut days) = (Vec::new(), Vec::new());
    for (bucket, kept) in buckets {
        if let Some(retention) = kept.retention {
            numbers.push(*bucket);
            days.push(i32::from(retention.get()));
        }
    }
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&numbers, Type::INT4_ARRAY), (&days, Type::INT4_ARRAY)];
    let rows = read(client, doing, &sql, &parameters).await?;
    rows.iter().map(|row| found(row, doing)).collect()
}

fn found(row: &Row, doing: &str) -> Result<Expired, Error> {
    let days: i32 = field(row, doing, 4)?;
    Ok(Expired {
        bucket: field(row, doing, 0)?,
        partition: field(row, doing, 1)?,
        range: (field(row, doing, 2)?, field(row, doing, 3)?),
        retention: u16::try_from(days).ok().and_then(NonZeroU16::new),
    })
}

/// Writes down that a partition is to go.
fn record(partition: &Expired, retention: NonZeroU16) -> Step {
    let Expired { bucket, range, .. } = partition;
    let table = partition.table();
    Step {
        what: format!("record that {table} is to be dropped"),
        needed: Test::new(
            "to_regclass($3) IS NOT NULL AND NOT EXISTS (SELECT FROM trunkline.dropped_partitions \
             WHERE bucket = $1::integer AND partition = $2)",
            [&bucket.to_string(), &partition.partition, &table],
        ),
        sql: format!(
            "INSERT INTO trunkline.dropped_partitions \
             (bucket, partition, range_start, range_end, bytes, retention_days) VALUES \
             ({bucket}, {name}, {}, {}, pg_total_relation_size({}), {retention})",
            quote_literal(&range.0),
            quote_literal(&range.1),
            quote_literal(&table),
            name = quote_literal(&partition.partition),
        ),
        fix: rights(),
    }
}

/// Drops a partition that hangs on nothing any more.
fn drop_table(partition: &Expired, whose: &str) -> Step {
    let (bucket, table) = (partition.bucket, partition.table());
    Step {
        what: format!("drop {table} of {whose}, older than its retention"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.dropped_partitions WHERE bucket = $1::integer \
             AND partition = $2 AND dropped_at IS NULL) \
             AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($3))",
            [&bucket.to_string(), &partition.partition, &table],
        ),
        sql: format!(
            "DROP TABLE IF EXISTS {table};\n\
             UPDATE trunkline.dropped_partitions SET dropped_at = now() \
             WHERE bucket = {bucket} AND partition = {};\n\
             DELETE FROM trunkline.dropped_partitions \
             WHERE bucket = {bucket} AND dropped_at < now() - interval '1 year'",
            quote_literal(&partition.partition)
        ),
        fix: own(&table),
    }
}

fn rights() -> String {
    format!("ALTER TABLE trunkline.dropped_partitions OWNER TO {CURRENT_ROLE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_written_down_and_hangs_on_nothing_is_dropped() {
        let partition = Expired {
            bucket: 7,
            partition: "bucket_7_20261124".to_owned(),
            range: (
                "2026-11-24 00:00:00+00".into(),
                "2026-11-25 00:00:00+00".into(),
            ),
            retention: NonZeroU16::new(90),
        };
        let step = drop_table(&partition, "source a/shop");
        let needed = step.needed.sql();
        for condition in [
            "partition = 'bucket_7_20261124' AND dropped_at IS NULL",
            "AND NOT EXISTS (SELECT FROM pg_inherits \
             WHERE inhrelid = to_regclass('trunkline_data.bucket_7_20261124'))",
        ] {
            assert!(needed.contains(condition), "{needed}");
        }
        assert!(
            step.sql
                .starts_with("DROP TABLE IF EXISTS trunkline_data.bucket_7_20261124;\n"),
            "{}",
            step.sql
        );
        let sql = step.sql.to_uppercase();
        assert!(!sql.contains("CASCADE") && !sql.contains("DETACH"), "{sql}");
    }
}
