//! The SQL of a view that reads a materialised table for the times that are over, and events for the
//! rest. Pure.
//!
//! Invariant: it shows what the view of events alone shows. Each row comes from one of the two, by
//! `received_at` and literal times, which the planner prunes both sides by. Where the view reads all of
//! a table, the bounds of its partitions say the same.

use std::collections::BTreeSet;

use trunkline_model::columns::COLUMNS;
use trunkline_model::names::quote_identifier;

use super::materialized::Part;
use super::shown::{Kept, ShownColumn, Stored, StoredColumn};
use super::subject::Subject;
use super::view::{Origin, of_type};

/// The column with an event's place in its partition. What has moved is found by its key.
pub(crate) const PLACE: &str = "place";

/// A query for all rows. What is looked up or joined is so outside of both sides: what is asked for by
/// nobody is not even planned then, and a side without a condition of its own is planned as if the query
/// named the table.
pub(super) fn all_rows(
    origin: Origin<'_>,
    subject: Subject,
    columns: &[ShownColumn],
    stored: &Stored,
    part: &Part,
) -> String {
    let (mut of_table, mut of_events) = sides(stored);
    for name in looked_up(columns) {
        let sql_type = COLUMNS.iter().find(|spec| spec.name == name);
        let sql_type = sql_type.map_or("text", |spec| spec.sql_type);
        let name = quote_identifier(name);
        of_table.push(format!("NULL::{sql_type} AS {name}"));
        of_events.push(format!("b.{name}"));
    }
    of_table.push(format!("t.{PLACE}"));
    of_events.push("NULL::tid".to_owned());
    let selected = columns.iter().map(|it| {
        let value = match &it.kept {
            Kept::Event(name) => of_either(origin, name),
            _ => of_row(origin, it),
        };
        format!("{value} AS {}", quote_identifier(&it.name))
    });
    let selected: Vec<_> = selected.collect();
    let names = match subject {
        Subject::Tracks => format!("\n{}", origin.short_names("u")),
        _ => String::new(),
    };
    let covered = part.covers("t.\"received_at\"");
    let covered = covered.map_or_else(String::new, |covered| format!("\n  WHERE {covered}"));
    format!(
        "SELECT\n  {}\nFROM (\n  SELECT {}\n  FROM trunkline_data.{} AS t{covered}\n  UNION ALL\n  \
         SELECT {}\n  FROM {} AS b\n  WHERE {} AND {}\n) AS u{names}",
        selected.join(",\n  "),
        of_table.join(", "),
        part.table,
        of_events.join(", "),
        origin.table(),
        stored.condition,
        part.leaves_out("b.\"received_at\"")
    )
}

/// What both sides say for the columns of a table, in their order.
fn sides(stored: &Stored) -> (Vec<String>, Vec<String>) {
    let both = stored.columns.iter().map(|column| {
        let name = quote_identifier(&column.name);
        (format!("t.{name}"), format!("{} AS {name}", column.value))
    });
    both.unzip()
}

/// The columns of events that a row of a table does not have, each once.
fn looked_up(columns: &[ShownColumn]) -> BTreeSet<&'static str> {
    let name = |it: &ShownColumn| match it.kept {
        Kept::Event(name) => Some(name),
        Kept::Column(_) | Kept::Made(_) => None,
    };
    columns.iter().filter_map(name).collect()
}

/// A query for the latest row of each key. Events are cast before the latest are chosen, since those are
/// few that are not materialised.
pub(super) fn latest(
    origin: Origin<'_>,
    subject: Subject,
    columns: &[ShownColumn],
    stored: &Stored,
    key: &StoredColumn,
    part: &Part,
) -> String {
    let (mut of_table, mut of_events) = sides(stored);
    let chosen = stored.columns.iter();
    let mut chosen: Vec<_> = chosen
        .map(|column| format!("u.{}", quote_identifier(&column.name)))
        .collect();
    of_table.push(format!("t.{PLACE}"));
    of_events.push(format!("b.ctid AS {PLACE}"));
    chosen.push(format!("u.{PLACE}"));
    let selected: Vec<_> = columns
        .iter()
        .map(|it| {
            let name = quote_identifier(&it.name);
            format!("{} AS {name}", of_row(origin, it))
        })
        .collect();
    let key_name = quote_identifier(&key.name);
    let covered = part.covers("t.\"received_at\"");
    let covered = covered.map_or_else(String::new, |covered| format!("{covered} AND "));
    format!(
        "SELECT\n  {}\nFROM (\n  SELECT DISTINCT ON (u.{key_name}) {}\n  FROM (\n    \
         SELECT {}\n    FROM trunkline_data.{} AS t\n    \
         WHERE {covered}t.{key_name} IS NOT NULL\n    UNION ALL\n    \
         SELECT {}\n    FROM {} AS b\n    WHERE {} AND {} AND {} IS NOT NULL AND {}\n  ) AS u\n  \
         ORDER BY u.{key_name}, coalesce(u.\"timestamp\", u.\"received_at\") DESC, \
         u.\"received_at\" DESC, u.\"message_id\" DESC NULLS LAST\n) AS u",
        selected.join(",\n  "),
        chosen.join(", "),
        of_table.join(", "),
        part.table,
        of_events.join(", "),
        origin.table(),
        origin.condition(),
        of_type(subject),
        key.value,
        part.leaves_out("b.\"received_at\"")
    )
}

/// The value of a row that is called `u`.
fn of_row(origin: Origin<'_>, column: &ShownColumn) -> String {
    match &column.kept {
        Kept::Column(stored) => format!("u.{}", quote_identifier(&stored.name)),
        Kept::Event(name) => format!("coalesce({})", of_event(origin, name)),
        Kept::Made(expression) => expression.clone(),
    }
}

/// A value that a row which was an event itself has, and that is looked up for one of a table.
fn of_either(origin: Origin<'_>, name: &str) -> String {
    let own = quote_identifier(name);
    format!("coalesce(u.{own}, {})", of_event(origin, name))
}

/// Looks a value up in the event itself: by its place, and where a rewrite of the partition has moved it,
/// by what is always true of it. Nothing of it is done where nobody asks for the column.
fn of_event(origin: Origin<'_>, name: &str) -> String {
    let table = origin.table();
    let name = quote_identifier(name);
    let key: Vec<_> = ["received_at", "delivery_id", "position"]
        .map(|key| format!("e.\"{key}\" = u.\"{key}\""))
        .into();
    let key = key.join(" AND ");
    format!(
        "(SELECT e.{name} FROM {table} AS e WHERE e.ctid = u.{PLACE} AND {key}), \
         (SELECT e.{name} FROM {table} AS e WHERE {key} LIMIT 1)"
    )
}
