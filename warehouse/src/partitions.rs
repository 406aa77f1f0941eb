//! Storage of one source: its bucket under `trunkline.events`, and the daily leaves under that.
//!
//! Invariants:
//! - A table is built complete and detached, and attached last. ATTACH takes SHARE UPDATE EXCLUSIVE
//!   on the table above, which neither COPY nor SELECT waits for; `CREATE TABLE … PARTITION OF`
//!   takes ACCESS EXCLUSIVE and stalls every sender behind one open SELECT.
//! - No default partition on any level: it would make every later ATTACH take ACCESS EXCLUSIVE on
//!   it, and DETACH CONCURRENTLY impossible.
//! - Bounds are written with their offset from UTC; a bound without one means another moment in
//!   another session's time zone, and overlaps the day beside it.

use jiff::ToSpan;
use jiff::civil::Date;
use trunkline_model::names::{SourceName, quote_literal};

use crate::apply::CURRENT_ROLE;
use crate::layout::EVENTS;
use crate::step::{Step, Test};

/// Days before today that have a leaf: a transaction that began before midnight writes to
/// yesterday.
const DAYS_BEHIND: i32 = 1;

/// Days after today that have a leaf: how long ingestion survives without maintenance.
const DAYS_AHEAD: i32 = 7;

/// Settings of each leaf. Rows are only ever inserted: freezing them at the first vacuum costs
/// nearly nothing, later it costs the leaf's size in WAL. A fixed threshold, because a share of the
/// rows comes too seldom on a large leaf.
const LEAF_STORAGE: &str = "autovacuum_freeze_min_age = 0, \
     autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000";

/// The table of a bucket, as SQL. Numbered, because a source's name may be longer than PostgreSQL
/// allows. Views read it and never the parent.
pub(crate) fn bucket_table(bucket: i32) -> String {
    format!("trunkline_data.bucket_{bucket}")
}

fn leaf_table(bucket: i32, day: Date) -> String {
    format!("{}_{}", bucket_table(bucket), day.strftime("%Y%m%d"))
}

/// The bucket's table, detached.
pub(crate) fn create_bucket(bucket: i32, source: &SourceName) -> Step {
    let table = bucket_table(bucket);
    Step {
        what: format!("create {table} for source {source}"),
        needed: is_missing(&table),
        sql: format!(
            "CREATE TABLE {table} (LIKE {EVENTS} INCLUDING DEFAULTS) \
             PARTITION BY RANGE (received_at);\n\
             COMMENT ON TABLE {table} IS {}",
            quote_literal(&format!("Events of source {source}."))
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

/// Every leaf that a bucket has to have on the day `today`, two steps each.
///
/// The second attaches whatever the first one of this run or of an earlier one made.
pub(crate) fn leaves(bucket: i32, today: Date) -> Vec<Step> {
    (-DAYS_BEHIND..=DAYS_AHEAD)
        .filter_map(|offset| {
            let day = today.checked_add(offset.days()).ok()?;
            Some((day, day.tomorrow().ok()?))
        })
        .flat_map(|(day, next)| [create_leaf(bucket, day), attach_leaf(bucket, day, next)])
        .collect()
}

fn create_leaf(bucket: i32, day: Date) -> Step {
    let (table, above) = (leaf_table(bucket, day), bucket_table(bucket));
    Step {
        what: format!("create {table}"),
        needed: is_missing(&table),
        sql: format!(
            "CREATE TABLE {table} (LIKE {above} INCLUDING DEFAULTS) WITH ({LEAF_STORAGE});\n\
             CREATE INDEX ON {table} (received_at)"
        ),
        fix: own(&above),
    }
}

fn attach_leaf(bucket: i32, day: Date, next: Date) -> Step {
    let (table, above) = (leaf_table(bucket, day), bucket_table(bucket));
    Step {
        what: format!("attach {table}"),
        // NULL for a table that is missing, and for one that hangs on nothing.
        needed: Test::new("pg_partition_root(to_regclass($1)) IS NULL", [&table]),
        sql: format!(
            "ALTER TABLE {above} ATTACH PARTITION {table} \
             FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
        ),
        fix: own(&above),
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

    fn steps() -> Vec<Step> {
        leaves(7, "2026-12-31".parse().unwrap())
    }

    #[test]
    fn leaves_reach_from_yesterday_to_a_week_ahead() {
        let created: Vec<_> = steps()
            .iter()
            .step_by(2)
            .map(|step| step.what.clone())
            .collect();
        assert_eq!(created.len(), 9);
        assert_eq!(created[0], "create trunkline_data.bucket_7_20261230");
        assert_eq!(created[8], "create trunkline_data.bucket_7_20270107");
    }

    #[test]
    fn a_leaf_is_built_complete_and_attached_last() {
        let [create, attach] = &steps()[2..4] else {
            panic!("two steps a day")
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
    fn no_statement_takes_the_lock_that_stalls_senders() {
        let source = "default/shop".parse().unwrap();
        let mut all = steps();
        all.extend([create_bucket(7, &source), attach_bucket(7)]);
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
        assert!(create_bucket(7, &source).sql.starts_with(
            "CREATE TABLE trunkline_data.bucket_7 (LIKE trunkline.events INCLUDING DEFAULTS) \
             PARTITION BY RANGE (received_at);\n"
        ));
        assert_eq!(
            attach_bucket(7).sql,
            "ALTER TABLE trunkline.events ATTACH PARTITION trunkline_data.bucket_7 FOR VALUES IN (7)"
        );
    }
}
