//! Indexes that a source asks for, on each of its partitions: to find the events of one user, or those
//! that hold some JSON, without reading all of a day. Pure; [`keep`] brings them to partitions that
//! are there already.
//!
//! Each costs every sender, and so there is none that nobody asked for.
//!
//! Invariants:
//! - A partition is indexed before it is attached, or by CREATE INDEX CONCURRENTLY: no sender waits.
//! - An index is ours by its name, the partition's and one of the endings here. No other is dropped.
//! - A row that an index cannot hold is stored all the same: the ingester takes its long identifiers
//!   out of their columns.

mod keep;

use crate::apply::CURRENT_ROLE;
use crate::sources::DesiredSource;
use crate::step::{Step, Test};

pub use keep::Indexed;
pub(crate) use keep::{keep, lacking};

/// What the partitions of a source are indexed by, if it asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafIndex {
    /// `messageId` of the event.
    MessageId,
    /// `userId` of the event.
    UserId,
    /// `anonymousId` of the event.
    AnonymousId,
    /// The name of the event, and within a name the time.
    Event,
    /// The whole JSON, for the operator `@>`.
    Body,
}

/// Which of them there are to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeafIndexes(u8);

impl LeafIndex {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 5] = [
        Self::MessageId,
        Self::UserId,
        Self::AnonymousId,
        Self::Event,
        Self::Body,
    ];

    /// As manifests and the catalog call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageId => "MessageId",
            Self::UserId => "UserId",
            Self::AnonymousId => "AnonymousId",
            Self::Event => "Event",
            Self::Body => "Body",
        }
    }

    /// What its name ends with. Before it stands the partition's.
    const fn suffix(self) -> &'static str {
        match self {
            Self::MessageId => "_by_message_id",
            Self::UserId => "_by_user_id",
            Self::AnonymousId => "_by_anonymous_id",
            Self::Event => "_by_event",
            Self::Body => "_by_body",
        }
    }

    /// What follows `CREATE INDEX … ON …`.
    ///
    /// In the order of the database's language, since the conditions of readers are in it. Rows that
    /// lack the value are left out, as no condition looks for them; that of events has all, with what
    /// is asked about them most, so that counting events and people reads it alone. The index on JSON
    /// keeps a short list of pending entries, which some sender has to work off: with a list of the
    /// usual 4 MB a commit then takes 0.4 s, with none every row costs three times as much (measured).
    const fn definition(self) -> &'static str {
        match self {
            Self::MessageId => "(message_id) WHERE message_id IS NOT NULL",
            Self::UserId => "(user_id) WHERE user_id IS NOT NULL",
            Self::AnonymousId => "(anonymous_id) WHERE anonymous_id IS NOT NULL",
            Self::Event => {
                "(event, received_at) INCLUDE (type, dup, user_id, anonymous_id, \"timestamp\")"
            }
            Self::Body => {
                "USING gin (body_json jsonb_path_ops) WITH (gin_pending_list_limit = 1024) \
                 WHERE body_json IS NOT NULL"
            }
        }
    }

    /// The statement for a partition, `trunkline_data.bucket_7_20261124`.
    fn create(self, table: &str, how: &str) -> String {
        let (suffix, definition) = (self.suffix(), self.definition());
        let (_, name) = table.rsplit_once('.').unwrap_or(("", table));
        format!("CREATE INDEX {how}{name}{suffix} ON {table} {definition}")
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromIterator<LeafIndex> for LeafIndexes {
    fn from_iter<I: IntoIterator<Item = LeafIndex>>(indexes: I) -> Self {
        Self(indexes.into_iter().fold(0, |all, index| all | index.bit()))
    }
}

impl LeafIndexes {
    /// Each that is in it.
    pub fn iter(self) -> impl Iterator<Item = LeafIndex> {
        LeafIndex::ALL
            .into_iter()
            .filter(move |index| self.0 & index.bit() != 0)
    }

    /// Whether there are to be none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As the catalog has them; a name that it does not know is another version's.
    pub(crate) fn from_catalog(names: &[String]) -> Self {
        let is_listed = |index: &LeafIndex| names.iter().any(|name| name == index.as_str());
        LeafIndex::ALL.into_iter().filter(is_listed).collect()
    }

    fn to_catalog(self) -> String {
        let names: Vec<_> = self.iter().map(LeafIndex::as_str).collect();
        format!("{{{}}}", names.join(","))
    }
}

/// Those of a partition that is new, each statement after a semicolon.
pub(crate) fn of_new_leaf(table: &str, indexes: LeafIndexes) -> String {
    indexes
        .iter()
        .map(|index| format!(";\n{}", index.create(table, "")))
        .collect()
}

/// What each source asks for.
pub(crate) const CATALOG: &str = "\
ALTER TABLE trunkline.sources ADD COLUMN indexes text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN trunkline.sources.indexes IS \
'Indexes that its manifest asks for on each partition: MessageId, UserId, AnonymousId, Event, Body.'";

/// Which partitions cannot have the index that they would get without being asked.
pub(crate) const REFUSALS: &str = "\
ALTER TABLE trunkline.frozen_partitions ADD COLUMN index_refused_at timestamptz;
COMMENT ON COLUMN trunkline.frozen_partitions.index_refused_at IS \
'When PostgreSQL refused an index on its events, since a value is too long for one; \
NULL where it did not.'";

/// Writes down that the index on events of a partition that is over cannot be made.
fn refused(table: &str) -> Step {
    Step {
        what: format!("record that {table} has values that no index holds"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.frozen_partitions \
             WHERE partition = to_regclass($1) AND index_refused_at IS NULL)",
            [table],
        ),
        sql: format!(
            "UPDATE trunkline.frozen_partitions SET index_refused_at = now() \
             WHERE partition = to_regclass('{table}')"
        ),
        fix: format!("ALTER TABLE trunkline.frozen_partitions OWNER TO {CURRENT_ROLE}"),
    }
}

