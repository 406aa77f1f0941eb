//! Which rows of a commit are stored where repeats are not.
//!
//! ```text
//! BEGIN; take the keys that are not there ──► COPY of the rows whose keys were taken; COMMIT
//!   │                                    └─ none were: COMMIT
//!   └─ another commit holds one and does not end ──► ROLLBACK, and deliveries with keys are refused
//! ```
//!
//! Keys and rows are one transaction: whatever ends it early gives the keys back, so that what is sent
//! again is new. All keys of a commit are taken by one statement and in their order, whichever sources
//! they belong to, so that no two commits wait for each other.
//!
//! Pure: what to ask and what to send. [`super::session`] sends it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use trunkline_model::deduplication::FUNCTION;
use uuid::Uuid;

use super::store::LeftOut;
use crate::rows::{EncodedRows, Keys};

/// The rows of a commit of which some have keys.
#[derive(Debug)]
pub(super) struct Keyed<'a> {
    deliveries: &'a [&'a EncodedRows],
    /// Every key once, with its window in seconds.
    windows: BTreeMap<Uuid, u32>,
}

impl<'a> Keyed<'a> {
    /// None where no row has a key.
    pub(super) fn of(deliveries: &'a [&'a EncodedRows]) -> Option<Self> {
        let keys = deliveries.iter().flat_map(|rows| rows.keys().iter());
        let windows: BTreeMap<_, _> = keys.collect();
        (!windows.is_empty()).then_some(Self {
            deliveries,
            windows,
        })
    }

    /// The statement that takes the keys. Its answers are those that it took.
    pub(super) fn question(&self) -> String {
        let simple = |key: &Uuid| key.simple().to_string();
        let keys: Vec<_> = self.windows.keys().map(simple).collect();
        let windows: Vec<_> = self.windows.values().map(u32::to_string).collect();
        format!(
            "SELECT {FUNCTION}('{{{}}}'::uuid[], '{{{}}}'::integer[])",
            keys.join(","),
            windows.join(",")
        )
    }

    /// What is to be stored, by the answers to the question: of the rows with one key the first, and
    /// all that have none. None when an answer is not one of the keys.
    pub(super) fn left(&self, answers: &[Vec<Option<String>>]) -> Option<Left<'a>> {
        let mut taken = HashSet::with_capacity(answers.len());
        for answer in answers {
            let key = Uuid::parse_str(answer.first()?.as_deref()?).ok()?;
            if !self.windows.contains_key(&key) {
                return None;
            }
            taken.insert(key);
        }
        let mut left = Left {
            runs: Vec::with_capacity(self.deliveries.len()),
            left_out: LeftOut::default(),
        };
        for &rows in self.deliveries {
            match rows.keys() {
                Keys::None => left.keep(rows, 0..rows.len()),
                Keys::Delivery { key, .. } if taken.remove(key) => {
                    left.keep(rows, 0..rows.len());
                }
                Keys::Delivery { .. } => left.leave_out(rows, 0..rows.len()),
                Keys::Rows { keys, .. } => {
                    for (row, key) in keys.iter().enumerate() {
                        // The key of the first row with it is gone when the next one comes.
                        if key.is_none_or(|key| taken.remove(&key)) {
                            left.keep(rows, row..row + 1);
                        } else {
                            left.leave_out(rows, row..row + 1);
                        }
                    }
                }
            }
            left.end_delivery();
        }
        Some(left)
    }
}

/// Rows that are to be stored.
#[derive(Debug)]
pub(super) struct Left<'a> {
    /// Rows of deliveries, as they came, as long as they follow one another.
    runs: Vec<(&'a EncodedRows, Range<usize>)>,
    pub(super) left_out: LeftOut,
}

impl<'a> Left<'a> {
    fn keep(&mut self, rows: &'a EncodedRows, range: Range<usize>) {
        match self.runs.last_mut() {
            Some((last, run)) if std::ptr::eq(*last, rows) && run.end == range.start => {
                run.end = range.end;
            }
            _ => self.runs.push((rows, range)),
        }
    }

    fn leave_out(&mut self, rows: &EncodedRows, range: Range<usize>) {
        self.left_out.add(range.len(), rows.range(range).len());
    }

