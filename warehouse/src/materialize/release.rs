//! Lets go of what is materialised of a partition that is to be dropped, and of a source that is.
//!
//! Invariant: the rows of a partition leave a relation when the partition leaves its source, and not
//! before or after: first its events are read again, then the copies go, and then the partition may.

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::leaf::drop_leaf;
use super::show::show;
use super::state::{State, leaves, tables};
use super::table::drop_table;
use crate::apply::{column, read, run_or_fail};
use crate::error::Error;
use crate::step::Report;

/// Lets go of the partition of that name, which is written down as one that is to be dropped.
///
/// # Errors
/// [`Error::Locked`] while somebody reads a view of it for long.
pub(crate) async fn release(
    client: &Client,
    number: i32,
    partition: &str,
) -> Result<Report, Error> {
    let mut report = Report::default();
    if of_partition(client, partition).await?.is_empty() {
        return Ok(report);
    }
    // It is none of those that stay any more.
    if let Some(state) = State::read(client, number).await? {
        report.absorb(show(client, &state, &BTreeSet::new()).await?);
    }
    let ids = of_partition(client, partition).await?;
    for leaf in leaves(client, number).await? {
        if ids.contains(&leaf.id) {
            report.absorb(run_or_fail(client, &drop_leaf(&leaf)).await?);
        }
    }
    if of_partition(client, partition).await?.is_empty() {
        return Ok(report);
    }
    Err(Error::Locked {
        doing: format!("read the events of trunkline_data.{partition} in place of their copies"),
    })
}

async fn of_partition(client: &Client, partition: &str) -> Result<BTreeSet<i64>, Error> {
    let doing = "look for materialised rows of a partition";
    let sql = "SELECT coalesce(array_agg(id), '{}') FROM trunkline.materialized_partitions \
               WHERE partition = $1";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&partition, Type::TEXT)];
    let rows = read(client, doing, sql, &parameters).await?;
    let ids: Vec<i64> = column(&rows, doing, 0)?;
    Ok(ids.into_iter().collect())
}

/// Drops all tables of a source whose views are gone, a partition at a time.
pub(crate) async fn drop_all(client: &Client, number: i32) -> Result<Report, Error> {
    let mut report = Report::default();
    for leaf in leaves(client, number).await? {
        report.absorb(run_or_fail(client, &drop_leaf(&leaf)).await?);
    }
    for table in tables(client, number).await?.values() {
        report.absorb(run_or_fail(client, &drop_table(&table.name)).await?);
    }
    Ok(report)
}

/// Whether nothing is known of a source any more.
pub(super) async fn is_forgotten(client: &Client, number: i32) -> Result<bool, Error> {
    let doing = "look for a source";
    let sql = "SELECT NOT EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1)";
    let rows = read(client, doing, sql, &[(&number, Type::INT4)]).await?;
    column(&rows, doing, 0)
}
