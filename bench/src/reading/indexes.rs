//! What each index of `spec.indexes` costs whoever writes, and what it takes on disk.

use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use tokio_postgres::Client;
use trunkline_bench::figures::median;
use trunkline_warehouse::{DesiredSource, LeafIndex};

use crate::product::{self, Product, SOURCE};

/// Commits of [`ROWS`] rows to each source, in turn.
const COMMITS: u32 = 100;

/// Rows of a commit, as of a busy ingester.
const ROWS: u32 = 1_000;

/// What was found of a source with one index, or without.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// `none`, or as the manifest names it.
    pub(crate) index: &'static str,
    /// Of a row, the median of all commits.
    pub(crate) microseconds: f64,
    /// Of a row, in the log.
    pub(crate) wal_bytes: f64,
    /// Of a row, in all indexes of its partition.
    pub(crate) index_bytes: f64,
}

/// A source that is written to.
struct Subject {
    cost: Cost,
    bucket: i32,
    name: String,
    times: Vec<f64>,
    rows: u64,
    wal: i64,
}

/// Writes the same rows to a source without one and to one with each: those of yesterday, which are
/// stored as of now.
pub(crate) async fn measure(product: &Product, client: &Client) -> anyhow::Result<Vec<Cost>> {
    let mut subjects = subjects(product).await?;
    let yesterday = product.leaf(product.day(1)?);
    // Without the two columns that differ, and without what was marked before.
    let copy = "INSERT INTO trunkline.events (bucket, source, delivery_id, position, message_id, type, \
                event, user_id, anonymous_id, \"timestamp\", original_timestamp, sent_at, auth_scope, \
                body_json)";
    let columns = "delivery_id, position, message_id, type, event, user_id, anonymous_id, \
                   \"timestamp\", original_timestamp, sent_at, auth_scope, body_json";
    let take = format!(
        "CREATE TEMP TABLE portion AS SELECT {columns}, \
         (row_number() OVER (ORDER BY received_at) - 1) / {ROWS} AS number \
         FROM trunkline_data.{yesterday} WHERE NOT dup LIMIT {}; \
         CREATE INDEX ON portion (number); ANALYZE portion",
        COMMITS * ROWS
    );
    client.batch_execute(&take).await?;
    for number in 0..COMMITS {
        for subject in &mut subjects {
            let Subject { bucket, name, .. } = subject;
            let before = wal(client).await?;
            let start = Instant::now();
            let sql = format!(
                "{copy} SELECT {bucket}, '{name}', {columns} FROM portion WHERE number = {number}"
            );
            let rows = client
                .execute(&sql, &[])
                .await
                .context("storing a portion")?;
            let took = start.elapsed().as_secs_f64() * 1e6;
            subject.rows += rows;
            if rows > 0 {
                subject.times.push(took / rows as f64);
            }
            subject.wal += wal(client).await? - before;
        }
    }
    let mut costs = Vec::new();
    for subject in subjects {
        let sql = "SELECT sum(pg_indexes_size(inhrelid))::bigint FROM pg_inherits \
                   WHERE inhparent = to_regclass('trunkline_data.bucket_' || $1::integer)";
        let row = client.query_one(sql, &[&subject.bucket]).await?;
        let rows = subject.rows as f64;
        costs.push(Cost {
            microseconds: median(subject.times.into_iter()),
            wal_bytes: subject.wal as f64 / rows,
            index_bytes: row.get::<_, i64>(0) as f64 / rows,
            ..subject.cost
        });
    }
    Ok(costs)
}

async fn wal(client: &Client) -> anyhow::Result<i64> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// A source without an index, and one with each.
async fn subjects(product: &Product) -> anyhow::Result<Vec<Subject>> {
    let kinds = std::iter::once(None).chain(LeafIndex::ALL.map(Some));
    let kinds: Vec<_> = kinds.collect();
    let mut desired = vec![product::source()?];
    for (number, kind) in kinds.iter().enumerate() {
        desired.push(DesiredSource {
            name: format!("{SOURCE}-{number}").parse()?,
            schema: format!("indexed_{number}").parse()?,
            indexes: Some(kind.iter().copied().collect()),
            ..product::source()?
        });
    }
    let warehouse = product.warehouse().await?;
    let cluster = product::CLUSTER.parse()?;
    let places = warehouse.ensure_sources(&cluster, &desired, &[], None);
    let mut subjects = Vec::new();
    for ((name, place), kind) in places.await?.into_iter().skip(1).zip(kinds) {
        subjects.push(Subject {
            bucket: place?.bucket,
            name: name.to_string(),
            times: Vec::new(),
            rows: 0,
            wal: 0,
            cost: Cost {
                index: kind.map_or("none", LeafIndex::as_str),
                microseconds: f64::NAN,
                wal_bytes: f64::NAN,
                index_bytes: f64::NAN,
            },
        });
    }
    Ok(subjects)
}
