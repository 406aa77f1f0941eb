//! Which rows of a commit repeat a message that is there, so that readers see each message once.
//!
//! ```text
//! COPY ──► committed
//!   └─ a unique index of a partition: some row repeats another
//!        ask which rows are there already ──► COPY with marks ──► committed
//!                                                └─ in the way of a commit that nobody sees yet
//!                                                     COPY with those rows unsettled ──► committed
//! ```
//!
//! The database's own index decides, so that it is exact for all ingesters together and over their
//! restarts, and costs what an index costs. Only where repeats come is there a second flight; for a
//! moment after one, rows are asked about before they are sent.
//!
//! Pure: what to ask and what to send. [`super::session`] sends it.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;
use trunkline_model::names::quote_literal;
use trunkline_model::repeats::FUNCTION;

use crate::rows::{EncodedRows, Mark, Message};

/// How long after a repeat the rows of its bucket are asked about before they are sent. Repeats come
/// together: what an answer was lost for is sent again, or a whole day is replayed. Asking costs a
/// row about what its index entry does; a COPY that fails leaves dead rows behind.
const CAUTION: Duration = Duration::from_secs(2);

/// What is known of the buckets that repeats came for.
#[derive(Debug, Default)]
pub(super) struct Caution {
    /// Until when each is asked about.
    until: BTreeMap<i32, Instant>,
}

impl Caution {
    /// Begins with what a repeat has come for.
    pub(super) fn raise(&mut self, bucket: i32, now: Instant) {
        self.until.insert(bucket, now + CAUTION);
    }

    /// Whether there is none for any bucket.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.until.retain(|_, until| *until > now);
        self.until.is_empty()
    }

    pub(super) fn is_for(&self, bucket: i32) -> bool {
        self.until.contains_key(&bucket)
    }
}

/// The rows of a commit, with their messages.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    /// Rows without a message first, then by message: a commit that waits for another's entry in an
    /// index holds only entries that come before it. Those of one message as they came.
    rows: Vec<(Option<Message<'a>>, &'a [u8])>,
    /// Those that come after a row of the same message.
    again: Vec<bool>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(deliveries: &[&'a EncodedRows]) -> Self {
        Self::of(deliveries.iter().flat_map(|rows| rows.tuples()))
    }

    /// The same of tuples of some deliveries.
    pub(super) fn of(tuples: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut rows: Vec<_> = tuples.map(|row| (Message::of(row), row)).collect();
        rows.sort_by_key(|(message, _)| *message);
        let mut before = None;
        let again = rows
            .iter()
            .map(|(message, _)| message.is_some() && before.replace(*message) == Some(*message))
            .collect();
        Self { rows, again }
    }

    /// Whether some row has a message in a bucket that is to be asked about.
    pub(super) fn concern(&self, caution: &Caution) -> bool {
        self.messages()
            .any(|(_, message)| caution.is_for(message.bucket))
    }

    /// Buckets with messages.
    pub(super) fn buckets(&self) -> HashSet<i32> {
        self.messages().map(|(_, message)| message.bucket).collect()
    }

    /// Buckets of some of the rows.
    pub(super) fn buckets_of(&self, rows: &HashSet<usize>) -> HashSet<i32> {
        let messages = self.messages().filter(|(row, _)| rows.contains(row));
        messages.map(|(_, message)| message.bucket).collect()
    }

    fn messages(&self) -> impl Iterator<Item = (usize, &Message<'a>)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(row, (message, _))| message.as_ref().map(|message| (row, message)))
    }

    /// The statements that ask which rows repeat what is there, and nothing when there is nothing to
    /// ask. Each answer is the number of a row.
    pub(super) fn question(&self, caution: &Caution) -> Option<String> {
        let mut of_buckets: BTreeMap<i32, Vec<(usize, &Message<'a>)>> = BTreeMap::new();
        for (row, message) in self.messages() {
            if caution.is_for(message.bucket) && !self.again[row] {
                of_buckets
                    .entry(message.bucket)
                    .or_default()
                    .push((row, message));
            }
        }
        if of_buckets.is_empty() {
            return None;
        }
        let mut sql = String::new();
        for (bucket, messages) in of_buckets {
            let list = |value: &dyn Fn(usize, &Message<'a>) -> String| -> String {
                let values: Vec<_> = messages.iter().map(|(row, it)| value(*row, it)).collect();
                values.join(",")
            };
            // Writing to a string cannot fail.
            let _ = write!(
                sql,
                "SELECT (ARRAY[{}])[n] FROM {FUNCTION}({bucket}, ARRAY[{}]::text[], \
                 ARRAY[{}]::text[]) AS n; ",
                list(&|row, _| row.to_string()),
                list(&|_, message| quote_literal(message.source)),
                list(&|_, message| quote_literal(message.id)),
            );
        }
        Some(sql)
    }

    /// The rows with their marks, by the answers to the question.
    pub(super) fn with_marks(&self, there: &HashSet<usize>) -> Vec<(&'a [u8], Mark)> {
        self.marks(|row| match there.contains(&row) {
            true => Mark::Repeat,
            false => Mark::First,
        })
    }

    /// The rows when nothing could be compared: an index holds none that is unsettled, so that they
    /// are in nobody's way.
    pub(super) fn unsettled(&self, there: &HashSet<usize>) -> Vec<(&'a [u8], Mark)> {
        self.marks(|row| match (self.rows[row].0, there.contains(&row)) {
            (Some(_), false) => Mark::Unsettled,
            (Some(_), true) => Mark::Repeat,
            (None, _) => Mark::First,
        })
    }

    fn marks(&self, mark: impl Fn(usize) -> Mark) -> Vec<(&'a [u8], Mark)> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(row, (_, tuple))| match self.again[row] {
            true => (*tuple, Mark::Repeat),
            false => (*tuple, mark(row)),
        })
        .collect()
    }
}

