//! The leaves whose rows may repeat others', and what of them is not compared yet. Reads only.

use tokio_postgres::Client;
use trunkline_model::names::quote_literal;
use trunkline_model::repeats::INDEX_SUFFIX;

use super::{LOOK_BACK, SCHEMA};
use crate::apply::{column, field, read};
use crate::catalog::{LEAF_BOUNDS, WRITTEN_UNTIL, utc_text};
use crate::error::Error;
use crate::partitions::TABLE_NAME;

/// How long after its received_at a row is seen by everybody, if ever: above every deadline of a
/// commit. A row's received_at is the time at which its transaction began.
const COMMITTED_AFTER: &str = "1 minute";

/// What is compared in one transaction.
const SLICE: &str = "10 minutes";

/// How many leaves one query asks about, each of which it locks.
const LOOKED_AT_ONCE: usize = 100;

/// A leaf of a bucket whose readers are shown no repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) bucket: i32,
    /// As SQL.
    pub(super) table: String,
    pub(super) is_shared: bool,
    pub(super) is_indexed: bool,
    /// Whether its time has not come.
    pub(super) is_ahead: bool,
    /// Whether its time is over, and nobody can still be writing.
    pub(super) is_closed: bool,
    /// When its range begins, as all times here.
    pub(super) start: String,
    /// When it ends.
    pub(super) end: String,
    /// When the time ends in which rows may repeat some of it.
    pub(super) matters_until: String,
    /// What of it is to be compared next. None: all is.
    pub(super) slice: Option<Slice>,
    /// Whether there are rows in it that could not be compared when they were stored.
    pub(super) has_unsettled: bool,
}

/// A part of a leaf that is not compared yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) from: String,
    /// Before what time it ends.
    pub(super) until: String,
    /// Before what time all ends that can be compared now.
    pub(super) all_until: String,
    /// Whether there are rows before that.
    pub(super) has_rows: bool,
}

/// All leaves of buckets that are read without repeats, each bucket's in the order of their ranges.
pub(super) async fn leaves(client: &Client) -> Result<Vec<Leaf>, Error> {
    let doing = "look for rows to compare";
    let sql = format!(
        "WITH b(bucket, is_shared) AS ( \
           SELECT s.bucket, false FROM trunkline.sources s WHERE s.shared_bucket IS NULL \
           AND (s.layout IS NOT NULL OR EXISTS \
             (SELECT FROM trunkline.own_views v WHERE v.bucket = s.bucket)) \
           UNION ALL SELECT bucket, true FROM trunkline.shared_buckets), \
         l AS ( \
           SELECT b.bucket, b.is_shared, '{SCHEMA}.' || c.relname AS name, \
           r.bounds[1]::timestamptz AS s, r.bounds[2]::timestamptz AS e, p.settled_until AS u, \
           to_regclass('{SCHEMA}.' || c.relname || '{INDEX_SUFFIX}') IS NOT NULL AS is_indexed \
           FROM b JOIN pg_inherits i ON i.inhparent = to_regclass('{SCHEMA}.bucket_' || b.bucket) \
           AND NOT i.inhdetachpending \
           JOIN pg_class c ON c.oid = i.inhrelid AND c.relname ~ '{TABLE_NAME}' \
           CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds) \
           LEFT JOIN trunkline.settled_partitions p ON p.partition = c.oid), \
         d AS ( \
           SELECT *, coalesce(u, s) AS f, least(e, now() - interval '{COMMITTED_AFTER}') AS t \
           FROM l WHERE isfinite(s) AND isfinite(e)) \
         SELECT bucket, name, is_shared, is_indexed, s > now() + interval '{COMMITTED_AFTER}', \
         e < {WRITTEN_UNTIL}, {}, {}, {}, \
         CASE WHEN f < t THEN {} END, {}, {} \
         FROM d ORDER BY bucket, s",
        utc_text("s"),
        utc_text("e"),
        utc_text(&format!("(e + interval '{LOOK_BACK}')")),
        utc_text("f"),
        utc_text(&format!("least(f + interval '{SLICE}', t)")),
        utc_text("t"),
    );
    let rows = read(client, doing, &sql, &[]).await?;
    let mut leaves = Vec::with_capacity(rows.len());
    for row in &rows {
        let from: Option<String> = field(row, doing, 9)?;
        let (until, all_until) = (field(row, doing, 10)?, field(row, doing, 11)?);
        leaves.push(Leaf {
            bucket: field(row, doing, 0)?,
            table: field(row, doing, 1)?,
            is_shared: field(row, doing, 2)?,
            is_indexed: field(row, doing, 3)?,
            is_ahead: field(row, doing, 4)?,
            is_closed: field(row, doing, 5)?,
            start: field(row, doing, 6)?,
            end: field(row, doing, 7)?,
            matters_until: field(row, doing, 8)?,
            slice: from.map(|from| Slice {
                from,
                until,
                all_until,
                has_rows: false,
            }),
            has_unsettled: false,
        });
    }
    look(client, &mut leaves).await?;
    Ok(leaves)
}

/// Finds out of those that are not compared to their end what is in them.
async fn look(client: &Client, leaves: &mut [Leaf]) -> Result<(), Error> {
    let doing = "look for rows to compare";
    let mut due: Vec<_> = leaves.iter_mut().filter(|leaf| !leaf.is_ahead).collect();
    due.retain(|leaf| leaf.slice.is_some());
    for due in due.chunks_mut(LOOKED_AT_ONCE) {
        let mut questions = Vec::new();
        for leaf in due.iter() {
            let Leaf { table, slice, .. } = leaf;
            let Some(slice) = slice else { continue };
            questions.push(format!(
                "EXISTS (SELECT FROM {table} WHERE received_at >= {} AND received_at < {})",
                quote_literal(&slice.from),
                quote_literal(&slice.all_until)
            ));
            questions.push(if leaf.is_indexed {
                format!("EXISTS ({})", unsettled(table, ""))
            } else {
                "false".to_owned()
            });
        }
        let sql = format!("SELECT ARRAY[{}]", questions.join(", "));
        let rows = read(client, doing, &sql, &[]).await?;
        let mut answers = column::<Vec<bool>>(&rows, doing, 0)?.into_iter();
        for leaf in due {
            let (has_rows, has_unsettled) = (answers.next(), answers.next());
            leaf.has_unsettled = has_unsettled.unwrap_or_default();
            if let Some(slice) = &mut leaf.slice {
                slice.has_rows = has_rows.unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// A query for rows of a leaf that could not be compared when they were stored, and that everybody
/// sees by now.
pub(super) fn unsettled(table: &str, columns: &str) -> String {
    format!(
        "SELECT {columns} FROM {table} \
         WHERE unsettled AND received_at < now() - interval '{COMMITTED_AFTER}'"
    )
}
