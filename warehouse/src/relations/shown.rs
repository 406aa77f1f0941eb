//! The columns of a relation, in their order: what each says of an event, and where a materialised row
//! has it. Pure.
//!
//! Invariant: a column of a materialised table is named by the expression that its values were made by.
//! So one name always has one meaning, whatever a relation's column is called or was, and a column whose
//! type or paths change is another one there.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use trunkline_model::columns::COLUMNS;

use super::decide::Decided;
use super::relation::{Column, Relation};
use super::subject::Subject;
use super::view::{Origin, column_comment, is_one_of, slug, value};

/// How much of a key is in the name of a column that was made of it; a hash follows.
const KEY_BYTES: usize = 40;

/// Digits of such a hash.
const HASH_DIGITS: usize = 12;

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownColumn {
    pub(super) name: String,
    /// Its value, of the event `b`.
    pub(super) value: String,
    pub(super) kept: Kept,
    /// One sentence for readers.
    pub(super) doc: String,
}

/// Where a materialised row has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// In a column of its table.
    Column(StoredColumn),
    /// In that column of the event itself, which is looked up: it is large, or the same in most rows.
    Event(&'static str),
    /// In nothing that is stored: an expression of the row that is called `u`.
    Made(String),
}

/// A column of a materialised table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    pub(crate) name: String,
    pub(crate) sql_type: &'static str,
    /// Its value, of the event `b`.
    pub(crate) value: String,
    /// Where that is in an event: an event without these keys has NULL here. None where every event may
    /// have a value.
    pub(crate) paths: Vec<Vec<String>>,
}

/// The columns of the relation `name`.
pub(super) fn columns(
    origin: Origin<'_>,
    name: &str,
    relation: &Relation,
    decided: &Decided,
) -> Vec<ShownColumn> {
    let subject = relation.subject;
    let events: Vec<_> = decided.events_of(name).collect();
    let slug_of = |row: &str| slug(subject, &events, decided, row);
    let fixed = subject.fixed_columns(origin.naming, &slug_of("b"));
    let fixed = fixed.into_iter().map(|fixed| ShownColumn {
        name: fixed.name.to_owned(),
        kept: if fixed.name == "event" {
            Kept::Made(slug_of("u"))
        } else {
            of_fixed(fixed.name, &fixed.value)
        },
        value: fixed.value,
        doc: fixed.doc.to_owned(),
    });
    let made = relation.columns.iter().map(|column| ShownColumn {
        name: column.shown_name().to_owned(),
        value: value(column),
        kept: Kept::Column(of_column(column)),
        doc: column_comment(column),
    });
    fixed.chain(made).collect()
}

/// Where a value is that every event may have.
fn of_fixed(name: &str, value: &str) -> Kept {
    match own_name(value) {
        Some("body_json") => Kept::Event("body_json"),
        Some("source") => Kept::Event("source"),
        _ => Kept::Column(of_value(name, value)),
    }
}

/// The column that holds a value which every event may have.
fn of_value(name: &str, value: &str) -> StoredColumn {
    let own = own_name(value).and_then(|own| COLUMNS.iter().find(|spec| spec.name == own));
    let (name, sql_type) = match own {
        Some(spec) => (spec.name.to_owned(), spec.sql_type),
        None => (stored_name(name, value), "text"),
    };
    StoredColumn {
        name,
        sql_type,
        value: value.to_owned(),
        paths: Vec::new(),
    }
}

/// The column of the event `b` that an expression is nothing but.
fn own_name(value: &str) -> Option<&str> {
    value.strip_prefix("b.\"")?.strip_suffix('"')
}

fn of_column(column: &Column) -> StoredColumn {
    let value = value(column);
    let key = column.paths.first().and_then(|path| path.last());
    StoredColumn {
        name: stored_name(key.map_or("", String::as_str), &value),
        sql_type: column.shown_type().as_str(),
        value,
        paths: column.paths.clone(),
    }
}

/// The name of the column whose values are made by an expression, with a word for people before it.
fn stored_name(word: &str, value: &str) -> String {
    let plain = |byte: u8| match byte.to_ascii_lowercase() {
        byte if byte.is_ascii_alphanumeric() => char::from(byte),
        _ => '_',
    };
    let word: String = word.bytes().take(KEY_BYTES).map(plain).collect();
    format!("{word}_{}", hash(value))
}

fn hash(text: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(text.as_bytes()));
    digits.truncate(HASH_DIGITS);
    digits
}

/// What a materialised table holds for one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The relation whose rows the table has: `users` reads that of `identifies`.
    pub(crate) relation: String,
    /// Each once.
    pub(crate) columns: Vec<StoredColumn>,
    /// What is true of the events `b` that it has rows of.
    pub(crate) condition: String,
    /// The `type` of these events.
    pub(crate) event_type: &'static str,
    /// Their names; None where these do not matter.
    pub(crate) events: Option<Vec<String>>,
}

/// What is held for the relation `name`.
pub(crate) fn stored(
    origin: Origin<'_>,
    name: &str,
    relation: &Relation,
    decided: &Decided,
) -> Stored {
    let subject = relation.subject;
    let of_row = match subject {
        Subject::Users => "identifies",
        Subject::Accounts => "groups",
        _ => name,
    };
    let mut seen = BTreeSet::new();
    let shown = columns(origin, name, relation, decided).into_iter();
    let of_relation = shown.filter_map(|column| match column.kept {
        Kept::Column(stored) => Some(stored),
        Kept::Event(_) | Kept::Made(_) => None,
    });
    let columns = of_keys(subject)
        .into_iter()
        .chain(of_relation)
        .filter(|column| seen.insert(column.name.clone()))
        .collect();
    let events: Option<Vec<_>> =
        (subject == Subject::Event).then(|| decided.events_of(name).map(str::to_owned).collect());
    let mut condition = origin.condition();
    condition.push_str(&format!(" AND {}", super::view::of_type(subject)));
    if let Some(events) = &events {
        let events: Vec<_> = events.iter().map(String::as_str).collect();
        condition.push_str(&format!(" AND {}", is_one_of(&events)));
    }
    Stored {
        relation: of_row.to_owned(),
        columns,
        condition,
        event_type: subject.event_type(),
        events,
    }
}

/// The columns that name an event, and those by which the latest is chosen.
fn of_keys(subject: Subject) -> Vec<StoredColumn> {
    let mut names = vec!["received_at", "delivery_id", "position"];
    if subject.latest_of().is_some() || subject == Subject::Identifies || subject == Subject::Groups
    {
        names.extend(["timestamp", "message_id", "user_id"]);
    }
    if subject == Subject::Event || subject == Subject::Tracks {
        names.push("event");
    }
    let columns = names.into_iter();
    let columns = columns.map(|name| of_value(name, &format!("b.\"{name}\"")));
    columns.chain(key_of(subject)).collect()
}

/// What there is one row of.
pub(super) fn key_of(subject: Subject) -> Option<StoredColumn> {
    Some(of_value("id", &subject.latest_of()?))
}

impl Stored {
    /// Names the rows that it has.
    pub(crate) fn rows(&self) -> String {
        hash(&self.condition)
    }

    /// Names everything that the relation reads of it.
    pub(crate) fn definition(&self) -> String {
        let names: BTreeSet<_> = self.columns.iter().map(|it| it.name.as_str()).collect();
        let names: Vec<_> = names.into_iter().collect();
        hash(&format!("{}\n{}", self.condition, names.join("\n")))
    }
}
