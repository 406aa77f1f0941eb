//! The ranges of time that partitions hold: how long they are, and which are missing. Pure.
//!
//! Invariants:
//! - Ranges never overlap what there is, whatever width that was made with: a new range begins
//!   where an old one ends, and ends at the next boundary of its own width or where another begins.
//! - All times are UTC.

use std::num::NonZeroU16;

use jiff::civil::{DateTime, date};
use jiff::{Span, ToSpan};

/// The longest retention that is stored by day unless the manifest says otherwise. Beyond it, days
/// make more partitions than planning a query without a time range should have to lock: 365 of them
/// take 18 ms, measured.
const LONGEST_BY_DAY: u16 = 90;

/// How long a time one partition of a source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartitionBy {
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// One month of the calendar.
    Month,
}

impl PartitionBy {
    /// What fits a retention where nobody says otherwise.
    #[must_use]
    pub fn for_retention(retention_days: Option<NonZeroU16>) -> Self {
        match retention_days {
            Some(days) if days.get() <= LONGEST_BY_DAY => Self::Day,
            _ => Self::Month,
        }
    }

    /// As the catalog writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "Hour",
            Self::Day => "Day",
            Self::Month => "Month",
        }
    }

    /// Reads the catalog, whose CHECK allows nothing else.
    pub(crate) fn from_catalog(text: &str) -> Self {
        match text {
            "Hour" => Self::Hour,
            "Month" => Self::Month,
            _ => Self::Day,
        }
    }

    /// The beginning of the period that `at` lies in.
    fn floor(self, at: DateTime) -> DateTime {
        match self {
            Self::Hour => date(at.year(), at.month(), at.day()).at(at.hour(), 0, 0, 0),
            Self::Day => date(at.year(), at.month(), at.day()).at(0, 0, 0, 0),
            Self::Month => date(at.year(), at.month(), 1).at(0, 0, 0, 0),
        }
    }

    fn periods(self, count: i64) -> Span {
        match self {
            Self::Hour => count.hours(),
            Self::Day => count.days(),
            Self::Month => count.months(),
        }
    }

    /// How many periods after the current one have a partition: how long ingestion survives without
    /// maintenance.
    fn ahead(self) -> i64 {
        match self {
            Self::Hour => 48,
            Self::Day => 7,
            Self::Month => 3,
        }
    }

    /// How far before now there has to be a partition: a transaction that began before a boundary
    /// writes before it, and none of ours lasts for an hour.
    fn behind(self) -> Span {
        match self {
            Self::Hour => 1.hour(),
            Self::Day | Self::Month => 1.day(),
        }
    }

    /// What of the time that has to be covered now is not, in order. None past the calendar's end.
    pub(crate) fn missing(self, now: DateTime, taken: &[Range]) -> Vec<Range> {
        self.try_missing(now, taken).unwrap_or_default()
    }

    fn try_missing(self, now: DateTime, taken: &[Range]) -> Option<Vec<Range>> {
        let mut cursor = now.checked_sub(self.behind()).ok()?;
        let until = self
            .floor(now)
            .checked_add(self.periods(self.ahead() + 1))
            .ok()?;
        let mut taken = taken.to_vec();
        taken.sort_unstable();
        let mut missing: Vec<Range> = Vec::new();
        while cursor < until {
            if let Some(range) = taken.iter().find(|range| range.contains(cursor)) {
                cursor = range.end;
                continue;
            }
            let before = taken.iter().map(|range| range.end);
            let before = before.filter(|end| *end <= cursor).max();
            let floor = self.floor(cursor);
            let start = before.map_or(floor, |end| end.max(floor));
            let boundary = floor.checked_add(self.periods(1)).ok()?;
            let after = taken.iter().map(|range| range.start);
            let after = after.filter(|start| *start > cursor).min();
            let end = after.map_or(boundary, |start| start.min(boundary));
            missing.push(Range { start, end });
            cursor = end;
        }
        Some(missing)
    }

    /// A partition's name ends with its beginning, written as exactly as width and beginning ask
    /// for: `202611`, `20261124`, `2026112413`.
    pub(crate) fn suffix(self, range: Range) -> String {
        let start = range.start;
        let format = if self == Self::Hour || start != Self::Day.floor(start) {
            "%Y%m%d%H"
        } else if self == Self::Day || start != Self::Month.floor(start) {
            "%Y%m%d"
        } else {
            "%Y%m"
        };
        start.strftime(format).to_string()
    }
}

/// A range of time: its first moment, and the first one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) start: DateTime,
    pub(crate) end: DateTime,
}

impl Range {
    fn contains(self, at: DateTime) -> bool {
        self.start <= at && at < self.end
    }

