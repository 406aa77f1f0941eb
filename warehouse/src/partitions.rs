//! Storage: a bucket under `trunkline.events`, of one source or of several, and the leaves under
//! that, each for a range of time.
//!
//! Invariants:
//! - A table is built complete and detached, and attached last. ATTACH takes SHARE UPDATE EXCLUSIVE
//!   on the table above, which neither COPY nor SELECT waits for; `CREATE TABLE … PARTITION OF`
//!   takes ACCESS EXCLUSIVE and stalls every sender behind one open SELECT.
//! - No default partition on any level: it would make every later ATTACH take ACCESS EXCLUSIVE on
//!   it, and DETACH CONCURRENTLY impossible.

use jiff::civil::DateTime;
use trunkline_model::columns::{COLUMNS, Column, ColumnSpec};
use trunkline_model::names::{SourceName, quote_identifier, quote_literal};

use crate::apply::CURRENT_ROLE;
use crate::indexes::{self, LeafIndexes};
use crate::layout::EVENTS;
use crate::ranges::{PartitionBy, Range};
use crate::repeats;
use crate::shared::INDEXED;
use crate::step::{Step, Test};

/// Settings of each leaf. Rows are only ever inserted: freezing them at the first vacuum costs
/// nearly nothing, later it costs the leaf's size in WAL. A fixed threshold, because a share of the
/// rows comes too seldom on a large leaf.
const LEAF_STORAGE: &str = "autovacuum_freeze_min_age = 0, \
     autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000";

/// When and on which server leaves are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occasion {
    /// By the database's clock, in UTC.
    pub(crate) now: DateTime,
    pub(crate) has_lz4: bool,
}

/// A bucket, as its next leaves are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) number: i32,
    /// How long a time each of them holds.
    pub(crate) by: PartitionBy,
    /// Whether they hold the rows of several sources.
    pub(crate) is_shared: bool,
    /// Whether they are to tell repeats from new messages: of a source that nobody reads without
    /// repeats they would cost for nothing. What several sources share always does.
    pub(crate) tells_repeats: bool,
    /// What else they are indexed by, where they are one source's.
    pub(crate) indexes: LeafIndexes,
}

/// The table of a bucket, as SQL. Numbered, because a source's name may be longer than PostgreSQL
/// allows. Views read it and never the parent.
pub(crate) fn bucket_table(bucket: i32) -> String {
    format!("trunkline_data.bucket_{bucket}")
}

/// What the names of tables in `trunkline_data` look like, as a regular expression: a bucket's, or a
/// leaf's with the beginning of its range.
pub(crate) const TABLE_NAME: &str = "^bucket_[0-9]+(_[0-9]{6}([0-9]{2}){0,2})?$";

/// The bucket's table, detached. Without a source, several share it.
pub(crate) fn create_bucket(bucket: i32, source: Option<&SourceName>) -> Step {
    let table = bucket_table(bucket);
    let whose = source.map_or_else(
        || "several sources".to_owned(),
        |source| format!("source {source}"),
    );
    Step {
        what: format!("create {table} for {whose}"),
        needed: is_missing(&table),
        sql: format!(
            "CREATE TABLE {table} (LIKE {EVENTS} INCLUDING DEFAULTS) \
             PARTITION BY RANGE (received_at);\n\
             COMMENT ON TABLE {table} IS {}",
            quote_literal(&format!("Events of {whose}."))
        ),
        fix: own(EVENTS),
    }
}

/// Makes the bucket reachable from the parent.
pub(crate) fn attach_bucket(bucket: i32) -> Step {
    let table = bucket_table(bucket);
    Step {
        what: format!("attach {table}"),
        // A bucket whose removal was cut short still looks like a partition and takes no row.
        needed: Test::new(
            "NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) \
             AND inhparent = to_regclass($2) AND NOT inhdetachpending)",
            [&table, EVENTS],
        ),
        sql: format!("ALTER TABLE {EVENTS} ATTACH PARTITION {table} FOR VALUES IN ({bucket})"),
        fix: own(EVENTS),
    }
}

/// Ends a removal of `table` from `above` that was cut short: until then it takes no row, and no
/// other can be removed. It waits for every snapshot in the database that is older.
pub(crate) fn finish_detach(above: &str, table: &str) -> Step {
    Step {
        what: format!("finish detaching {table}"),
        needed: Test::new(
            "EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) \
             AND inhparent = to_regclass($2) AND inhdetachpending)",
            [table, above],
        ),
        sql: format!("ALTER TABLE {above} DETACH PARTITION {table} FINALIZE"),
        fix: own(above),
    }
}

/// Every leaf that a bucket has to have now and lacks beside those that hold `taken`, two steps each.
///
/// The second attaches whatever the first one of this run or of an earlier one made.
pub(crate) fn leaves(bucket: Bucket, occasion: Occasion, taken: &[Range]) -> Vec<Step> {
    let steps = |range: Range| {
        let above = bucket_table(bucket.number);
        let table = format!("{above}_{}", bucket.by.suffix(range));
        [
            create_leaf(&table, &above, bucket, occasion),
            attach_leaf(&table, &above, range),
        ]
    };
    let missing = bucket.by.missing(occasion.now, taken);
    missing.into_iter().flat_map(steps).collect()
}

