//! Drops a source for good: its schema, its rows, its readers, its claim.
//!
//! Invariants:
//! - No sender waits, provided that no ingester routes the source any more: the bucket leaves the
//!   parent by DETACH CONCURRENTLY, which queues for no lock that a COPY conflicts with.
//! - Nothing of anybody else is dropped: never CASCADE, and no schema or role without our mark.
//! - The catalog's row goes last, so that a removal that is cut short anywhere is continued by the
//!   next call, and each step looks under the DDL lock whether the source is still to go.
//! - Rows in a bucket that others share are out of sight at once, and deleted by [`crate::purge`].

use tokio_postgres::Client;
use trunkline_model::names::{ClusterName, SourceName, quote_identifier, quote_literal};
use trunkline_pgconn::Target;

use crate::apply::{CURRENT_ROLE, run_or_fail};
use crate::catalog::{self, SourceRow};
use crate::claim;
use crate::detach::detach;
use crate::error::Error;
use crate::layout::EVENTS;
use crate::materialize;
use crate::own_views::{MadeView, made_views};
use crate::partitions::bucket_table;
use crate::preflight::Preflight;
use crate::record;
use crate::rejections::REJECTIONS;
use crate::relations;
use crate::roles::Role;
use crate::step::{Report, Step, Test};

/// Leaves dropped in one transaction: each takes the locks of its table, its index and its TOAST.
const LEAVES_AT_ONCE: usize = 32;

/// A condition about the source of number `$1` that counts only while it is to go.
macro_rules! while_removed {
    ($($condition:literal),+) => {
        concat!(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer \
             AND removed_at IS NOT NULL) AND ",
            $($condition),+
        )
    };
}

/// The same, once the bucket has left the parent.
macro_rules! once_detached {
    ($condition:literal) => {
        while_removed!(
            "NOT EXISTS (SELECT FROM pg_inherits \
             WHERE inhrelid = to_regclass('trunkline_data.bucket_' || $1) \
             AND inhparent = to_regclass('trunkline.events')) AND ",
            $condition
        )
    };
}

/// What dropping a source changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The steps done, in words for a log. Empty when there was nothing left of the source, or
    /// nothing that this cluster held.
    pub changed: Vec<String>,
    /// Whether rows are left that nobody sees, for [`crate::Warehouse::purge`]: those of a source
    /// that shared a bucket.
    pub leaves_rows: bool,
}

/// Drops everything of `source`.
pub(crate) async fn drop_source(
    client: &Client,
    owner: &Target,
    server: &Preflight,
    cluster: &ClusterName,
    source: &SourceName,
) -> Result<Dropped, Error> {
    let (name, cluster) = (source.to_string(), cluster.to_string());
    let rows = catalog::sources(client).await?;
    let held = rows
        .iter()
        .find(|row| row.source == name && row.cluster == cluster);
    let Some(row) = held else {
        return Ok(Dropped::default());
    };
    let number = row.number;
    let group = Role::reader(&server.database, &row.schema);

    let mut report = run_or_fail(client, &record::record_removed(row)).await?;
    let views = made_views(client).await?.remove(&number);
    let step = drop_schema(row, source, views.as_deref().unwrap_or_default());
    report.absorb(run(client, &step).await?);
    report.absorb(Box::pin(materialize::drop_all(client, number)).await?);
    if row.shared.is_some() {
        report.absorb(run(client, &drop_group(number, &group)).await?);
        report.absorb(run(client, &let_rows_go(row)).await?);
    } else {
        report.absorb(detach(client, owner, EVENTS, &bucket_table(number)).await?);
        for leaves in catalog::leaves(client, number)
            .await?
            .chunks(LEAVES_AT_ONCE)
        {
            report.absorb(run(client, &drop_leaves(number, leaves)).await?);
        }
        report.absorb(run(client, &drop_bucket(number)).await?);
        report.absorb(run(client, &drop_group(number, &group)).await?);
        report.absorb(run(client, &forget(row)).await?);
    }

    let rows = catalog::sources(client).await?;
    let left = rows.iter().find(|row| row.number == number);
    if left.is_some_and(|row| !row.drop_rows) {
        // Someone has added it again, or made something of it anew.
        let doing = format!("drop source {source}");
        return Err(Error::Locked { doing });
    }
    let Report { changed, .. } = report;
    Ok(Dropped {
        changed,
        leaves_rows: left.is_some(),
    })
}

/// Does a step of ours, and names what others have built on what it would drop.
pub(crate) async fn run(client: &Client, step: &Step) -> Result<Report, Error> {
    run_or_fail(client, step)
        .await
        .map_err(|error| match (error.dependants(), error) {
            (Some(objects), Error::Statement { doing, .. }) => Error::Dependants { doing, objects },
            (_, error) => error,
        })
}

/// Nothing in it is dropped but views of ours.
fn drop_schema(row: &SourceRow, source: &SourceName, views: &[MadeView]) -> Step {
    let SourceRow { number, schema, .. } = row;
    let quoted = quote_identifier(schema);
    let there = views.iter().filter(|view| view.is_there);
    let own = there.map(|view| format!(", {quoted}.{}", quote_identifier(&view.name)));
    let own: String = own.collect();
    Step {
        what: format!("drop schema {schema}"),
        needed: Test::new(
            while_removed!(
                "EXISTS (SELECT FROM pg_namespace WHERE nspname = $2 \
                 AND obj_description(oid, 'pg_namespace') = $3)"
            ),
            [&number.to_string(), schema, &claim::mark(source)],
        ),
        sql: format!(
            "{};\nDROP VIEW IF EXISTS {quoted}.\"events\"{own};\nDROP SCHEMA {quoted}",
            relations::drop_all(*number, schema)
        ),
        fix: format!("ALTER SCHEMA {quoted} OWNER TO {CURRENT_ROLE}"),
    }
}

