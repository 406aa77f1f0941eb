//! What the database says about itself and about us. Reads only.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::apply::{column, field, read};
use crate::error::Error;
use crate::indexes::LeafIndexes;
use crate::partitions::{Bucket, TABLE_NAME};
use crate::ranges::{PartitionBy, Range};
use crate::shared::{Class, SharedBucket};

/// Comments that mark what is ours, by the name of what exists.
pub(crate) type Marks = BTreeMap<String, Option<String>>;

/// True until the table of versions exists. By name and not by `to_regclass`, which fails for a
/// schema that belongs to someone else.
pub(crate) const LACKS_LAYOUT: &str = "NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n \
     ON n.oid = c.relnamespace WHERE n.nspname = 'trunkline' AND c.relname = 'layout')";

/// Reads the range of a leaf `c`, a row of `pg_class`, as an array of two texts: NULL where it is
/// another kind of range. The texts are as the session writes times, so that neither its time zone
/// nor its style of dates matters when it reads them back.
pub(crate) const LEAF_BOUNDS: &str = "regexp_match(pg_get_expr(c.relpartbound, c.oid), \
     '^FOR VALUES FROM \\(''([^'']+)''\\) TO \\(''([^'']+)''\\)$')";

/// When a partition has to have ended so that nobody can still be writing to it: rows have the time at
/// which their commit began, and no commit lasts for so long.
pub(crate) const WRITTEN_UNTIL: &str = "now() - interval '10 minutes'";

/// A time as text that means the same in every session, and sorts as the times do.
pub(crate) fn utc_text(time: &str) -> String {
    format!("to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')")
}

/// A row of `trunkline.sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceRow {
    /// Its number, which is that of its bucket unless it shares one.
    pub(crate) number: i32,
    pub(crate) source: String,
    pub(crate) cluster: String,
    pub(crate) schema: String,
    pub(crate) removed: bool,
    /// As the source's manifest says; a shared bucket has its own.
    pub(crate) partition_by: PartitionBy,
    /// The bucket that it shares with others.
    pub(crate) shared: Option<SharedBucket>,
    /// Whether it is being dropped, and only its rows are left.
    pub(crate) drop_rows: bool,
    /// Whether it has relations that show no repeats.
    pub(crate) tells_repeats: bool,
    /// What its partitions are indexed by besides, where they are its own.
    pub(crate) indexes: LeafIndexes,
}

impl SourceRow {
    /// The bucket of its rows.
    pub(crate) fn bucket(&self) -> Bucket {
        match &self.shared {
            Some(shared) => Bucket {
                number: shared.bucket,
                by: shared.class.partition_by,
                is_shared: true,
                tells_repeats: true,
                indexes: LeafIndexes::default(),
            },
            None => Bucket {
                number: self.number,
                by: self.partition_by,
                is_shared: false,
                tells_repeats: self.tells_repeats,
                indexes: self.indexes,
            },
        }
    }
}

/// The layout's version: None in a database that has none, 0 when its creation was cut short.
pub(crate) async fn layout_version(client: &Client) -> Result<Option<i32>, Error> {
    let doing = "look for the layout";
    let rows = read(client, doing, &format!("SELECT {LACKS_LAYOUT}"), &[]).await?;
    if column(&rows, doing, 0)? {
        return Ok(None);
    }
    layout_version_if_any(client).await
}

/// The same where a layout is expected, in one round trip. The server logs an error when there is
/// none.
pub(crate) async fn layout_version_if_any(client: &Client) -> Result<Option<i32>, Error> {
    let doing = "read the layout's version";
    let sql = "SELECT coalesce(max(version), 0) FROM trunkline.layout";
    match read(client, doing, sql, &[]).await {
        Ok(rows) => column(&rows, doing, 0).map(Some),
        Err(error) => match error.code() {
            // Someone else's schema of that name is no layout of ours.
            Some(
                &(SqlState::UNDEFINED_TABLE
                | SqlState::INVALID_SCHEMA_NAME
                | SqlState::INSUFFICIENT_PRIVILEGE),
            ) => Ok(None),
            _ => Err(error),
        },
    }
}

