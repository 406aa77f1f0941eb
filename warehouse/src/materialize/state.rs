//! What there is to know before anything is materialised of a source. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::leaf::{Closed, Fit, Leaf};
use super::table::{Table, Wanted, wanted};
use crate::apply::{column, field, read};
use crate::catalog::{self, LEAF_BOUNDS, SourceRow, WRITTEN_UNTIL, utc_text};
use crate::claim::Held;
use crate::error::Error;
use crate::partitions::TABLE_NAME;
use crate::relations::{self, Known, Origin};
use crate::roles::Role;

const DOING: &str = "look at materialised rows";

/// What is known of one source.
#[derive(Debug)]
pub(super) struct State {
    database: String,
    row: SourceRow,
    pub(super) known: Known,
    /// The tables that there are to be, by the relation whose rows they have.
    pub(super) wanted: BTreeMap<String, Wanted>,
    /// Those that there are, likewise.
    pub(super) tables: BTreeMap<String, Table>,
    /// The partitions of these, likewise.
    pub(super) leaves: BTreeMap<String, Vec<Leaf>>,
    /// Partitions of events that are over and stay, the latest first.
    pub(super) closed: Vec<Closed>,
}

/// Sources of which rows are to be materialised, or are.
pub(super) async fn numbers(client: &Client) -> Result<Vec<i32>, Error> {
    let sql = "SELECT coalesce(array_agg(number), '{}') FROM (\
               SELECT bucket FROM trunkline.sources WHERE materialized \
               UNION SELECT source_number FROM trunkline.materialized_tables ORDER BY 1) AS n(number)";
    column(&read(client, DOING, sql, &[]).await?, DOING, 0)
}

/// Tables whose statistics are older than a day.
pub(super) async fn unknown(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "SELECT coalesce(array_agg(t.name ORDER BY t.name), '{}') \
               FROM trunkline.materialized_tables t \
               JOIN pg_class c ON c.oid = to_regclass('trunkline_data.' || t.name) \
               WHERE EXISTS (SELECT FROM trunkline.materialized_partitions p \
               WHERE p.table_name = t.name AND p.is_ready) \
               AND coalesce(pg_stat_get_last_analyze_time(c.oid) < now() - interval '24 hours', true)";
    column(&read(client, DOING, sql, &[]).await?, DOING, 0)
}

impl State {
    /// What is known of the source of that number; None where there is none, or where nobody has it any
    /// more and what there is stays as it is.
    pub(super) async fn read(client: &Client, number: i32) -> Result<Option<Self>, Error> {
        let numbers = [number];
        let (names, rows, mut relations, tables, leaves, closed) = tokio::try_join!(
            biased;
            read(client, DOING, "SELECT current_database()::text", &[]),
            catalog::sources(client),
            Box::pin(relations::read(client, Some(&numbers))),
            tables(client, number),
            leaves(client, number),
            closed(client, number)
        )?;
        let row = rows.into_iter().find(|row| row.number == number);
        let Some(row) = row.filter(|row| !row.removed) else {
            return Ok(None);
        };
        let mut state = Self {
            database: column(&names, DOING, 0)?,
            row,
            known: relations.remove(&number).unwrap_or_default(),
            wanted: BTreeMap::new(),
            tables,
            leaves: BTreeMap::new(),
            closed,
        };
        for leaf in leaves {
            let of_relation = state.leaves.entry(leaf.relation.clone()).or_default();
            of_relation.push(leaf);
        }
        if let Some(origin) = state.origin()
            && state.known.is_materialized
            && !origin.held.bucket.is_shared
        {
            state.wanted = wanted(origin, &state.known);
        }
        Ok(Some(state))
    }

    /// Whose relations they are; None without relations.
    pub(super) fn origin(&self) -> Option<Origin<'_>> {
        Some(Origin {
            source: &self.row.source,
            schema: &self.row.schema,
            held: Held {
                number: self.row.number,
                bucket: self.row.bucket(),
            },
            naming: self.known.layout?,
        })
    }

    /// The group of those who read the relations.
    pub(super) fn group(&self) -> Role {
        Role::reader(&self.database, &self.row.schema)
    }

    /// The partition of events that one of a table is about, where that is over and stays.
    pub(super) fn closed_of(&self, leaf: &Leaf) -> Option<&Closed> {
        let mut closed = self.closed.iter();
        closed.find(|it| it.partition == leaf.partition)
    }

    /// The one of a relation's table that is about a partition of events.
    pub(super) fn leaf(&self, relation: &str, closed: &Closed) -> Option<&Leaf> {
        let mut leaves = self.leaves.get(relation)?.iter();
        leaves.find(|it| it.partition == closed.partition)
    }

    /// The partitions of all tables.
    pub(super) fn all_leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.leaves.values().flatten()
    }

    /// What each relation finds in a partition of its table, with the condition of the rows there.
    pub(super) fn fits(&self, leaf: &Leaf) -> Vec<(Fit, &str)> {
        let relation = &leaf.relation;
        let (Some(table), Some(wanted)) = (self.tables.get(relation), self.wanted.get(relation))
        else {
            return Vec::new();
        };
        let readers = wanted.readers.values();
        readers
            .map(|stored| (leaf.fit(table, stored), stored.condition.as_str()))
            .collect()
    }

    /// Whether one of the relations that read a table cannot read this partition of it.
    pub(super) fn lacks_something(&self, leaf: &Leaf) -> bool {
        self.fits(leaf).iter().any(|(fit, _)| *fit == Fit::Lacks)
    }

    /// Whether a table lacks a partition, or one that it has lacks what is read.
    pub(super) fn is_due(&self, closed: &Closed) -> bool {
        self.wanted.keys().any(|relation| {
            self.tables.contains_key(relation)
                && self
                    .leaf(relation, closed)
                    .is_none_or(|leaf| !leaf.is_ready || self.lacks_something(leaf))
        })
    }

    /// Partitions that may have what is read, by keys that nobody has looked for; with the condition of
    /// the rows.
    pub(super) fn without_keys(&self) -> Vec<(&Leaf, &str)> {
        let unknown = |leaf| {
            let fits = self.fits(leaf);
            let lacks = fits.iter().any(|(fit, _)| *fit == Fit::Lacks);
            let unknown = fits.into_iter().find(|(fit, _)| *fit == Fit::Unknown);
            unknown
                .filter(|_| !lacks)
                .map(|(_, condition)| (leaf, condition))
        };
        self.all_leaves().filter_map(unknown).collect()
    }
}

