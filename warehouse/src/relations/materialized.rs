//! The part of a relation that its view reads from a materialised table: which, and for which times.
//!
//! Invariants:
//! - It is written down with the view and changes with it, in one transaction. So what the catalog says
//!   of a view is what the view does, whoever looks.
//! - It holds for one definition: a relation whose columns or rows change reads its events until what
//!   is materialised has been looked at again.
//! - Where it is all of its table, the view names no times on that side: PostgreSQL reads such a table
//!   like one that a query names itself. So the table gains no partition meanwhile.

use serde_json::{Value, json};
use trunkline_model::names::quote_literal;

/// Separate ranges that one view names at most.
const MAX_RANGES: usize = 16;

/// What a view reads from a materialised table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The table's name within `trunkline_data`.
    pub(crate) table: String,
    /// See [`super::Stored::definition`].
    pub(crate) definition: String,
    /// The partitions of it that are read, by time; at least one.
    pub(crate) leaves: Vec<PartLeaf>,
    /// Whether these are all that it has.
    pub(crate) is_whole: bool,
}

/// One partition of a materialised table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartLeaf {
    /// When its range begins, as a text that sorts as the times do.
    pub(crate) start: String,
    pub(crate) end: String,
    /// Its number in `trunkline.materialized_partitions`.
    pub(crate) id: i64,
}

impl Part {
    /// The part of these partitions, of as many that the table has; None without any. Of ranges that do
    /// not touch the latest are kept.
    pub(crate) fn new(
        table: &str,
        definition: String,
        mut leaves: Vec<PartLeaf>,
        of: usize,
    ) -> Option<Self> {
        leaves.sort();
        let begins = |place: usize| place == 0 || leaves[place - 1].end != leaves[place].start;
        let mut starts = (0..leaves.len()).rev().filter(|place| begins(*place));
        if let Some(first) = starts.nth(MAX_RANGES - 1) {
            leaves.drain(..first);
        }
        (!leaves.is_empty()).then(|| Self {
            table: table.to_owned(),
            definition,
            is_whole: leaves.len() == of,
            leaves,
        })
    }

    /// As the catalog keeps it.
    pub(crate) fn to_catalog(&self) -> String {
        let leaves: Vec<_> = self
            .leaves
            .iter()
            .map(|leaf| json!([leaf.id, leaf.start, leaf.end]))
            .collect();
        json!({
            "table": self.table,
            "definition": self.definition,
            "leaves": leaves,
            "whole": self.is_whole,
        })
        .to_string()
    }

    /// As the catalog has it; None where this program does not understand it.
    pub(crate) fn from_catalog(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let leaf = |leaf: &Value| {
            Some(PartLeaf {
                id: leaf[0].as_i64()?,
                start: leaf[1].as_str()?.to_owned(),
                end: leaf[2].as_str()?.to_owned(),
            })
        };
        let leaves = value["leaves"].as_array()?.iter().map(leaf);
        let part = Self::new(
            value["table"].as_str()?,
            value["definition"].as_str()?.to_owned(),
            leaves.collect::<Option<_>>()?,
            0,
        );
        Some(Self {
            is_whole: value["whole"].as_bool().unwrap_or(false),
            ..part?
        })
    }

    /// The same, by its times although it is the whole table, so that this may gain another.
    pub(crate) fn by_times(self) -> Self {
        Self {
            is_whole: false,
            ..self
        }
    }

    /// The times that it covers, as few ranges as there are.
    fn ranges(&self) -> Vec<(&str, &str)> {
        let mut ranges: Vec<(&str, &str)> = Vec::new();
        for leaf in &self.leaves {
            match ranges.last_mut() {
                Some((_, end)) if *end == leaf.start => *end = &leaf.end,
                _ => ranges.push((&leaf.start, &leaf.end)),
            }
        }
        ranges
    }

    /// Is true of the times that it covers; None where that is true of all rows of its table. `time` is
    /// an expression.
    pub(super) fn covers(&self, time: &str) -> Option<String> {
        if self.is_whole {
            return None;
        }
        let ranges = self.ranges().into_iter().map(|(start, end)| {
            format!(
                "{time} >= {} AND {time} < {}",
                quote_literal(start),
                quote_literal(end)
            )
        });
        Some(any_of(&ranges.collect::<Vec<_>>()))
    }