/// Writes down what a source asks for; None where nobody can say it.
pub(crate) fn record(number: i32, source: &DesiredSource) -> Option<Step> {
    let indexes = source.indexes?.to_catalog();
    Some(Step {
        what: format!("record the indexes of source {}", source.name),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.sources \
             WHERE bucket = $1::integer AND indexes <> $2::text[])",
            [&number.to_string(), &indexes],
        ),
        sql: format!("UPDATE trunkline.sources SET indexes = '{indexes}' WHERE bucket = {number}"),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_indexes_is_read_back_from_the_catalog() {
        for index in LeafIndex::ALL {
            let one: LeafIndexes = [index].into_iter().collect();
            assert_eq!(one.iter().collect::<Vec<_>>(), [index]);
            assert_eq!(one.to_catalog(), format!("{{{}}}", index.as_str()));
            let names = [index.as_str().to_owned(), "OfTheFuture".to_owned()];
            assert_eq!(LeafIndexes::from_catalog(&names), one);
        }
        assert_eq!(LeafIndexes::default().to_catalog(), "{}");
    }

    #[test]
    fn a_new_leaf_has_its_indexes_by_names_that_postgresql_does_not_cut() {
        let indexes = [LeafIndex::Body, LeafIndex::UserId];
        assert_eq!(
            of_new_leaf(
                "trunkline_data.bucket_7_20261231",
                indexes.into_iter().collect()
            ),
            ";\nCREATE INDEX bucket_7_20261231_by_user_id ON trunkline_data.bucket_7_20261231 \
             (user_id) WHERE user_id IS NOT NULL;\n\
             CREATE INDEX bucket_7_20261231_by_body ON trunkline_data.bucket_7_20261231 \
             USING gin (body_json jsonb_path_ops) WITH (gin_pending_list_limit = 1024) \
             WHERE body_json IS NOT NULL"
        );
        for index in LeafIndex::ALL {
            assert!("bucket_2147483647_2026112423".len() + index.suffix().len() <= 63);
        }
    }
}
