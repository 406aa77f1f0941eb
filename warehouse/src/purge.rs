//! Deletes the rows of sources that were dropped from a bucket that others share.
//!
//! Invariants:
//! - Nobody waits: a batch is a transaction of some milliseconds that locks the rows of one source,
//!   which nothing shows any more.
//! - Each batch looks under the DDL lock whether the rows are still to go. The catalog's row goes
//!   last, so that whatever ends it early, the next call goes on.
//! - Rows are found by the index, in the order of their time, so that a batch does not read what
//!   those before it have deleted.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use trunkline_model::names::{ClusterName, quote_literal};

use crate::apply::{CURRENT_ROLE, column, read, run_or_fail};
use crate::catalog::{self, SourceRow};
use crate::error::Error;
use crate::removal::forget_rows;
use crate::shared::of_source;
use crate::step::{Report, Step, Test};

/// Rows deleted in one transaction, and those that have the time of the last one besides: what one
/// commit stored.
const ROWS_AT_ONCE: u32 = 1_000;

/// Deletes all rows of the cluster that nobody sees any more, and forgets their sources.
pub(crate) async fn purge(client: &Client, cluster: &ClusterName) -> Result<Report, Error> {
    let cluster = cluster.to_string();
    let rows = catalog::sources(client).await?;
    let (mut report, mut failure) = (Report::default(), None);
    for row in rows
        .iter()
        .filter(|row| row.cluster == cluster && row.drop_rows)
    {
        match drop_rows(client, row).await {
            Ok(done) => {
                for step in &done.changed {
                    // At once: the caller may not wait for the others.
                    tracing::info!(step, "purge");
                }
                report.absorb(done);
            }
            Err(error) if error.is_local() => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(report), Err)
}

/// Deletes the rows of one source. The report has one line for all of it.
async fn drop_rows(client: &Client, row: &SourceRow) -> Result<Report, Error> {
    for leaf in catalog::leaves(client, row.bucket().number).await? {
        let table = format!("trunkline_data.{leaf}");
        match empty(client, row, &table).await {
            // Retention was faster.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {}
            done => done?,
        }
    }
    run_or_fail(client, &forget(row)).await
}

/// Deletes what a partition holds of a source.
async fn empty(client: &Client, row: &SourceRow, table: &str) -> Result<(), Error> {
    let mut after = "-infinity".to_owned();
    while let Some(until) = next(client, row, table, &after).await? {
        run_or_fail(client, &delete(row, table, &after, &until)).await?;
        after = until;
    }
    Ok(())
}

/// The time up to which the next batch reaches, with its offset from UTC; None without a row.
async fn next(
    client: &Client,
    row: &SourceRow,
    table: &str,
    after: &str,
) -> Result<Option<String>, Error> {
    let doing = format!("look for rows of source {} in {table}", row.source);
    let sql = format!(
        "SELECT to_char(max(received_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\"') \
         FROM (SELECT received_at FROM {table} WHERE {} AND received_at > $1::text::timestamptz \
         ORDER BY received_at LIMIT {ROWS_AT_ONCE}) AS batch",
        of_source(&row.source)
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&after, Type::TEXT)];
    let rows = read(client, &doing, &sql, &parameters).await?;
    column(&rows, &doing, 0)
}

/// Deletes what was received after a time and until another. The partition is to be vacuumed once
/// more, also when its time was over.
fn delete(row: &SourceRow, table: &str, after: &str, until: &str) -> Step {
    let SourceRow { number, source, .. } = row;
    Step {
        what: format!("delete rows of source {source} from {table}"),
        needed: Test::new(DROPPING, [&number.to_string()]),
        sql: format!(
            "DELETE FROM {table} WHERE {} AND received_at > {} AND received_at <= {};\n\
             DELETE FROM trunkline.frozen_partitions WHERE partition = {}::regclass",
            of_source(source),
            quote_literal(after),
            quote_literal(until),
            quote_literal(table)
        ),
        fix: format!("ALTER TABLE {table} OWNER TO {CURRENT_ROLE}"),
    }
}

/// Gives up the claim on name and schema, now that nothing is left.
fn forget(row: &SourceRow) -> Step {
    let SourceRow { number, source, .. } = row;
    Step {
        what: format!("delete the rows of source {source}, and forget it"),
        needed: Test::new(DROPPING, [&number.to_string()]),
        sql: forget_rows(row),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    }
}

/// True while the rows of the source of number `$1` are to go.
const DROPPING: &str =
    "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer AND drop_rows)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partitions::Bucket;
    use crate::ranges::PartitionBy;
    use crate::shared::{Class, SharedBucket};

    #[test]
    fn only_rows_of_a_source_that_is_dropped_are_deleted_and_by_the_index() {
        let row = SourceRow {
            number: 8,
            source: "a/it's".to_owned(),
            cluster: "a/main".to_owned(),
            schema: "shop".to_owned(),
            removed: true,
            partition_by: PartitionBy::Day,
            shared: Some(SharedBucket {
                bucket: 7,
                class: Class {
                    cluster: "a/main".to_owned(),
                    retention_days: None,
                    partition_by: PartitionBy::Month,
                },
            }),
            drop_rows: true,
            tells_repeats: false,
            indexes: crate::indexes::LeafIndexes::default(),
        };
        assert_eq!(
            row.bucket(),
            Bucket {
                number: 7,
                by: PartitionBy::Month,
                is_shared: true,
                tells_repeats: true,
                indexes: crate::indexes::LeafIndexes::default(),
            }
        );
        let table = "trunkline_data.bucket_7_202611";
        let step = delete(&row, table, "-infinity", "2026-11-24 00:00:00.5+00");
        assert!(
            step.sql.starts_with(
                "DELETE FROM trunkline_data.bucket_7_202611 \
                 WHERE \"source\" COLLATE \"C\" = 'a/it''s' AND received_at > '-infinity' \
                 AND received_at <= '2026-11-24 00:00:00.5+00';\n"
            ),
            "{}",
            step.sql
        );
        for step in [step, forget(&row)] {
            let needed = step.needed.sql();
            assert!(
                needed.ends_with("bucket = '8'::integer AND drop_rows)"),
                "{needed}"
            );
        }
    }
}