    /// `FROM … TO …` of a partition, with the offset from UTC: without one, a bound means another
    /// moment in another session's time zone, and overlaps the range beside it.
    pub(crate) fn bounds(self) -> String {
        let bound = |at: DateTime| at.strftime("'%Y-%m-%d %H:%M:%S%.f+00'").to_string();
        format!("FROM ({}) TO ({})", bound(self.start), bound(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    fn range(start: &str, end: &str) -> Range {
        Range {
            start: at(start),
            end: at(end),
        }
    }

    /// The suffixes of what is missing, checked for gaps and overlaps with what is taken.
    fn missing(by: PartitionBy, now: &str, taken: &[Range]) -> Vec<String> {
        let missing = by.missing(at(now), taken);
        let mut all = [taken, &missing].concat();
        all.sort_unstable();
        for pair in all.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?} overlap");
        }
        let (first, last) = (at(now) - by.behind(), by.floor(at(now)));
        for moment in [first, at(now), last + by.periods(by.ahead())] {
            assert!(
                all.iter().any(|range| range.contains(moment)),
                "{by:?}: nothing holds {moment}"
            );
        }
        missing.iter().map(|range| by.suffix(*range)).collect()
    }

    #[test]
    fn a_new_bucket_is_covered_from_before_now_to_far_ahead() {
        let now = "2026-12-31T23:59:59.5";
        let days = missing(PartitionBy::Day, now, &[]);
        assert_eq!(days.len(), 9);
        assert_eq!((&*days[0], &*days[8]), ("20261230", "20270107"));
        let months = missing(PartitionBy::Month, now, &[]);
        assert_eq!(months, ["202612", "202701", "202702", "202703"]);
        let hours = missing(PartitionBy::Hour, now, &[]);
        assert_eq!(hours.len(), 50);
        assert_eq!((&*hours[0], &*hours[49]), ("2026123122", "2027010223"));
        // Just after a boundary, what began before it still has a place.
        let months = missing(PartitionBy::Month, "2027-03-01T00:00:01", &[]);
        assert_eq!(months, ["202702", "202703", "202704", "202705", "202706"]);
    }

    #[test]
    fn what_is_covered_is_not_made_again() {
        for by in [PartitionBy::Hour, PartitionBy::Day, PartitionBy::Month] {
            let now = at("2027-02-27T13:20:00");
            let made = by.missing(now, &[]);
            assert_eq!(by.missing(now, &made), []);
            let next = by.missing(now + by.periods(1), &made);
            assert_eq!(next.len(), 1, "{by:?}: {next:?}");
            assert_eq!(next[0].start, made.last().unwrap().end);
        }
    }

    #[test]
    fn another_width_begins_where_the_old_one_ends() {
        let now = "2026-11-24T13:20:00";
        let days = PartitionBy::Day.missing(at(now), &[]);
        assert_eq!(days.last().unwrap().end, at("2026-12-02T00:00:00"));
        // The rest of a month, then whole ones.
        assert_eq!(
            missing(PartitionBy::Month, now, &days),
            ["20261202", "202701", "202702"]
        );
        assert_eq!(missing(PartitionBy::Hour, now, &days), Vec::<String>::new());
        let months = PartitionBy::Month.missing(at(now), &[]);
        assert_eq!(
            missing(PartitionBy::Day, now, &months),
            Vec::<String>::new()
        );
        let late = "2027-02-27T13:20:00";
        assert_eq!(
            missing(PartitionBy::Day, late, &months),
            [
                "20270301", "20270302", "20270303", "20270304", "20270305", "20270306"
            ]
        );
        // Hours end within a day.
        let mut hours = PartitionBy::Hour.missing(at("2026-11-23T13:20:00"), &[]);
        hours.extend(PartitionBy::Hour.missing(at(now), &hours));
        assert_eq!(hours.last().unwrap().end, at("2026-11-26T14:00:00"));
        let days = missing(PartitionBy::Day, now, &hours);
        assert_eq!((days.len(), &*days[0]), (6, "2026112614"));
    }

    #[test]
    fn a_gap_is_filled_within_its_neighbours() {
        let taken = [
            range("2026-11-01T00:00:00", "2026-11-20T12:30:00"),
            range("2026-12-10T00:00:00", "2026-12-11T00:00:00"),
        ];
        assert_eq!(
            PartitionBy::Month.missing(at("2026-11-24T13:20:00"), &taken)[..3],
            [
                range("2026-11-20T12:30:00", "2026-12-01T00:00:00"),
                range("2026-12-01T00:00:00", "2026-12-10T00:00:00"),
                range("2026-12-11T00:00:00", "2027-01-01T00:00:00"),
            ]
        );
    }

    #[test]
    fn bounds_have_their_offset() {
        assert_eq!(
            range("2026-12-31T00:00:00", "2027-01-01T00:00:00.25").bounds(),
            "FROM ('2026-12-31 00:00:00+00') TO ('2027-01-01 00:00:00.25+00')"
        );
    }

    #[test]
    fn long_and_endless_retention_is_stored_by_month() {
        let of = |days| PartitionBy::for_retention(NonZeroU16::new(days));
        assert_eq!(of(1), PartitionBy::Day);
        assert_eq!(of(90), PartitionBy::Day);
        assert_eq!(of(91), PartitionBy::Month);
        assert_eq!(of(0), PartitionBy::Month, "for ever");
    }
}