/// The rows that the answers name.
pub(super) fn numbers(answers: &[Vec<Option<String>>]) -> HashSet<usize> {
    answers
        .iter()
        .flatten()
        .filter_map(|number| number.as_deref()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use trunkline_model::verification::AuthScope;

    use super::*;
    use crate::rows::DeliveryFields;
    use crate::rows::testing::{self, DELIVERY};

    fn encode(bucket: i32, body: &str) -> EncodedRows {
        let delivery = DeliveryFields {
            bucket,
            source: "a/it's",
            ..DELIVERY
        };
        testing::encode(delivery, body, AuthScope::None)
    }

    fn marks(rows: Vec<(&[u8], Mark)>) -> Vec<Mark> {
        rows.into_iter().map(|(_, mark)| mark).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn caution_is_for_one_bucket_and_ends() {
        let mut caution = Caution::default();
        assert!(caution.is_over(Instant::now()));
        caution.raise(7, Instant::now());
        assert!(!caution.is_over(Instant::now()));
        assert!(caution.is_for(7) && !caution.is_for(8));
        tokio::time::advance(CAUTION).await;
        assert!(caution.is_over(Instant::now()));
    }

    #[tokio::test]
    async fn only_messages_of_such_buckets_are_asked_about_each_once() {
        let mut caution = Caution::default();
        caution.raise(7, Instant::now());
        let (one, two) = (
            encode(7, r#"[{"messageId":"b"},{"messageId":"a'\\"},{"x":1}]"#),
            encode(8, r#"{"messageId":"a"}"#),
        );
        let again = encode(7, r#"{"messageId":"b"}"#);
        let rows = Rows::new(&[&one, &two, &again]);
        assert!(rows.concern(&caution));
        assert_eq!(
            rows.question(&caution).unwrap(),
            "SELECT (ARRAY[1,2])[n] FROM trunkline.repeats(7, ARRAY['a/it''s','a/it''s']::text[], \
             ARRAY[E'a''\\\\','b']::text[]) AS n; "
        );
        assert_eq!(Rows::new(&[&two]).question(&caution), None);
        assert!(!Rows::new(&[&two]).concern(&caution));
    }

    #[test]
    fn rows_are_in_one_order_however_they_came() {
        let (one, two) = (
            encode(7, r#"[{"messageId":"b"},{"messageId":"a"}]"#),
            encode(7, r#"[{"messageId":"c"},5]"#),
        );
        let order = |deliveries: &[&EncodedRows]| -> Vec<Option<String>> {
            let rows = Rows::new(deliveries).rows;
            let ids = rows.iter();
            ids.map(|(message, _)| message.map(|message| message.id.to_owned()))
                .collect()
        };
        assert_eq!(order(&[&one, &two]), order(&[&two, &one]));
        assert_eq!(order(&[&one, &two])[0], None);
    }

    #[test]
    fn the_first_of_a_message_is_shown_and_what_is_there_is_not() {
        let one = encode(
            7,
            r#"[{"messageId":"a"},{"messageId":"b"},{"messageId":"a"},1]"#,
        );
        let rows = Rows::new(&[&one]);
        let there = numbers(&[vec![Some("3".to_owned())], vec![None]]);
        // 1, a, a, b.
        assert_eq!(
            marks(rows.with_marks(&there)),
            [Mark::First, Mark::First, Mark::Repeat, Mark::Repeat]
        );
        assert_eq!(
            marks(rows.unsettled(&HashSet::new())),
            [Mark::First, Mark::Unsettled, Mark::Repeat, Mark::Unsettled]
        );
        assert_eq!(
            marks(rows.unsettled(&there)),
            [Mark::First, Mark::Unsettled, Mark::Repeat, Mark::Repeat]
        );
    }
}
