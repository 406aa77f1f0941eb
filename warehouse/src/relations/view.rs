//! The SQL of a relation's view. Pure.
//!
//! It reads the source's bucket with the rights of its owner, as the view `events` does; for the same
//! reasons one that reads a shared bucket is a `security_barrier` and another is not.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use trunkline_model::names::{quote_identifier, quote_literal};
use trunkline_model::naming::Naming;

use super::decide::Decided;
use super::materialized::Part;
use super::relation::{Column, Relation, as_json};
use super::shown::{ShownColumn, columns, key_of, stored};
use super::subject::Subject;
use super::union;
use crate::claim::Held;
use crate::definition::options;
use crate::shared::SourceRows;

/// Whose relations they are, and where their rows are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The WebhookSource, as namespace/name.
    pub(crate) source: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) held: Held,
    pub(crate) naming: Naming,
}

/// A view as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Options: ` WITH …`, or nothing.
    pub(crate) options: &'static str,
    /// `SELECT …`.
    pub(crate) query: String,
    /// What is said of the whole (None) and of each column.
    pub(crate) comments: Vec<(Option<String>, String)>,
}

/// The columns of the bucket that relations are made of.
const STORED: [&str; 12] = [
    "source",
    "received_at",
    "delivery_id",
    "message_id",
    "event",
    "user_id",
    "anonymous_id",
    "timestamp",
    "original_timestamp",
    "sent_at",
    "auth_scope",
    "body_json",
];

/// What every view's comment ends with.
const WHICH_TIME: &str =
    "Filter on received_at with literal times (partitions are made by it), order by timestamp.";

impl Origin<'_> {
    /// Options of a view that reads the bucket.
    pub(super) const fn options(&self) -> &'static str {
        options(self.held.bucket.is_shared)
    }

    pub(super) fn table(&self) -> String {
        self.rows().table
    }

    /// Is true of the rows that relations show at all.
    pub(super) fn condition(&self) -> String {
        let shown = "NOT b.\"dup\"";
        match self.rows().condition {
            // The only table here with such a column.
            Some(own) => format!("{own} AND {shown}"),
            None => shown.to_owned(),
        }
    }

    /// Joins the names that the vendor gives to the events of the rows that are called `row`. The planner
    /// leaves it out where nobody asks for them.
    pub(super) fn short_names(&self, row: &str) -> String {
        format!(
            "LEFT JOIN trunkline.event_names AS n ON n.source_number = {} AND n.event = {row}.\"event\"",
            self.held.number
        )
    }

    fn rows(&self) -> SourceRows {
        SourceRows::new(self.source, self.held.bucket)
    }
}

/// The view of the relation `name`, which reads `part` of its rows from a materialised table.
pub(crate) fn view(
    origin: Origin<'_>,
    name: &str,
    relation: &Relation,
    decided: &Decided,
    part: Option<&Part>,
) -> View {
    let subject = relation.subject;
    let events: Vec<_> = decided.events_of(name).collect();
    let columns = columns(origin, name, relation, decided);
    let mut comments = vec![(None, comment(origin, subject, &events))];
    let said = columns
        .iter()
        .map(|it| (Some(it.name.clone()), it.doc.clone()));
    comments.extend(said);
    let stored = || stored(origin, name, relation, decided);
    let query = match (part, key_of(subject)) {
        (None, _) => events_alone(origin, subject, &events, &columns),
        (Some(part), None) => union::all_rows(origin, subject, &columns, &stored(), part),
        (Some(part), Some(key)) => union::latest(origin, subject, &columns, &stored(), &key, part),
    };
    View {
        options: origin.options(),
        query,
        comments,
    }
}

/// A query that reads nothing but the events.
fn events_alone(
    origin: Origin<'_>,
    subject: Subject,
    events: &[&str],
    columns: &[ShownColumn],
) -> String {
    let selected: Vec<_> = columns
        .iter()
        .map(|it| format!("{} AS {}", it.value, quote_identifier(&it.name)))
        .collect();
    format!(
        "SELECT\n  {}\nFROM {}",
        selected.join(",\n  "),
        rows(origin, subject, events)
    )
}

