//! Names of the analysts' relations and columns: those that the warehouse of Segment or RudderStack
//! would have, so that queries and models made for it go on working.
//!
//! A name is a function of what was sent and of nothing else. So there is no registry, the order in
//! which events arrive decides nothing, and a database that is made anew has the same names.
//!
//! Invariant: two events share a relation, or two paths a column, where the vendor's own rule makes
//! them one (`Order Completed` and `orderCompleted`), and nowhere else. What that rule loses or
//! PostgreSQL would cut is told apart by a hash.

use sha2::{Digest, Sha256};

use crate::names::MAX_IDENTIFIER_BYTES;

mod reserved;
mod rudderstack;
mod segment;
#[cfg(test)]
mod tests;

pub use reserved::{BUILT_IN_RELATIONS, Call};

/// Bytes of the hash that tells names apart, shown as twice as many hexadecimal digits.
const HASH_BYTES: usize = 4;

/// Which vendor's rules make the names of relations and columns.
///
/// Relations and columns have 1 to 63 bytes, all of them lower-case letters of ASCII, digits and `_`.
/// They need no quotes in SQL, except where the vendor's rule says otherwise: Segment leaves digits
/// at the beginning (`2fa_enabled`), RudderStack some words that PostgreSQL reserves (`window`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Naming {
    /// Segment's: <https://www.twilio.com/docs/segment/connections/storage/warehouses/schema>.
    Segment,
    /// RudderStack's for PostgreSQL: `src/warehouse` of rudder-transformer. Digits are words of their
    /// own (`button_clicked_v_2`), as for its destinations that have `underscoreDivideNumbers`, which
    /// are those from before September 2024.
    Rudderstack,
}

/// What a column's name begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// Nothing: properties and traits.
    None,
    /// `context_`: the fields of `context`.
    Context,
}

impl Prefix {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Context => "context_",
        }
    }
}

impl Naming {
    /// The relation of a track event's name.
    ///
    /// An event that is called like one of [`BUILT_IN_RELATIONS`] or like a reserved word gets `_`
    /// before its name. One without a letter or digit of ASCII, of which both vendors would leave
    /// nothing, is `event_` and a hash; one that is longer than 63 bytes is cut for a hash at its
    /// end, where RudderStack only cuts. The hash is the beginning of the SHA-256 of the event's
    /// name in UTF-8.
    #[must_use]
    pub fn relation(self, event: &str) -> String {
        if !has_alphanumeric(event) {
            return with_hash("event", event);
        }
        let name = self.snake_case(event);
        if name.len() > MAX_IDENTIFIER_BYTES {
            return with_hash(&name, event);
        }
        if self.is_reserved_word(&name) || BUILT_IN_RELATIONS.contains(&name.as_str()) {
            return format!("_{name}");
        }
        name
    }

    /// What the column `event` of a track event says: the vendor's name for it as it is, however
    /// long and also when a relation could not be called so. Like [`Naming::relation`] where the
    /// vendor would leave nothing.
    #[must_use]
    pub fn slug(self, event: &str) -> String {
        if has_alphanumeric(event) {
            self.snake_case(event)
        } else {
            self.relation(event)
        }
    }

    /// The column of a property, trait or (with [`Prefix::Context`]) context field, in whichever
    /// relation. `path` has the keys from the outside in: one, or several for a nested object.
    ///
    /// None where the name is that of a column which every relation has: discarded, as RudderStack
    /// does, and as Segment's page on the schema of all warehouses says. (Its page on Redshift would
    /// put `_` before it.) Nothing is lost, `_raw` has the event. None also for the empty path.
    /// [`Naming::column_of`] knows the columns of the one relation as well.
    ///
    /// Paths that the vendor's rule makes one share a column (`firstName`, `first_name`), and so do
    /// a property `context_ip` and the field `ip` of the context. A key without a letter or digit of
    /// ASCII is told apart by a hash, as is a name of more than 63 bytes: that of the path as a JSON
    /// array.
    #[must_use]
    pub fn column(self, prefix: Prefix, path: &[&str]) -> Option<String> {
        if path.is_empty() {
            return None;
        }
        let full = format!("{}{}", prefix.as_str(), path.join("_"));
        let name = self.snake_case(&full);
        if !path.iter().all(|key| has_alphanumeric(key)) {
            let stem = if has_alphanumeric(&full) {
                &name
            } else {
                "column"
            };
            return Some(with_hash(stem, &as_json(path)));
        }
        if name.len() > MAX_IDENTIFIER_BYTES {
            return Some(with_hash(&name, &as_json(path)));
        }
        if self.is_reserved_word(&name) || reserved::COLUMN_WORDS.contains(&name.as_str()) {
            return Some(format!("_{name}"));
        }
        let is_fixed = self.common_columns().any(|fixed| fixed == name);
        (!is_fixed).then_some(name)
    }

    /// [`Naming::column`] in the relations of one kind of call: None also for the columns that these
    /// have besides, such as `event` of track events and `name` of pages.
    #[must_use]
    pub fn column_of(self, call: Call, prefix: Prefix, path: &[&str]) -> Option<String> {
        self.column(prefix, path)
            .filter(|name| !call.own_columns(self).contains(&name.as_str()))
    }

    /// The columns that the relations of a call have whatever was sent in it. None of them is ever
    /// the result of [`Naming::column_of`].
    pub fn fixed_columns(self, call: Call) -> impl Iterator<Item = &'static str> {
        self.common_columns()
            .chain(call.own_columns(self).iter().copied())
    }

    fn common_columns(self) -> impl Iterator<Item = &'static str> {
        let vendor = match self {
            Self::Segment => &[][..],
            Self::Rudderstack => reserved::RUDDERSTACK_COLUMNS,
        };
        reserved::COMMON_COLUMNS.iter().chain(vendor).copied()
    }

    fn snake_case(self, text: &str) -> String {
        match self {
            Self::Segment => segment::snake_case(text),
            Self::Rudderstack => rudderstack::snake_case(text),
        }
    }

    fn is_reserved_word(self, name: &str) -> bool {
        let words: &[&str] = match self {
            Self::Segment => &reserved::POSTGRESQL_WORDS,
            Self::Rudderstack => &reserved::RUDDERSTACK_WORDS,
        };
        words.binary_search(&name).is_ok()
    }
}

/// Whether the vendors' rules leave anything of `text`.
fn has_alphanumeric(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// The runs of ASCII letters and digits of `text`: to both vendors all else only separates words.
fn alphanumeric_runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|run| !run.is_empty())
}

/// `stem`, as much of it as leaves room, and a hash of what was sent. The rules of both vendors leave
/// ASCII alone, so that a character of `stem` is a byte.
fn with_hash(stem: &str, sent: &str) -> String {
    let hash = hex::encode(&Sha256::digest(sent)[..HASH_BYTES]);
    let room = MAX_IDENTIFIER_BYTES - hash.len() - 1;
    let stem: String = stem.chars().take(room).collect();
    format!("{stem}_{hash}")
}

/// A path as one text, different for different paths whatever is in their keys.
fn as_json(path: &[&str]) -> String {
    serde_json::Value::from(path).to_string()
}