    /// Is true of all other times, which is said without NOT, so that the planner leaves partitions out.
    pub(super) fn leaves_out(&self, time: &str) -> String {
        let ranges = self.ranges();
        let mut others = Vec::new();
        if let Some((first, _)) = ranges.first() {
            others.push(format!("{time} < {}", quote_literal(first)));
        }
        others.extend(ranges.windows(2).map(|pair| {
            format!(
                "{time} >= {} AND {time} < {}",
                quote_literal(pair[0].1),
                quote_literal(pair[1].0)
            )
        }));
        if let Some((_, last)) = ranges.last() {
            others.push(format!("{time} >= {}", quote_literal(last)));
        }
        any_of(&others)
    }
}

fn any_of(conditions: &[String]) -> String {
    match conditions {
        [only] => only.clone(),
        several => format!("({})", several.join(" OR ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(id: i64) -> PartLeaf {
        PartLeaf {
            start: format!("2026-11-{id:02}"),
            end: format!("2026-11-{:02}", id + 1),
            id,
        }
    }

    fn part(days: &[i64]) -> Option<Part> {
        let leaves = days.iter().copied().map(leaf).collect();
        Part::new("materialized_7_x", "d".to_owned(), leaves, 99)
    }

    #[test]
    fn what_is_covered_and_what_is_left_out_are_all_times_and_none_twice() {
        let one = part(&[12, 10, 11]).unwrap();
        let covered = |part: &Part| part.covers("r").unwrap();
        assert_eq!(covered(&one), "r >= '2026-11-10' AND r < '2026-11-13'");
        assert_eq!(
            one.leaves_out("r"),
            "(r < '2026-11-10' OR r >= '2026-11-13')"
        );
        let two = part(&[10, 12]).unwrap();
        assert_eq!(
            covered(&two),
            "(r >= '2026-11-10' AND r < '2026-11-11' OR r >= '2026-11-12' AND r < '2026-11-13')"
        );
        assert_eq!(
            two.leaves_out("r"),
            "(r < '2026-11-10' OR r >= '2026-11-11' AND r < '2026-11-12' OR r >= '2026-11-13')"
        );
    }

    #[test]
    fn the_catalog_gives_back_what_it_was_given() {
        let part = part(&[10, 12, 13]).unwrap();
        let whole = Part {
            is_whole: true,
            ..part.clone()
        };
        for part in [part, whole] {
            assert_eq!(Part::from_catalog(&part.to_catalog()), Some(part));
        }
        assert_eq!(Part::from_catalog("{}"), None);
        let nothing = r#"{"table": "t", "definition": "d", "leaves": [], "whole": true}"#;
        assert_eq!(Part::from_catalog(nothing), None);
        // As it was before layout 19.
        let older = r#"{"table": "t", "definition": "d", "leaves": [[1, "a", "b"]]}"#;
        assert!(!Part::from_catalog(older).unwrap().is_whole);
    }

    #[test]
    fn what_is_all_of_a_table_needs_no_times_there() {
        let leaves = |count: i64| (10..10 + count).map(leaf).collect::<Vec<_>>();
        let new = |count, of| Part::new("t", "d".to_owned(), leaves(count), of).unwrap();
        assert_eq!(new(3, 3).covers("r"), None);
        assert_eq!(new(3, 3).leaves_out("r"), new(3, 4).leaves_out("r"));
        assert!(new(3, 4).covers("r").is_some());
        assert!(new(3, 3).by_times().covers("r").is_some());
        // More separate ranges than a view names are not all.
        let every_other: Vec<_> = (0..20).map(|n| leaf(n * 2)).collect();
        assert!(
            !Part::new("t", "d".to_owned(), every_other, 20)
                .unwrap()
                .is_whole
        );
    }

    #[test]
    fn of_many_separate_ranges_the_latest_are_kept() {
        let every_other: Vec<_> = (0..20).map(|n| n * 2).collect();
        let kept = part(&every_other).unwrap();
        assert_eq!(kept.ranges().len(), MAX_RANGES);
        assert_eq!(kept.leaves.last(), Some(&leaf(38)));
        assert_eq!(part(&(0..90).collect::<Vec<_>>()).unwrap().leaves.len(), 90);
        assert_eq!(part(&[]), None);
    }
}
