//! How a source's rows are stored: for how long, in partitions of which width, whether these are its
//! own, and what they are indexed by.

use std::num::NonZeroU16;

use trunkline_crds::{BodyFormat, PartitionIndex};
use trunkline_warehouse::{LeafIndex, LeafIndexes, PartitionBy, Storage};

use crate::problem::Collector;

/// The longest retention, in days, that can be stored by hour: 744 partitions, each of which a query
/// without a time range locks.
const LONGEST_BY_HOUR: u16 = 31;

/// Days of `90d` or `12w`.
pub(super) fn retention_days(
    text: Option<&str>,
    collector: &mut Collector<'_>,
) -> Option<NonZeroU16> {
    let text = text?;
    let days = parse_days(text);
    if days.is_none() {
        collector.add(
            "spec.retention",
            format!(
                "{text:?} is not a time in whole days or weeks; write one like 90d or 12w, at most \
                 9999d or 999w, or leave it out to keep rows for ever"
            ),
        );
    }
    days
}

fn parse_days(text: &str) -> Option<NonZeroU16> {
    let (digits, days_each, most) = match text.strip_suffix('d') {
        Some(digits) => (digits, 1, 9999),
        None => (text.strip_suffix('w')?, 7, 999),
    };
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let count: u16 = digits.parse().ok().filter(|count| *count <= most)?;
    NonZeroU16::new(count * days_each).filter(|_| is_plain)
}

/// What is asked for, or what fits the retention.
pub(super) fn partition_by(
    spec: Option<trunkline_crds::PartitionBy>,
    retention_days: Option<NonZeroU16>,
    collector: &mut Collector<'_>,
) -> PartitionBy {
    match spec {
        Some(trunkline_crds::PartitionBy::Hour) => {
            if retention_days.is_none_or(|days| days.get() > LONGEST_BY_HOUR) {
                collector.add(
                    "spec.partitionBy",
                    format!(
                        "Hour makes 8,760 partitions a year and needs spec.retention of at most \
                         {LONGEST_BY_HOUR}d; set it, or set partitionBy to Day"
                    ),
                );
            }
            PartitionBy::Hour
        }
        Some(trunkline_crds::PartitionBy::Day) => PartitionBy::Day,
        Some(trunkline_crds::PartitionBy::Month) => PartitionBy::Month,
        None => PartitionBy::for_retention(retention_days),
    }
}

/// Whose the partitions are.
pub(super) fn storage(spec: trunkline_crds::Storage) -> Storage {
    match spec {
        trunkline_crds::Storage::Dedicated => Storage::Dedicated,
        trunkline_crds::Storage::Shared => Storage::Shared,
    }
}

/// What each partition is to be indexed by.
pub(super) fn indexes(
    spec: &[PartitionIndex],
    storage: trunkline_crds::Storage,
    format: BodyFormat,
    collector: &mut Collector<'_>,
) -> LeafIndexes {
    let indexes: Vec<_> = spec.iter().map(|index| leaf_index(*index)).collect();
    for (place, index) in indexes.iter().enumerate() {
        if indexes[..place].contains(index) {
            collector.add(
                format!("spec.indexes[{place}]"),
                format!("{} is there twice; remove one", index.as_str()),
            );
        }
    }
    if !indexes.is_empty() && storage == trunkline_crds::Storage::Shared {
        collector.add(
            "spec.indexes",
            "are of partitions that are this source's alone, and with storage: Shared it has none; \
             remove them, or create another source with storage: Dedicated",
        );
    }
    if !indexes.is_empty() && matches!(format, BodyFormat::Text | BodyFormat::Bytes) {
        collector.add(
            "spec.indexes",
            "are made of what is in JSON; set spec.body.format to Json, JsonArray or Form, or remove \
             them",
        );
    }
    indexes.into_iter().collect()
}

fn leaf_index(index: PartitionIndex) -> LeafIndex {
    match index {
        PartitionIndex::MessageId => LeafIndex::MessageId,
        PartitionIndex::UserId => LeafIndex::UserId,
        PartitionIndex::AnonymousId => LeafIndex::AnonymousId,
        PartitionIndex::Event => LeafIndex::Event,
        PartitionIndex::Body => LeafIndex::Body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_in_whole_days_or_weeks() {
        let cases = [
            ("1d", Some(1)),
            ("90d", Some(90)),
            ("9999d", Some(9999)),
            ("12w", Some(84)),
            ("999w", Some(6993)),
            ("0d", None),
            ("007d", None),
            ("+7d", None),
            ("10000d", None),
            ("1000w", None),
            ("90", None),
            ("d", None),
            ("", None),
            ("24h", None),
            ("1.5d", None),
            ("90 d", None),
            ("99999999999d", None),
        ];
        for (text, days) in cases {
            assert_eq!(parse_days(text).map(NonZeroU16::get), days, "{text:?}");
        }
    }
}