    fn end_delivery(&mut self) {
        self.left_out.end_delivery();
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many rows are left.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|(_, run)| run.len()).sum()
    }

    /// Their bytes, to be sent one after another.
    pub(super) fn bytes(&self) -> Vec<&'a [u8]> {
        let runs = self.runs.iter();
        runs.map(|(rows, run)| rows.range(run.clone())).collect()
    }

    /// Their tuples, one for each row.
    pub(super) fn tuples(&self) -> impl Iterator<Item = &'a [u8]> {
        let runs = self.runs.iter();
        runs.flat_map(|(rows, run)| run.clone().map(|row| rows.range(row..row + 1)))
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::verification::AuthScope;

    use super::*;
    use crate::json::{ArrayRows, decode};
    use crate::rows::RowEncoder;
    use crate::rows::testing::DELIVERY;

    fn key(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// A delivery of rows with these keys.
    fn rows(keys: &[Option<u128>], window: u32) -> EncodedRows {
        let mut encoder = RowEncoder::new(DELIVERY, 0).keyed(Keys::of_rows(window));
        for (row, number) in keys.iter().enumerate() {
            let body = row.to_string();
            for element in decode(body.as_bytes(), ArrayRows::Whole).unwrap() {
                encoder.push(&element, AuthScope::None);
            }
            if let Some(number) = number {
                encoder.identify(key(*number));
            }
        }
        encoder.finish()
    }

    /// A delivery with one key for all of its rows, or none.
    fn whole(number: Option<u128>, count: usize) -> EncodedRows {
        let keys = number.map_or(Keys::None, |number| Keys::Delivery {
            key: key(number),
            window_seconds: 60,
        });
        let mut encoder = RowEncoder::new(DELIVERY, 0).keyed(keys);
        for element in decode("[1]".repeat(count).as_bytes(), ArrayRows::Elements).unwrap() {
            encoder.push(&element, AuthScope::None);
        }
        encoder.finish()
    }

    fn answers(keys: &[u128]) -> Vec<Vec<Option<String>>> {
        let text = |&number: &u128| vec![Some(key(number).to_string())];
        keys.iter().map(text).collect()
    }

    /// Which rows of which delivery are left.
    fn left(deliveries: &[&EncodedRows], taken: &[u128]) -> Vec<(usize, Range<usize>)> {
        let left = Keyed::of(deliveries)
            .unwrap()
            .left(&answers(taken))
            .unwrap();
        assert_eq!(
            left.bytes().concat(),
            left.tuples().collect::<Vec<_>>().concat()
        );
        assert_eq!(left.tuples().count(), left.len());
        let all: usize = deliveries.iter().map(|rows| rows.len()).sum();
        assert_eq!(left.left_out.rows() + left.len(), all);
        let place = |rows: &EncodedRows| deliveries.iter().position(|it| std::ptr::eq(*it, rows));
        let runs = left.runs.iter();
        runs.map(|(rows, run)| (place(rows).unwrap(), run.clone()))
            .collect()
    }

    #[test]
    fn all_keys_are_asked_for_once_and_in_their_order() {
        let (one, two) = (
            rows(&[Some(3), None, Some(1), Some(3)], 60),
            whole(Some(2), 2),
        );
        let deliveries = [&one, &two];
        let zeros = "0".repeat(31);
        assert_eq!(
            Keyed::of(&deliveries).unwrap().question(),
            format!(
                "SELECT trunkline.unseen('{{{zeros}1,{zeros}2,{zeros}3}}'::uuid[], \
                 '{{60,60,60}}'::integer[])"
            )
        );
        let reversed = [&two, &one];
        assert_eq!(
            Keyed::of(&deliveries).unwrap().question(),
            Keyed::of(&reversed).unwrap().question()
        );
    }

    #[test]
    fn a_commit_without_keys_is_none_of_this() {
        let (none, no_row) = (whole(None, 2), rows(&[None, None], 60));
        assert!(Keyed::of(&[&none, &no_row]).is_none());
        assert!(Keyed::of(&[]).is_none());
    }

    #[test]
    fn what_was_taken_is_left_once_and_what_has_no_key_always() {
        let one = rows(&[Some(1), None, Some(2), Some(1), Some(3)], 60);
        let two = whole(None, 2);
        let three = rows(&[Some(3), Some(4)], 60);
        let all = [&one, &two, &three];
        assert_eq!(
            left(&all, &[1, 3, 4]),
            [(0, 0..2), (0, 4..5), (1, 0..2), (2, 1..2)]
        );
        assert_eq!(left(&all, &[]), [(0, 1..2), (1, 0..2)]);
        // A repeat within one delivery is a repeat.
        assert_eq!(left(&all, &[1, 2, 3, 4])[0], (0, 0..3));
    }

    #[test]
    fn a_delivery_with_one_key_is_left_whole_or_not_at_all() {
        let (one, again, other) = (whole(Some(1), 3), whole(Some(1), 2), whole(Some(2), 1));
        let all = [&one, &again, &other];
        assert_eq!(left(&all, &[1]), [(0, 0..3)]);
        assert_eq!(left(&all, &[2]), [(2, 0..1)]);
        let kept = Keyed::of(&all).unwrap().left(&answers(&[1])).unwrap();
        let counts: Vec<_> = (0..4).map(|place| kept.left_out.of(place)).collect();
        assert_eq!(counts, [0, 2, 1, 0]);
        assert_eq!(
            kept.left_out.bytes(),
            again.bytes().len() + other.bytes().len()
        );
        let kept = Keyed::of(&all).unwrap().left(&[]).unwrap();
        assert!(kept.is_empty() && kept.bytes().is_empty());
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_not_taken() {
        let one = whole(Some(1), 1);
        let all = [&one];
        let keyed = Keyed::of(&all).unwrap();
        for odd in [
            answers(&[2]),
            vec![vec![Some("1".to_owned())]],
            vec![vec![None]],
            vec![Vec::new()],
        ] {
            assert!(keyed.left(&odd).is_none(), "{odd:?}");
        }
    }
}