/// Every source that has storage, removed ones included.
pub(crate) async fn sources(client: &Client) -> Result<Vec<SourceRow>, Error> {
    let doing = "read trunkline.sources";
    let sql = "SELECT s.bucket, s.source, s.cluster, s.schema, s.removed_at IS NOT NULL, \
               s.partition_by, s.drop_rows, b.bucket, b.cluster, b.retention_days, b.partition_by, \
               s.layout IS NOT NULL OR EXISTS \
               (SELECT FROM trunkline.own_views v WHERE v.bucket = s.bucket), s.indexes \
               FROM trunkline.sources s \
               LEFT JOIN trunkline.shared_buckets b ON b.bucket = s.shared_bucket ORDER BY s.bucket";
    let rows = read(client, doing, sql, &[]).await?;
    let source_row = |row: &Row| {
        let shared: Option<i32> = field(row, doing, 7)?;
        Ok(SourceRow {
            number: field(row, doing, 0)?,
            source: field(row, doing, 1)?,
            cluster: field(row, doing, 2)?,
            schema: field(row, doing, 3)?,
            removed: field(row, doing, 4)?,
            partition_by: PartitionBy::from_catalog(field(row, doing, 5)?),
            shared: shared.map(|_| shared_bucket(row, doing, 7)).transpose()?,
            drop_rows: field(row, doing, 6)?,
            tells_repeats: field(row, doing, 11)?,
            indexes: LeafIndexes::from_catalog(&field::<Vec<String>>(row, doing, 12)?),
        })
    };
    rows.iter().map(source_row).collect()
}

/// Every bucket that sources share, or shared once.
pub(crate) async fn shared_buckets(client: &Client) -> Result<Vec<SharedBucket>, Error> {
    let doing = "read trunkline.shared_buckets";
    let sql = "SELECT bucket, cluster, retention_days, partition_by FROM trunkline.shared_buckets";
    let rows = read(client, doing, sql, &[]).await?;
    rows.iter()
        .map(|row| shared_bucket(row, doing, 0))
        .collect()
}

/// Reads a shared bucket from the four columns at `first`.
fn shared_bucket(row: &Row, doing: &str, first: usize) -> Result<SharedBucket, Error> {
    let days: Option<i32> = field(row, doing, first + 2)?;
    Ok(SharedBucket {
        bucket: field(row, doing, first)?,
        class: Class {
            cluster: field(row, doing, first + 1)?,
            // Whatever is not a retention of ours is longer than any, and drops nothing.
            retention_days: days
                .and_then(|days| u16::try_from(days).ok().and_then(NonZeroU16::new)),
            partition_by: PartitionBy::from_catalog(field(row, doing, first + 3)?),
        },
    })
}

/// A row of `trunkline.readers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReaderRow {
    /// The source's.
    pub(crate) number: i32,
    pub(crate) role: String,
    pub(crate) by_group: bool,
    /// Whether there still is such a role.
    pub(crate) exists: bool,
}

/// Every right to read that we gave.
pub(crate) async fn readers(client: &Client) -> Result<Vec<ReaderRow>, Error> {
    let doing = "read trunkline.readers";
    let sql = "SELECT bucket, role, by_group, \
               EXISTS (SELECT FROM pg_roles WHERE rolname = role) FROM trunkline.readers";
    let rows = read(client, doing, sql, &[]).await?;
    let reader_row = |row: &Row| {
        Ok(ReaderRow {
            number: field(row, doing, 0)?,
            role: field(row, doing, 1)?,
            by_group: field(row, doing, 2)?,
            exists: field(row, doing, 3)?,
        })
    };
    rows.iter().map(reader_row).collect()
}

/// How a partition hangs on the table above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// It takes rows.
    Attached,
    /// It is being removed, or its removal was cut short.
    DetachPending,
}

/// The partitions of `above` that are `table` or are being removed.
pub(crate) async fn attachments(
    client: &Client,
    above: &str,
    table: &str,
) -> Result<Vec<(String, Attachment)>, Error> {
    let doing = format!("look at the partitions of {above}");
    let sql = format!(
        "SELECT 'trunkline_data.' || c.relname, i.inhdetachpending \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE i.inhparent = to_regclass($1) AND n.nspname = 'trunkline_data' \
         AND c.relname ~ '{TABLE_NAME}' \
         AND (i.inhdetachpending OR 'trunkline_data.' || c.relname = $2)"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&above, Type::TEXT), (&table, Type::TEXT)];
    let rows = read(client, &doing, &sql, &parameters).await?;
    let attachment = |row: &Row| {
        let attachment = if field(row, &doing, 1)? {
            Attachment::DetachPending
        } else {
            Attachment::Attached
        };
        Ok((field(row, &doing, 0)?, attachment))
    };
    rows.iter().map(attachment).collect()
}

/// The names of the leaves of a bucket, attached to it or not, within `trunkline_data`.
pub(crate) async fn leaves(client: &Client, bucket: i32) -> Result<Vec<String>, Error> {
    let doing = "look for the partitions of a source";
    let sql = format!(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'trunkline_data' AND c.relkind = 'r' AND c.relname ~ '{TABLE_NAME}' \
         AND starts_with(c.relname::text, $1) ORDER BY 1"
    );
    let prefix = format!("bucket_{bucket}_");
    let rows = read(client, doing, &sql, &[(&prefix, Type::TEXT)]).await?;
    rows.iter().map(|row| field(row, doing, 0)).collect()
}

