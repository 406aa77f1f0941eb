//! The materialised tables of a source: what is wanted of them, and the steps that make and change them.
//! Pure.
//!
//! Invariants:
//! - A table only ever gains columns, and every row that is made for it has a value for all of them. So
//!   what a partition lacks is what came after it was filled.
//! - A table that a view reads is not dropped.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use trunkline_model::names::{quote_identifier, quote_literal};

use crate::apply::CURRENT_ROLE;
use crate::relations::{Known, Origin, PLACE, Stored, StoredColumn, stored};
use crate::step::{Step, Test};

/// Columns that a table has at most. PostgreSQL allows 1,600; a table of which more are asked, since
/// types were changed again and again, is made anew.
const MAX_COLUMNS: usize = 1_200;

/// A table as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) expressions: Vec<String>,
    pub(super) fill: String,
}

/// A table as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// What is read of it, by the relation that does.
    pub(super) readers: BTreeMap<String, Stored>,
}

/// The tables of all relations that there are.
pub(super) fn wanted(origin: Origin<'_>, known: &Known) -> BTreeMap<String, Wanted> {
    let mut tables: BTreeMap<String, Wanted> = BTreeMap::new();
    for (name, relation) in &known.decided.relations {
        let stored = stored(origin, name, relation, &known.decided);
        tables
            .entry(stored.relation.clone())
            .or_insert_with_key(|relation| Wanted {
                name: name_of(origin.held.number, relation),
                readers: BTreeMap::new(),
            })
            .readers
            .insert(name.clone(), stored);
    }
    // What shows the latest rows alone has none without the relation that it is about.
    tables.retain(|relation, table| table.readers.contains_key(relation));
    tables
}

/// Its name within `trunkline_data`. A relation's may be as long as PostgreSQL allows.
fn name_of(number: i32, relation: &str) -> String {
    let hash = hex::encode(&Sha256::digest(relation.as_bytes())[..6]);
    format!("materialized_{number}_{hash}")
}

impl Wanted {
    /// What is read of the rows of the relation itself.
    fn own<'a>(&'a self, relation: &str) -> Option<&'a Stored> {
        self.readers.get(relation)
    }

    /// Each column that is read, once, the ones of a fixed width first.
    fn columns(&self) -> Vec<&StoredColumn> {
        let mut columns: Vec<&StoredColumn> = Vec::new();
        for column in self.readers.values().flat_map(|stored| &stored.columns) {
            if !columns.iter().any(|it| it.name == column.name) {
                columns.push(column);
            }
        }
        columns.sort_by_key(|column| match column.sql_type {
            "timestamptz" => 0,
            "uuid" => 1,
            "integer" => 2,
            "boolean" => 3,
            _ => 4,
        });
        columns
    }

    /// Whether the table has to be made anew for it.
    pub(super) fn outgrows(&self, table: &Table) -> bool {
        let columns = self.columns();
        let is_new = |column: &&&StoredColumn| !table.columns.contains(&column.name);
        table.columns.len() + columns.iter().filter(is_new).count() > MAX_COLUMNS
    }

    /// Makes the table, or brings the one that is there to what is wanted; None where it is that.
    pub(super) fn step(&self, number: i32, relation: &str, table: Option<&Table>) -> Option<Step> {
        let own = self.own(relation)?;
        let all = self.columns();
        let (mut columns, mut values) = table.map_or_else(Default::default, |it| {
            (it.columns.clone(), it.expressions.clone())
        });
        let new: Vec<_> = all
            .into_iter()
            .filter(|column| !columns.contains(&column.name))
            .collect();
        columns.extend(new.iter().map(|column| column.name.clone()));
        values.extend(new.iter().map(|column| column.value.clone()));
        let fill = fill(&columns, &values, &own.condition);
        let known = table.map(|it| it.fill.as_str());
        if known == Some(fill.as_str()) {
            return None;
        }
        let quoted = format!("trunkline_data.{}", self.name);
        let make = match table {
            None => create(&quoted, &new),
            Some(_) => change(&quoted, &self.name, &new),
        };
        let events = own.events.as_deref();
        let events = events.map_or_else(|| "NULL".to_owned(), array);
        let (rows, columns, values) = (own.rows(), array(&columns), array(&values));
        Some(Step {
            what: format!("bring trunkline_data.{} to what is read of it", self.name),
            needed: Test::new(
                "coalesce((SELECT fill FROM trunkline.materialized_tables WHERE name = $1), '') = $2 \
                 AND EXISTS (SELECT FROM trunkline.sources WHERE bucket = $3::integer \
                 AND materialized AND removed_at IS NULL)",
                [&self.name, known.unwrap_or_default(), &number.to_string()],
            ),
            sql: format!(
                "{make}INSERT INTO trunkline.materialized_tables \
                 (name, source_number, relation, rows, columns, expressions, event_type, events, fill) \
                 VALUES ('{}', {number}, {}, '{rows}', {columns}, {values}, '{}', {events}, {}) \
                 ON CONFLICT (name) DO UPDATE SET rows = excluded.rows, columns = excluded.columns, \
                 expressions = excluded.expressions, events = excluded.events, fill = excluded.fill",
                self.name,
                quote_literal(relation),
                own.event_type,
                quote_literal(&fill)
            ),
            fix: rights(),
        })
    }
}

