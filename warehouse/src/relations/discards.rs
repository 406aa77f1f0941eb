//! The view `discards`: values that did not fit the type of their column. Pure.
//!
//! It looks at the columns of which such a value may have been seen, and at all of times, since the
//! server knows some that ingesters take for none and the other way round.

use trunkline_model::names::quote_literal;

use super::casts::{ColumnType, text_value};
use super::decide::Decided;
use super::relation::{Column, Relation};
use super::subject::Subject;
use super::view::{Origin, View, is_one_of};

/// Its name.
pub(crate) const DISCARDS: &str = "discards";

/// Paths that it looks at, at most. Each is evaluated for every event of its relation.
const MAX_PATHS: usize = 1_000;

/// Its columns, with what is said of each.
const COLUMNS: [(&str, &str); 5] = [
    ("row_id", "id of the row in the relation."),
    ("relation", "The relation."),
    ("column_name", "The column, which is NULL in that row."),
    ("column_value", "What was sent, as text."),
    (
        "received_at",
        "When the database took the event. Filter on it.",
    ),
];

/// The view of a source's discards.
pub(crate) fn discards(origin: Origin<'_>, decided: &Decided) -> View {
    let mut room = MAX_PATHS;
    let relations: Vec<_> = decided
        .relations
        .iter()
        .filter_map(|(name, relation)| of_relation(name, relation, decided, &mut room))
        .collect();
    let query = if relations.is_empty() {
        let columns: Vec<_> = COLUMNS
            .iter()
            .map(|(name, _)| {
                let sql_type = if *name == "received_at" {
                    "timestamptz"
                } else {
                    "text"
                };
                format!("NULL::{sql_type} AS \"{name}\"")
            })
            .collect();
        format!("SELECT\n  {}\nWHERE false", columns.join(",\n  "))
    } else {
        // One look at each event, for whatever relation shows it.
        format!(
            "SELECT\n  b.\"message_id\" AS \"row_id\",\n  v.\"relation\",\n  v.\"column_name\",\n  \
             v.\"column_value\",\n  b.\"received_at\"\nFROM {} AS b\nCROSS JOIN LATERAL (\n  {}\n) AS v \
             (\"relation\", \"column_name\", \"column_value\", \"fits\")\n\
             WHERE {} AND v.\"column_value\" IS NOT NULL AND NOT v.\"fits\"",
            origin.table(),
            relations.join("\n  UNION ALL\n  "),
            origin.condition()
        )
    };
    let mut comments = vec![(
        None,
        format!(
            "Values that WebhookSource {} received and that do not fit the type of their column, \
             one row each. The whole event is in _raw of the relation.",
            origin.source
        ),
    )];
    comments.extend(COLUMNS.map(|(name, text)| (Some(name.to_owned()), text.to_owned())));
    View {
        options: origin.options(),
        query,
        comments,
    }
}

/// What an event of this relation has for its columns; None where there is nothing to look at.
fn of_relation(
    name: &str,
    relation: &Relation,
    decided: &Decided,
    room: &mut usize,
) -> Option<String> {
    let mut rows = Vec::new();
    for column in relation
        .columns
        .iter()
        .filter(|it| is_looked_at(relation, it))
    {
        for path in &column.paths {
            if *room == 0 {
                break;
            }
            *room -= 1;
            rows.push(format!(
                "({}::text, {}::text, {}, {} IS NOT NULL)",
                quote_literal(name),
                quote_literal(column.shown_name()),
                text_value(path),
                column.shown_type().value(path)
            ));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let mut condition = format!(
        "b.\"type\" = {}",
        quote_literal(relation.subject.event_type())
    );
    if relation.subject == Subject::Event {
        let events: Vec<_> = decided.events_of(name).collect();
        condition = format!("{condition} AND {}", is_one_of(&events));
    }
    Some(format!(
        "SELECT * FROM (VALUES\n    {}\n  ) AS c WHERE {condition}",
        rows.join(",\n    ")
    ))
}

fn is_looked_at(relation: &Relation, column: &Column) -> bool {
    let is_shown_elsewhere = match relation.subject {
        // The same events as identifies and groups.
        Subject::Users | Subject::Accounts => true,
        // `tracks` has it for all events.
        Subject::Event => column.is_of_context(),
        _ => false,
    };
    // What does not fit a type that no value decided is not noted.
    let may_not_fit = column.has_misfits
        || column.other_type.is_some()
        || column.sql_type == ColumnType::Timestamptz;
    column.shown_type().is_strict() && may_not_fit && !is_shown_elsewhere
}