fn create_leaf(table: &str, above: &str, bucket: Bucket, occasion: Occasion) -> Step {
    let Bucket {
        is_shared,
        tells_repeats,
        indexes,
        ..
    } = bucket;
    let indexed = if is_shared { INDEXED } else { "received_at" };
    let messages = if tells_repeats {
        format!(";\n{}", repeats::indexes(table, is_shared))
    } else {
        String::new()
    };
    let asked_for = indexes::of_new_leaf(table, indexes);
    let compression = if occasion.has_lz4 {
        compress(table)
    } else {
        String::new()
    };
    Step {
        what: format!("create {table}"),
        needed: is_missing(table),
        sql: format!(
            "CREATE TABLE {table} (LIKE {above} INCLUDING DEFAULTS) WITH ({LEAF_STORAGE});\n\
             CREATE INDEX ON {table} ({indexed}){messages}{asked_for}{compression}"
        ),
        fix: own(above),
    }
}

/// Compresses large values by lz4, which takes half the time of pglz for the same size. It has to be
/// said of each column: what a table does not say is up to the session that inserts.
fn compress(table: &str) -> String {
    let is_large = |spec: &&ColumnSpec| {
        matches!(
            spec.column,
            Column::Headers
                | Column::HeaderValues
                | Column::BodyJson
                | Column::BodyText
                | Column::Raw
        )
    };
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(is_large)
        .map(|spec| {
            let name = quote_identifier(spec.name);
            format!("ALTER COLUMN {name} SET COMPRESSION lz4")
        })
        .collect();
    format!(";\nALTER TABLE {table} {}", columns.join(", "))
}

fn attach_leaf(table: &str, above: &str, range: Range) -> Step {
    Step {
        what: format!("attach {table}"),
        // NULL for a table that is missing, and for one that hangs on nothing.
        needed: Test::new("pg_partition_root(to_regclass($1)) IS NULL", [table]),
        sql: format!(
            "ALTER TABLE {above} ATTACH PARTITION {table} FOR VALUES {}",
            range.bounds()
        ),
        fix: own(above),
    }
}

fn is_missing(table: &str) -> Test {
    Test::new("to_regclass($1) IS NULL", [table])
}

pub(crate) fn own(table: &str) -> String {
    format!("ALTER TABLE {table} OWNER TO {CURRENT_ROLE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(is_shared: bool) -> Bucket {
        Bucket {
            number: 7,
            by: PartitionBy::Day,
            is_shared,
            tells_repeats: false,
            indexes: LeafIndexes::default(),
        }
    }

    fn steps() -> Vec<Step> {
        steps_on(false)
    }

    fn steps_on(has_lz4: bool) -> Vec<Step> {
        let now = "2026-12-31T12:00:00".parse().unwrap();
        leaves(bucket(false), Occasion { now, has_lz4 }, &[])
    }

    #[test]
    fn large_columns_are_compressed_by_lz4_where_there_is_one() {
        let lz4 = "ALTER COLUMN \"body_json\" SET COMPRESSION lz4, ALTER COLUMN";
        assert!(
            steps_on(true)[0].sql.contains(lz4),
            "{}",
            steps_on(true)[0].sql
        );
        assert!(!steps()[0].sql.contains("COMPRESSION"));
    }

    #[test]
    fn a_leaf_is_built_complete_and_attached_last() {
        let [create, attach] = &steps()[2..4] else {
            panic!("two steps a leaf")
        };
        assert_eq!(
            create.sql,
            "CREATE TABLE trunkline_data.bucket_7_20261231 \
             (LIKE trunkline_data.bucket_7 INCLUDING DEFAULTS) \
             WITH (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_scale_factor = 0, \
             autovacuum_vacuum_insert_threshold = 10000);\n\
             CREATE INDEX ON trunkline_data.bucket_7_20261231 (received_at)"
        );
        assert_eq!(
            attach.sql,
            "ALTER TABLE trunkline_data.bucket_7 ATTACH PARTITION trunkline_data.bucket_7_20261231 \
             FOR VALUES FROM ('2026-12-31 00:00:00+00') TO ('2027-01-01 00:00:00+00')"
        );
    }

    #[test]
    fn a_shared_leaf_finds_the_rows_of_one_source() {
        let now = "2026-12-31T12:00:00".parse().unwrap();
        let occasion = Occasion {
            now,
            has_lz4: false,
        };
        let sql = &leaves(bucket(true), occasion, &[])[2].sql;
        assert!(
            sql.ends_with(
                "CREATE INDEX ON trunkline_data.bucket_7_20261231 \
                 (\"source\" COLLATE \"C\", received_at)"
            ),
            "{sql}"
        );
        let table = create_bucket(7, None);
        assert!(
            table.sql.ends_with("IS 'Events of several sources.'"),
            "{}",
            table.sql
        );
    }

    #[test]
    fn no_statement_takes_the_lock_that_stalls_senders() {
        let source = "default/shop".parse().unwrap();
        let mut all = steps();
        all.extend([create_bucket(7, Some(&source)), attach_bucket(7)]);
        for step in all {
            let sql = step.sql.to_uppercase();
            for stalling in [
                "PARTITION OF",
                "DETACH",
                "DROP",
                "PARTITION DEFAULT",
                "BUCKET_7 DEFAULT",
            ] {
                assert!(!sql.contains(stalling), "{sql}");
            }
        }
    }

    #[test]
    fn a_bucket_is_attached_by_its_number() {
        let source = "default/shop".parse().unwrap();
        assert!(create_bucket(7, Some(&source)).sql.starts_with(
            "CREATE TABLE trunkline_data.bucket_7 (LIKE trunkline.events INCLUDING DEFAULTS) \
             PARTITION BY RANGE (received_at);\n"
        ));
        assert_eq!(
            attach_bucket(7).sql,
            "ALTER TABLE trunkline.events ATTACH PARTITION trunkline_data.bucket_7 FOR VALUES IN (7)"
        );
    }
}