/// The ranges that these buckets hold, without those that ended before anything can still be written
/// to them. One that is being detached is among them, since nothing can be attached in its place yet.
pub(crate) async fn ranges(
    client: &Client,
    buckets: &[i32],
) -> Result<BTreeMap<i32, Vec<Range>>, Error> {
    let doing = "read the ranges of partitions";
    let mut ranges: BTreeMap<i32, Vec<Range>> = BTreeMap::new();
    if buckets.is_empty() {
        return Ok(ranges);
    }
    let sql = format!(
        "SELECT bucket, (extract(epoch FROM s) * 1000000)::bigint, \
         (extract(epoch FROM e) * 1000000)::bigint \
         FROM (SELECT w.bucket, r.bounds[1]::timestamptz, r.bounds[2]::timestamptz \
         FROM unnest($1) AS w(bucket) \
         JOIN pg_inherits i ON i.inhparent = to_regclass('trunkline_data.bucket_' || w.bucket) \
         JOIN pg_class c ON c.oid = i.inhrelid \
         CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds)) AS ranges(bucket, s, e) \
         WHERE isfinite(s) AND isfinite(e) AND e > now() - interval '48 hours'"
    );
    let rows = read(client, doing, &sql, &[(&buckets, Type::INT4_ARRAY)]).await?;
    for row in &rows {
        let (start, end): (i64, i64) = (field(row, doing, 1)?, field(row, doing, 2)?);
        // What our calendar does not reach is in nobody's way.
        if let (Some(start), Some(end)) = (utc(start), utc(end)) {
            let of_bucket = ranges.entry(field(row, doing, 0)?).or_default();
            of_bucket.push(Range { start, end });
        }
    }
    Ok(ranges)
}

fn utc(microseconds: i64) -> Option<DateTime> {
    let time = Timestamp::from_microsecond(microseconds).ok()?;
    Some(TimeZone::UTC.to_datetime(time))
}

/// The comments of those of `names` that are schemas.
pub(crate) async fn schema_marks(client: &Client, names: &[&str]) -> Result<Marks, Error> {
    let sql = "SELECT nspname::text, obj_description(oid, 'pg_namespace') FROM pg_namespace \
               WHERE nspname = ANY($1)";
    marks(client, "read the comments of schemas", sql, names).await
}

/// The comments of those of `names` that are roles.
pub(crate) async fn role_marks(client: &Client, names: &[&str]) -> Result<Marks, Error> {
    let sql = "SELECT rolname::text, shobj_description(oid, 'pg_authid') FROM pg_roles \
               WHERE rolname = ANY($1)";
    marks(client, "read the comments of roles", sql, names).await
}

async fn marks(client: &Client, doing: &str, sql: &str, names: &[&str]) -> Result<Marks, Error> {
    let rows = read(client, doing, sql, &[(&names, Type::TEXT_ARRAY)]).await?;
    rows.iter()
        .map(|row| Ok((field(row, doing, 0)?, field(row, doing, 1)?)))
        .collect()
}

/// Tables of ours in `trunkline_data` that hang on nothing: a run ended before it attached them.
pub(crate) async fn detached_tables(client: &Client) -> Result<Vec<String>, Error> {
    let doing = "look for detached tables";
    let sql = format!(
        "SELECT 'trunkline_data.' || c.relname FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'trunkline_data' AND c.relkind IN ('r', 'p') \
         AND NOT c.relispartition AND c.relname ~ '{TABLE_NAME}'"
    );
    let rows = read(client, doing, &sql, &[]).await?;
    rows.iter().map(|row| field(row, doing, 0)).collect()
}

/// The time in UTC by the database's clock: partitions are made by `received_at`, which is that
/// clock's.
pub(crate) async fn now(client: &Client) -> Result<DateTime, Error> {
    let doing = "read the database's clock";
    let sql = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')";
    let rows = read(client, doing, sql, &[]).await?;
    let text: String = column(&rows, doing, 0)?;
    text.parse().map_err(|_| Error::Clock(text))
}

/// Who may do what with a relation, as `GRANT` words it: privilege, grantee, whether with grant
/// option. The owner's own rights are left out.
pub(crate) async fn grants(
    client: &Client,
    relation: &str,
) -> Result<Vec<(String, String, bool)>, Error> {
    let doing = "read the grants of a view";
    let sql = "SELECT a.privilege_type::text, coalesce(quote_ident(r.rolname), 'PUBLIC'), \
               a.is_grantable \
               FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a \
               LEFT JOIN pg_roles r ON r.oid = a.grantee \
               WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner \
               AND (a.grantee = 0 OR r.oid IS NOT NULL) ORDER BY 2, 1";
    let rows = read(client, doing, sql, &[(&relation, Type::TEXT)]).await?;
    let grant = |row: &Row| {
        Ok((
            field(row, doing, 0)?,
            field(row, doing, 1)?,
            field(row, doing, 2)?,
        ))
    };
    rows.iter().map(grant).collect()
}
