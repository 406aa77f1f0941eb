//! The SQL of a view that reads a materialised table for the times that are over, and events for the
//! rest. Pure.
//!
//! Invariant: it shows what the view of events alone shows. Each row comes from one of the two, by
//! `received_at` and literal times, which the planner prunes both sides by.

use trunkline_model::names::quote_identifier;

use super::materialized::Part;
use super::shown::{Kept, ShownColumn, Stored, StoredColumn};
use super::subject::Subject;
use super::view::{Origin, of_type, rows};

/// The column with an event's place in its partition. What has moved is found by its key.
pub(crate) const PLACE: &str = "place";

/// A query for all rows.
pub(super) fn all_rows(
    origin: Origin<'_>,
    subject: Subject,
    events: &[&str],
    columns: &[ShownColumn],
    part: &Part,
) -> String {
    let select = |value: &dyn Fn(&ShownColumn) -> String| {
        let selected: Vec<_> = columns
            .iter()
            .map(|it| format!("{} AS {}", value(it), quote_identifier(&it.name)))
            .collect();
        selected.join(",\n  ")
    };
    let names = match subject {
        Subject::Tracks => format!("\n{}", origin.short_names("t")),
        _ => String::new(),
    };
    format!(
        "SELECT\n  {}\nFROM trunkline_data.{} AS t{names}\nWHERE {}\nUNION ALL\n\
         SELECT\n  {}\nFROM {} AND {}",
        select(&|it| of_row(origin, it, "t")),
        part.table,
        part.covers("t.\"received_at\""),
        select(&|it| it.value.clone()),
        rows(origin, subject, events),
        part.leaves_out("b.\"received_at\"")
    )
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
    let (mut of_table, mut of_events, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
    for column in &stored.columns {
        let name = quote_identifier(&column.name);
        of_table.push(format!("t.{name}"));
        of_events.push(format!("{} AS {name}", column.value));
        chosen.push(format!("u.{name}"));
    }
    of_table.push(format!("t.{PLACE}"));
    of_events.push(format!("b.ctid AS {PLACE}"));
    chosen.push(format!("u.{PLACE}"));
    let selected: Vec<_> = columns
        .iter()
        .map(|it| {
            let name = quote_identifier(&it.name);
            format!("{} AS {name}", of_row(origin, it, "u"))
        })
        .collect();
    let key_name = quote_identifier(&key.name);
    format!(
        "SELECT\n  {}\nFROM (\n  SELECT DISTINCT ON (u.{key_name}) {}\n  FROM (\n    \
         SELECT {}\n    FROM trunkline_data.{} AS t\n    \
         WHERE {} AND t.{key_name} IS NOT NULL\n    UNION ALL\n    \
         SELECT {}\n    FROM {} AS b\n    WHERE {} AND {} AND {} IS NOT NULL AND {}\n  ) AS u\n  \
         ORDER BY u.{key_name}, coalesce(u.\"timestamp\", u.\"received_at\") DESC, \
         u.\"received_at\" DESC, u.\"message_id\" DESC NULLS LAST\n) AS u",
        selected.join(",\n  "),
        chosen.join(", "),
        of_table.join(", "),
        part.table,
        part.covers("t.\"received_at\""),
        of_events.join(", "),
        origin.table(),
        origin.condition(),
        of_type(subject),
        key.value,
        part.leaves_out("b.\"received_at\"")
    )
}

/// The value of a materialised row, which is called `row`.
fn of_row(origin: Origin<'_>, column: &ShownColumn, row: &str) -> String {
    match &column.kept {
        Kept::Column(stored) => format!("{row}.{}", quote_identifier(&stored.name)),
        Kept::Event(name) => of_event(origin, name, row),
        Kept::Made(expression) => expression.clone(),
    }
}

/// Looks a value up in the event itself: by its place, and where a rewrite of the partition has moved it,
/// by what is always true of it. Nothing of it is done where nobody asks for the column.
fn of_event(origin: Origin<'_>, name: &str, row: &str) -> String {
    let table = origin.table();
    let name = quote_identifier(name);
    let key: Vec<_> = ["received_at", "delivery_id", "position"]
        .map(|key| format!("e.\"{key}\" = {row}.\"{key}\""))
        .into();
    let key = key.join(" AND ");
    format!(
        "coalesce((SELECT e.{name} FROM {table} AS e WHERE e.ctid = {row}.{PLACE} AND {key}), \
         (SELECT e.{name} FROM {table} AS e WHERE {key} LIMIT 1))"
    )
}
