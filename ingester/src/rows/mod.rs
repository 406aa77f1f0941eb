//! Rows as PostgreSQL's `COPY … (FORMAT binary)` takes them.
//!
//! Pure: a delivery's fields and its elements in, bytes out. The columns and their order are those
//! of [`trunkline_model::columns::copied`].
//!
//! Invariants: every tuple has one field for each copied column. The bytes between two row ends
//! are one whole tuple, so rows can be sent in any grouping.

mod encode;
mod keys;
mod marks;
mod quarantine;
#[cfg(test)]
pub(crate) mod testing;
mod tuple;

use std::ops::Range;

use trunkline_model::columns::{self, ColumnSpec};
use trunkline_model::names::quote_identifier;

pub use encode::{DeliveryFields, Row, RowBody, RowEncoder};
pub use keys::Keys;
pub(crate) use marks::{Mark, Message, marked, marking_copy_statement};
pub use quarantine::quarantine;

/// The rows of one delivery, encoded, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    /// Where each row ends in `bytes`.
    ends: Vec<usize>,
    source: SourceKey,
    keys: Keys,
}

/// Names a source within this process: a hash of its name. Its bucket would not do, since other
/// sources may share it.
pub type SourceKey = u64;

impl EncodedRows {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whose rows they are.
    #[must_use]
    pub fn source(&self) -> SourceKey {
        self.source
    }

    /// What of them is stored only once.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether something of them is stored only once.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.iter().next().is_some()
    }

    /// Every row, one tuple after another.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tuples of some rows. Rows past the end count as nothing.
    #[must_use]
    pub fn range(&self, rows: Range<usize>) -> &[u8] {
        let end_of = |row: usize| self.ends.get(row).copied().unwrap_or(self.bytes.len());
        let start = rows.start.checked_sub(1).map_or(0, end_of);
        let end = rows.end.checked_sub(1).map_or(0, end_of);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The tuples, one for each row.
    pub(crate) fn tuples(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.range(row..row + 1))
    }

    /// Appends one whole tuple.
    fn push(&mut self, tuple: &[u8]) {
        self.bytes.extend_from_slice(tuple);
        self.ends.push(self.bytes.len());
    }

    /// The same rows with some of them replaced by their quarantined form.
    #[must_use]
    pub fn with_quarantined(&self, is_bad: impl Fn(usize) -> bool) -> Self {
        let mut rows = Self {
            source: self.source,
            keys: self.keys.clone(),
            ..Self::default()
        };
        for (index, tuple) in self.tuples().enumerate() {
            if is_bad(index) {
                rows.push(&quarantine(tuple));
            } else {
                rows.push(tuple);
            }
        }
        rows
    }
}

/// The COPY that takes [`EncodedRows`]. It names its columns, so that a table which a newer
/// version has extended still takes it.
#[must_use]
pub fn copy_statement() -> String {
    copy_into(columns::copied())
}

fn copy_into(columns: impl Iterator<Item = &'static ColumnSpec>) -> String {
    let columns: Vec<_> = columns.map(|spec| quote_identifier(spec.name)).collect();
    format!(
        "COPY trunkline.events ({}) FROM STDIN (FORMAT binary)",
        columns.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_rows() -> EncodedRows {
        let mut rows = EncodedRows::default();
        for tuple in [b"one".as_slice(), b"three", b"x"] {
            rows.push(tuple);
        }
        rows
    }

    #[test]
    fn a_range_holds_whole_rows() {
        let rows = three_rows();
        assert_eq!(rows.range(0..1), b"one");
        assert_eq!(rows.range(1..3), b"threex");
        assert_eq!(rows.range(0..3), rows.bytes());
        assert_eq!(rows.range(1..1), b"");
        assert_eq!(rows.range(2..9), b"x");
    }

    #[test]
    fn copy_names_every_column_and_quotes_it() {
        assert_eq!(
            copy_statement(),
            "COPY trunkline.events (\"bucket\", \"source\", \"delivery_id\", \"position\", \
             \"message_id\", \"type\", \"event\", \"user_id\", \"anonymous_id\", \"timestamp\", \
             \"original_timestamp\", \"sent_at\", \"auth_scope\", \"headers\", \"header_values\", \
             \"body_json\", \"body_text\", \"raw\") FROM STDIN (FORMAT binary)"
        );
    }
}