/// The table, to which partitions are attached.
fn create(table: &str, columns: &[&StoredColumn]) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|column| {
            let is_key = ["received_at", "delivery_id", "position"].contains(&&*column.name);
            let not_null = if is_key { " NOT NULL" } else { "" };
            format!("{}{not_null}", definition(column))
        })
        .collect();
    format!(
        "CREATE TABLE {table} ({}, {PLACE} tid) PARTITION BY RANGE (received_at);\n\
         REVOKE ALL ON {table} FROM PUBLIC;\n",
        columns.join(", ")
    )
}

/// Adds columns. A partition that is not attached does not get them, and is made anew.
fn change(table: &str, name: &str, columns: &[&StoredColumn]) -> String {
    let drop_unready = format!(
        "DECLARE leaf record; BEGIN FOR leaf IN SELECT p.id, p.name \
         FROM trunkline.materialized_partitions p WHERE p.table_name = '{name}' AND NOT p.is_ready LOOP \
         EXECUTE format('DROP TABLE IF EXISTS trunkline_data.%I', leaf.name); \
         DELETE FROM trunkline.materialized_partitions WHERE id = leaf.id; \
         DELETE FROM trunkline.materialized_changes WHERE id = leaf.id; END LOOP; END"
    );
    let mut sql = format!("DO {};\n", quote_literal(&drop_unready));
    if !columns.is_empty() {
        let add: Vec<_> = columns
            .iter()
            .map(|column| format!("ADD COLUMN {}", definition(column)))
            .collect();
        sql.push_str(&format!("ALTER TABLE {table} {};\n", add.join(", ")));
    }
    sql
}

fn definition(column: &StoredColumn) -> String {
    format!("{} {}", quote_identifier(&column.name), column.sql_type)
}

/// Makes rows of events, as a text for `format`: the table, the events, their places.
fn fill(columns: &[String], values: &[String], condition: &str) -> String {
    let columns: Vec<_> = columns.iter().map(|name| quote_identifier(name)).collect();
    let plain = |sql: &str| sql.replace('%', "%%");
    format!(
        "INSERT INTO trunkline_data.%1$I ({}, {PLACE}) SELECT {}, %3$s FROM %2$s AS b WHERE {}",
        plain(&columns.join(", ")),
        plain(&values.join(", ")),
        plain(condition)
    )
}

fn array<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<_> = texts
        .iter()
        .map(|text| quote_literal(text.as_ref()))
        .collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

/// Drops a table that has no partition and that no view reads.
pub(super) fn drop_table(name: &str) -> Step {
    Step {
        what: format!("drop trunkline_data.{name}"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.materialized_tables WHERE name = $1) \
             AND NOT EXISTS (SELECT FROM trunkline.materialized_partitions WHERE table_name = $1) \
             AND NOT EXISTS (SELECT FROM trunkline.relations WHERE materialized ->> 'table' = $1)",
            [name],
        ),
        sql: format!(
            "DROP TABLE IF EXISTS trunkline_data.{name};\n\
             DELETE FROM trunkline.materialized_tables WHERE name = '{name}'"
        ),
        fix: rights(),
    }
}

/// What the owner of the database may lack.
pub(super) fn rights() -> String {
    format!("ALTER TABLE trunkline.materialized_tables OWNER TO {CURRENT_ROLE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_table_is_a_text_for_format_whatever_was_sent() {
        let columns = ["rate_1".to_owned()];
        let values = ["b.\"body_json\" #>> '{\"properties\",\"100%\"}'::text[]".to_owned()];
        assert_eq!(
            fill(&columns, &values, "b.\"event\" = '%s off'"),
            "INSERT INTO trunkline_data.%1$I (\"rate_1\", place) \
             SELECT b.\"body_json\" #>> '{\"properties\",\"100%%\"}'::text[], %3$s \
             FROM %2$s AS b WHERE b.\"event\" = '%%s off'"
        );
    }

    #[test]
    fn a_table_and_its_partitions_have_names_that_postgresql_does_not_cut() {
        let name = name_of(i32::MAX, &"r".repeat(63));
        assert!(
            format!("{name}_2026112423_received_at_idx").len() <= 63,
            "{name}"
        );
        assert_ne!(name, name_of(i32::MAX, "r"));
    }
}
