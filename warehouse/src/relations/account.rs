//! What the catalog is told of a relation that is made or changed: its columns, its events, what changed.
//! Pure.

use trunkline_model::names::quote_literal;

use super::casts::ColumnType;
use super::decide::Decided;
use super::known::Known;
use super::layout_name;
use super::relation::{Column, as_json};
use super::view::Origin;

/// Writes down the names of events that the relation shows from now on.
pub(super) fn record_events(
    origin: Origin<'_>,
    relation: &str,
    known: &Known,
    decided: &Decided,
) -> Option<String> {
    let new = decided
        .events_of(relation)
        .filter(|name| known.decided.events.get(*name) != decided.events.get(*name));
    insert_events(origin.held.number, decided, new)
}

/// Writes down names of events; None without any. A name that has a relation keeps it.
pub(super) fn insert_events<'a>(
    number: i32,
    decided: &Decided,
    names: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let rows: Vec<_> = names
        .filter_map(|name| Some((name, decided.events.get(name)?)))
        .map(|(name, event)| {
            let relation = event.relation.as_deref();
            format!(
                "({number}, {}, {}, {})",
                quote_literal(name),
                quote_literal(&event.slug),
                relation.map_or_else(|| "NULL".to_owned(), quote_literal)
            )
        })
        .collect();
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO trunkline.event_names AS n (source_number, event, slug, relation) VALUES {} \
             ON CONFLICT (source_number, event) DO UPDATE SET relation = excluded.relation \
             WHERE n.relation IS NULL AND excluded.relation IS NOT NULL",
            rows.join(", ")
        )
    })
}

/// Writes down columns that are new, or of which something else is known.
pub(super) fn record_columns(
    origin: Origin<'_>,
    relation: &str,
    before: &[Column],
    after: &[Column],
) -> Option<String> {
    let rows: Vec<_> = after
        .iter()
        .zip(1..)
        .filter(|(column, position)| before.get(position - 1) != Some(*column))
        .map(|(column, position)| {
            let paths: Vec<_> = column
                .paths
                .iter()
                .map(|path| quote_literal(&as_json(path)))
                .collect();
            format!(
                "({}, {}, {position}, {}, '{}', ARRAY[{}], {}, {}, {})",
                origin.held.number,
                quote_literal(relation),
                quote_literal(&column.name),
                column.sql_type.as_str(),
                paths.join(", "),
                column.has_misfits,
                or_null(column.other_name.as_deref()),
                or_null(column.other_type.map(ColumnType::as_str))
            )
        })
        .collect();
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO trunkline.relation_columns (source_number, relation, position, \"column\", \
             sql_type, paths, has_misfits, other_name, other_type) VALUES\n  {}\n\
             ON CONFLICT (source_number, relation, \"column\") \
             DO UPDATE SET paths = excluded.paths, has_misfits = excluded.has_misfits, \
             other_name = excluded.other_name, other_type = excluded.other_type",
            rows.join(",\n  ")
        )
    })
}

/// Tells of columns that have another name or another type now, as the source's owner wanted.
pub(super) fn record_reshaped(
    origin: Origin<'_>,
    relation: &str,
    before: &[Column],
    after: &[Column],
) -> Option<String> {
    let mut rows = Vec::new();
    for (before, after) in before.iter().zip(after) {
        let mut tell = |change: &str, detail: String| {
            rows.push(format!(
                "({}, {}, {}, '{change}', {})",
                quote_literal(origin.source),
                quote_literal(relation),
                quote_literal(after.shown_name()),
                quote_literal(&detail)
            ));
        };
        if before.shown_name() != after.shown_name() {
            tell("renamed", format!("was {}", before.shown_name()));
        }
        let (was, is) = (before.shown_type(), after.shown_type());
        if was != is {
            tell("retyped", format!("{}, was {}", is.as_str(), was.as_str()));
        }
    }
    insert_changes(&rows)
}

/// Tells of a relation and of columns that are new.
pub(super) fn record_added(
    origin: Origin<'_>,
    relation: &str,
    is_new: bool,
    columns: &[Column],
) -> Option<String> {
    let source = quote_literal(origin.source);
    let name = quote_literal(relation);
    let layout = quote_literal(layout_name(origin.naming));
    let mut rows = Vec::new();
    if is_new {
        rows.push(format!("({source}, {name}, NULL, 'added', {layout})"));
    }
    rows.extend(columns.iter().map(|column| {
        let paths: Vec<_> = column.paths.iter().map(|path| as_json(path)).collect();
        let detail = format!("{} of {}", column.shown_type().as_str(), paths.join(", "));
        format!(
            "({source}, {name}, {}, 'added', {})",
            quote_literal(column.shown_name()),
            quote_literal(&detail)
        )
    }));
    insert_changes(&rows)
}

fn insert_changes(rows: &[String]) -> Option<String> {
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO trunkline.schema_changes (source, relation, \"column\", change, detail) \
             VALUES\n  {}",
            rows.join(",\n  ")
        )
    })
}

fn or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), quote_literal)
}