async fn ask(client: &Client, sql: &str, number: i32) -> Result<Vec<Row>, Error> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&number, Type::INT4)];
    read(client, DOING, sql, &parameters).await
}

/// The tables of a source, by the relation whose rows they have.
pub(super) async fn tables(client: &Client, number: i32) -> Result<BTreeMap<String, Table>, Error> {
    let sql = "SELECT name, relation, columns, expressions, fill \
               FROM trunkline.materialized_tables WHERE source_number = $1";
    let rows = ask(client, sql, number).await?;
    let table = |row: &Row| {
        let relation: String = field(row, DOING, 1)?;
        let table = Table {
            name: field(row, DOING, 0)?,
            columns: field(row, DOING, 2)?,
            expressions: field(row, DOING, 3)?,
            fill: field(row, DOING, 4)?,
        };
        Ok((relation, table))
    };
    rows.iter().map(table).collect()
}

/// The partitions of these tables.
pub(super) async fn leaves(client: &Client, number: i32) -> Result<Vec<Leaf>, Error> {
    let sql = format!(
        "SELECT p.id, t.relation, p.name, p.partition, {}, {}, p.rows, p.columns, \
         p.filled_by IS NOT NULL, p.is_ready, \
         EXISTS (SELECT FROM trunkline.materialized_changes c WHERE c.id = p.id) \
         OR NOT p.is_ready AND p.created_at < now() - interval '1 day', p.keys, p.revision, \
         EXISTS (SELECT FROM trunkline.materialized_changes c WHERE c.id = p.id \
         AND c.changed_at < now() - interval '1 minute') \
         FROM trunkline.materialized_partitions p \
         JOIN trunkline.materialized_tables t ON t.name = p.table_name \
         WHERE t.source_number = $1 ORDER BY p.range_start DESC, p.table_name",
        utc_text("p.range_start"),
        utc_text("p.range_end")
    );
    let rows = ask(client, &sql, number).await?;
    let leaf = |row: &Row| {
        let columns: i32 = field(row, DOING, 7)?;
        let keys: Option<Vec<String>> = field(row, DOING, 11)?;
        Ok(Leaf {
            id: field(row, DOING, 0)?,
            relation: field(row, DOING, 1)?,
            name: field(row, DOING, 2)?,
            partition: field(row, DOING, 3)?,
            start: field(row, DOING, 4)?,
            end: field(row, DOING, 5)?,
            rows: field(row, DOING, 6)?,
            columns: usize::try_from(columns).unwrap_or_default(),
            is_filled: field(row, DOING, 8)?,
            is_ready: field(row, DOING, 9)?,
            is_changed: field(row, DOING, 10)?,
            keys: keys.map(|keys| keys.into_iter().collect::<BTreeSet<_>>()),
            revision: field(row, DOING, 12)?,
            was_changed: field(row, DOING, 13)?,
        })
    };
    rows.iter().map(leaf).collect()
}

/// Partitions of a source's events that nobody can still be writing to, without those that are to be
/// dropped.
async fn closed(client: &Client, number: i32) -> Result<Vec<Closed>, Error> {
    let sql = format!(
        "SELECT l.name, {}, {}, l.settled_until >= l.e FROM (\
         SELECT c.relname::text AS name, r.bounds[1]::timestamptz AS s, r.bounds[2]::timestamptz AS e, \
         coalesce(p.settled_until, '-infinity') AS settled_until \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relname ~ '{TABLE_NAME}' \
         CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds) \
         LEFT JOIN trunkline.settled_partitions p ON p.partition = c.oid \
         WHERE i.inhparent = to_regclass('trunkline_data.bucket_' || $1::integer) \
         AND NOT i.inhdetachpending AND NOT EXISTS (SELECT FROM trunkline.dropped_partitions d \
         WHERE d.partition = c.relname AND d.dropped_at IS NULL)) AS l \
         WHERE isfinite(l.s) AND isfinite(l.e) AND l.e < {WRITTEN_UNTIL} \
         ORDER BY l.s DESC",
        utc_text("l.s"),
        utc_text("l.e")
    );
    let rows = ask(client, &sql, number).await?;
    let closed = |row: &Row| {
        Ok(Closed {
            partition: field(row, DOING, 0)?,
            start: field(row, DOING, 1)?,
            end: field(row, DOING, 2)?,
            is_settled: field(row, DOING, 3)?,
        })
    };
    rows.iter().map(closed).collect()
}
