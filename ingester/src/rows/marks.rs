//! Rows with what is known of repeats: the same tuples with two fields more.
//!
//! Invariant: the tuples themselves are not copied. What is put between them is the end of one and the
//! beginning of the next, so that a commit with marks needs no memory of its own size.

use trunkline_model::columns::{self, COLUMNS, Column, ColumnSpec};
use trunkline_model::repeats::MAX_MESSAGE_ID_BYTES;

use super::{copy_into, tuple};

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is the first of its message, as far as the database knows.
    First,
    /// It repeats a row that is there, or one before it.
    Repeat,
    /// Nobody could say; the owner settles it.
    Unsettled,
}

/// The columns that a COPY with marks has beside the others, in this order.
const MARKS: [Column; 2] = [Column::Dup, Column::Unsettled];

/// Length of the count of fields that a tuple begins with.
const COUNT_BYTES: usize = 2;

/// The COPY that takes what [`marked`] gives.
pub(crate) fn marking_copy_statement() -> String {
    copy_into(columns::copied().chain(marks()))
}

fn marks() -> impl Iterator<Item = &'static ColumnSpec> {
    MARKS
        .iter()
        .filter_map(|mark| COLUMNS.iter().find(|spec| spec.column == *mark))
}

/// The bytes of rows with their marks, to be sent one after another.
pub(crate) fn marked<'a>(rows: impl IntoIterator<Item = (&'a [u8], Mark)>) -> Vec<&'a [u8]> {
    let mut out = Vec::new();
    let mut before = None;
    for (row, mark) in rows {
        out.push(seam(before.replace(mark)));
        out.push(row.get(COUNT_BYTES..).unwrap_or_default());
    }
    out.extend(before.map(end));
    out
}

/// The fields that end a tuple: a length and a byte for each mark.
const fn fields(mark: Mark) -> [u8; 10] {
    let dup = matches!(mark, Mark::Repeat) as u8;
    let unsettled = matches!(mark, Mark::Unsettled) as u8;
    [0, 0, 0, 1, dup, 0, 0, 0, 1, unsettled]
}

/// The end of a tuple.
fn end(mark: Mark) -> &'static [u8] {
    static ENDS: [[u8; 10]; 3] = [
        fields(Mark::First),
        fields(Mark::Repeat),
        fields(Mark::Unsettled),
    ];
    &ENDS[mark as usize]
}

/// What stands before a tuple's fields: the end of the tuple before, and the count.
fn seam(before: Option<Mark>) -> &'static [u8] {
    static SEAMS: [[u8; 12]; 3] = [
        with_count(Mark::First),
        with_count(Mark::Repeat),
        with_count(Mark::Unsettled),
    ];
    match before {
        Some(mark) => &SEAMS[mark as usize],
        None => &SEAMS[0][10..],
    }
}

const fn with_count(before: Mark) -> [u8; 12] {
    let [a, b, c, d, dup, e, f, g, h, unsettled] = fields(before);
    let [high, low] = field_count().to_be_bytes();
    [a, b, c, d, dup, e, f, g, h, unsettled, high, low]
}

const fn field_count() -> u16 {
    let (mut index, mut count) = (0, MARKS.len());
    while index < COLUMNS.len() {
        if COLUMNS[index].copied {
            count += 1;
        }
        index += 1;
    }
    // A few dozen.
    #[allow(clippy::cast_possible_truncation)]
    let count = count as u16;
    count
}

/// What rows are told apart by. In the order that every commit with marks writes in, so that two of
/// them never wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message<'a> {
    pub(crate) bucket: i32,
    /// As namespace/name, UTF-8.
    pub(crate) source: &'a str,
    pub(crate) id: &'a str,
}

impl<'a> Message<'a> {
    /// That of a tuple; none of a row without an id, or with one that no index holds.
    pub(crate) fn of(row: &'a [u8]) -> Option<Self> {
        let (mut bucket, mut source, mut id) = (None, None, None);
        for (spec, field) in tuple::fields(row) {
            match spec.column {
                Column::Bucket => bucket = field,
                Column::Source => source = field,
                Column::MessageId => {
                    id = field;
                    // It comes after the others, and most of the row after it.
                    break;
                }
                _ => {}
            }
        }
        let id = id.filter(|id| id.len() <= MAX_MESSAGE_ID_BYTES)?;
        Some(Self {
            bucket: i32::from_be_bytes(bucket?.try_into().ok()?),
            source: std::str::from_utf8(source?).ok()?,
            id: std::str::from_utf8(id).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::verification::AuthScope;

    use super::*;
    use crate::rows::testing::{self, DELIVERY};
    use crate::rows::{EncodedRows, copy_statement};

    fn encode(body: &str) -> EncodedRows {
        testing::encode(DELIVERY, body, AuthScope::None)
    }

    #[test]
    fn a_marked_row_is_the_row_with_two_fields_more() {
        let rows = encode(r#"[{"messageId":"a"},{"messageId":"b"},3]"#);
        let marks = [Mark::Repeat, Mark::First, Mark::Unsettled];
        let sent = marked(rows.tuples().zip(marks)).concat();
        let count = u16::try_from(columns::copied().count() + 2).unwrap();
        let mut expected = Vec::new();
        for (row, (dup, unsettled)) in rows.tuples().zip([(1, 0), (0, 0), (0, 1)]) {
            expected.extend_from_slice(&count.to_be_bytes());
            expected.extend_from_slice(&row[2..]);
            for mark in [dup, unsettled] {
                expected.extend_from_slice(&1_i32.to_be_bytes());
                expected.push(mark);
            }
        }
        assert_eq!(sent, expected);
        assert!(marked([]).is_empty());
    }

    #[test]
    fn the_statement_names_the_marks_last() {
        let plain = copy_statement();
        let marking = marking_copy_statement();
        assert_eq!(
            marking,
            plain.replace(") FROM", ", \"dup\", \"unsettled\") FROM")
        );
    }

    #[test]
    fn a_message_is_read_from_its_tuple() {
        let long = "x".repeat(MAX_MESSAGE_ID_BYTES + 1);
        let rows = encode(&format!(
            r#"[{{"messageId":"é1"}},{{"a":1}},{{"messageId":"{long}"}},{{"messageId":"{}"}}]"#,
            &long[1..]
        ));
        let ids: Vec<_> = rows
            .tuples()
            .map(|row| Message::of(row).map(|message| message.id))
            .collect();
        assert_eq!(ids, [Some("é1"), None, None, Some(&long[1..])]);
        let first = rows.tuples().next().and_then(Message::of).unwrap();
        assert_eq!((first.bucket, first.source), (7, "default/segment"));
        assert_eq!(Message::of(b"short"), None);
    }
}