/// What follows FROM: the events, called `b`.
pub(super) fn rows(origin: Origin<'_>, subject: Subject, events: &[&str]) -> String {
    let (table, condition) = (origin.table(), origin.condition());
    let of_type = of_type(subject);
    if let Some(key) = subject.latest_of() {
        let columns: Vec<_> = STORED
            .iter()
            .map(|column| format!("b.{}", quote_identifier(column)))
            .collect();
        // All expressions on what remains, and not on what is sorted.
        return format!(
            "(\n  SELECT DISTINCT ON ({key}) {}\n  FROM {table} AS b\n  \
             WHERE {condition} AND {of_type} AND {key} IS NOT NULL\n  \
             ORDER BY {key}, coalesce(b.\"timestamp\", b.\"received_at\") DESC, \
             b.\"received_at\" DESC, b.\"message_id\" DESC NULLS LAST\n) AS b",
            columns.join(", ")
        );
    }
    match subject {
        Subject::Tracks => format!(
            "{table} AS b\n{}\nWHERE {condition} AND {of_type}",
            origin.short_names("b")
        ),
        Subject::Event => format!(
            "{table} AS b\nWHERE {condition} AND {of_type} AND {}",
            is_one_of(events)
        ),
        _ => format!("{table} AS b\nWHERE {condition} AND {of_type}"),
    }
}

/// Is true of the events `b` of that kind.
pub(super) fn of_type(subject: Subject) -> String {
    format!("b.\"type\" = {}", quote_literal(subject.event_type()))
}

/// Is true of the track events of these names.
pub(super) fn is_one_of(events: &[&str]) -> String {
    let names: Vec<_> = events.iter().map(|name| quote_literal(name)).collect();
    match &names[..] {
        [] => "false".to_owned(),
        [name] => format!("b.\"event\" = {name}"),
        names => format!("b.\"event\" IN ({})", names.join(", ")),
    }
}

/// What the column `event` of track events says, of the row that is called `row`.
pub(super) fn slug(subject: Subject, events: &[&str], decided: &Decided, row: &str) -> String {
    if subject != Subject::Event {
        return "n.\"slug\"".to_owned();
    }
    let slug_of = |name: &&str| decided.events.get(*name).map(|event| event.slug.as_str());
    let slugs: BTreeSet<_> = events.iter().filter_map(slug_of).collect();
    let mut slugs = slugs.into_iter();
    match (slugs.next(), slugs.next()) {
        (None, _) => "NULL::text".to_owned(),
        (Some(only), None) => format!("{}::text", quote_literal(only)),
        // `tracks` and `_tracks` are shown by one relation.
        (Some(_), Some(_)) => {
            let cases: Vec<_> = events
                .iter()
                .filter_map(|name| Some((name, slug_of(name)?)))
                .map(|(name, slug)| {
                    format!("WHEN {} THEN {}", quote_literal(name), quote_literal(slug))
                })
                .collect();
            format!("CASE {row}.\"event\" {} END", cases.join(" "))
        }
    }
}

pub(super) fn value(column: &Column) -> String {
    let values: Vec<_> = column
        .paths
        .iter()
        .map(|path| column.shown_type().value(path))
        .collect();
    match &values[..] {
        [value] => value.clone(),
        values => format!("coalesce({})", values.join(", ")),
    }
}

fn comment(origin: Origin<'_>, subject: Subject, events: &[&str]) -> String {
    let which = match subject {
        Subject::Event => format!(" ({})", as_json(events)),
        _ => String::new(),
    };
    format!(
        "{}{which} of WebhookSource {}. {WHICH_TIME}",
        subject.doc(),
        origin.source
    )
}

pub(super) fn column_comment(column: &Column) -> String {
    let paths: Vec<_> = column.paths.iter().map(|path| dotted(path)).collect();
    let paths = paths.join(", or else ");
    if column.shown_type().is_strict() {
        format!(
            "{paths} of the event. A value that is no {} is NULL here, in _raw, and a row of \
             discards.",
            column.shown_type().as_str()
        )
    } else {
        format!("{paths} of the event.")
    }
}

/// A path as people write it, where that is unambiguous.
fn dotted(path: &[String]) -> String {
    let is_plain = |key: &String| {
        !key.is_empty()
            && key
                .chars()
                .all(|it| it.is_alphanumeric() || "_- $".contains(it))
    };
    if path.iter().all(is_plain) {
        path.join(".")
    } else {
        as_json(path)
    }
}

impl View {
    /// Names the definition. PostgreSQL's own text of it differs from ours and between versions.
    pub(crate) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        let texts = self.comments.iter().flat_map(|(column, text)| {
            let column = column.as_deref().unwrap_or_default();
            [column, text.as_str()]
        });
        for text in [self.options, &self.query].into_iter().chain(texts) {
            digest.update(text);
            digest.update([0]);
        }
        hex::encode(&digest.finalize()[..16])
    }
}