fn drop_leaves(bucket: i32, leaves: &[String]) -> Step {
    let tables: Vec<_> = leaves
        .iter()
        .map(|leaf| format!("trunkline_data.{leaf}"))
        .collect();
    Step {
        what: format!("drop {}", tables.join(", ")),
        needed: Test::new(
            once_detached!(
                "EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = 'trunkline_data' AND c.relname = ANY ($2::text[]))"
            ),
            [&bucket.to_string(), &format!("{{{}}}", leaves.join(","))],
        ),
        sql: format!("DROP TABLE IF EXISTS {}", tables.join(", ")),
        fix: format!(
            "ALTER TABLE {} OWNER TO {CURRENT_ROLE}",
            bucket_table(bucket)
        ),
    }
}

fn drop_bucket(bucket: i32) -> Step {
    let table = bucket_table(bucket);
    Step {
        what: format!("drop {table}"),
        needed: Test::new(
            once_detached!("to_regclass('trunkline_data.bucket_' || $1) IS NOT NULL"),
            [&bucket.to_string()],
        ),
        sql: format!("DROP TABLE {table}"),
        fix: format!("ALTER TABLE {table} OWNER TO {CURRENT_ROLE}"),
    }
}

/// The rights on the schema went with it. Roles that the manifests listed are members, and stay.
fn drop_group(number: i32, group: &Role) -> Step {
    let name = group.quoted();
    Step {
        what: format!("drop role {}", group.name),
        needed: Test::new(
            while_removed!(
                "EXISTS (SELECT FROM pg_roles WHERE rolname = $2 \
                 AND shobj_description(oid, 'pg_authid') = $3)"
            ),
            [&number.to_string(), &group.name, group.mark()],
        ),
        sql: format!(
            "REVOKE ALL ON trunkline.webhook_sources, {REJECTIONS} FROM {name};\n\
             REVOKE ALL ON SCHEMA trunkline FROM {name};\n\
             DROP ROLE {name}"
        ),
        fix: format!("DROP ROLE {name}"),
    }
}

/// Hands the rows in a shared bucket over to [`crate::purge`], now that nothing shows them. From then
/// on the source cannot come back before they are gone.
fn let_rows_go(row: &SourceRow) -> Step {
    let SourceRow { number, source, .. } = row;
    Step {
        what: format!("let the rows of source {source} go"),
        needed: Test::new(
            while_removed!(
                "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer AND NOT drop_rows)"
            ),
            [&number.to_string()],
        ),
        sql: format!("UPDATE trunkline.sources SET drop_rows = true WHERE bucket = {number}"),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    }
}

/// Gives up the claim on name and schema, once nothing is left that it protects, and forgets what was
/// refused: whoever takes the name next is not to read it.
fn forget(row: &SourceRow) -> Step {
    let SourceRow { number, source, .. } = row;
    Step {
        what: format!("forget source {source}"),
        needed: Test::new(
            once_detached!("to_regclass('trunkline_data.bucket_' || $1) IS NULL"),
            [&number.to_string()],
        ),
        sql: format!(
            "DELETE FROM trunkline.dropped_partitions WHERE bucket = {number};\n{}",
            forget_rows(row)
        ),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    }
}

/// Deletes what the catalog, the log of refusals and the shapes of events hold of a source.
pub(crate) fn forget_rows(row: &SourceRow) -> String {
    format!(
        "DELETE FROM trunkline_data.rejections WHERE source = {};\n{};\n\
         DELETE FROM trunkline.sources WHERE bucket = {}",
        quote_literal(&row.source),
        relations::forget(&row.source),
        row.number
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dropped_that_depends_or_waits_in_front_of_senders() {
        let row = SourceRow {
            number: 7,
            source: "a/shop".to_owned(),
            cluster: "a/main".to_owned(),
            schema: "shop".to_owned(),
            removed: true,
            partition_by: crate::ranges::PartitionBy::Day,
            shared: None,
            drop_rows: false,
            tells_repeats: false,
            indexes: crate::indexes::LeafIndexes::default(),
        };
        let leaves = [
            "bucket_7_20261124".to_owned(),
            "bucket_7_20261125".to_owned(),
        ];
        let views = [("orders", true), ("somebody's", false)].map(|(name, is_there)| MadeView {
            name: name.to_owned(),
            is_there,
        });
        let steps = [
            drop_schema(&row, &"a/shop".parse().unwrap(), &views),
            drop_leaves(7, &leaves),
            drop_bucket(7),
            drop_group(7, &Role::reader("app", "shop")),
            let_rows_go(&row),
            forget(&row),
        ];
        for step in &steps {
            let sql = step.sql.to_uppercase();
            assert!(
                !sql.contains("CASCADE") && !sql.contains("TRUNKLINE.EVENTS"),
                "{sql}"
            );
            assert!(
                step.needed.sql().contains(
                    "FROM trunkline.sources WHERE bucket = '7'::integer AND removed_at IS NOT NULL"
                ),
                "{}",
                step.what
            );
        }
        assert_eq!(
            steps[0].sql,
            format!(
                "{};\nDROP VIEW IF EXISTS \"shop\".\"events\", \"shop\".\"orders\";\n\
                 DROP SCHEMA \"shop\"",
                relations::drop_all(7, "shop")
            )
        );
        for step in &steps[1..3] {
            assert!(step.needed.sql().contains("pg_inherits"), "{}", step.what);
        }
        assert_eq!(
            steps[1].sql,
            "DROP TABLE IF EXISTS trunkline_data.bucket_7_20261124, \
             trunkline_data.bucket_7_20261125"
        );
    }
}
