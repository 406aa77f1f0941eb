//! One partition of a materialised table, and the steps of its life. Pure.
//!
//! ```text
//! begin ──► fill ──► VACUUM (FREEZE) ──► views name times ──► attach ──► views read it ──► …
//!   … ──► views do not ──► drop
//! ```
//!
//! Invariants:
//! - It is built detached and attached last; nobody waits for it but who changes rows of a partition
//!   whose time is over.
//! - It is ready when it has what its partition has, and every change is made in both. A change while it
//!   was filled makes it start anew.
//! - It is ready when its rows are frozen: then a transaction that began before it was filled sees them
//!   too, and misses nothing when it comes upon a view that reads them.
//! - What a view reads is not dropped, and a table that a view reads whole gains nothing.

use std::collections::BTreeSet;

use trunkline_model::names::quote_literal;

use super::table::{Table, rights};
use crate::relations::{Stored, StoredColumn};
use crate::step::{Step, Test};

/// What separates keys in [`Leaf::keys`].
const SEPARATOR: char = '\u{1f}';

/// More keys than a partition's are told apart by: then they say nothing.
const MAX_KEYS: usize = 5_000;

/// A partition of a table, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) id: i64,
    /// The one whose table it is of.
    pub(super) relation: String,
    pub(super) name: String,
    pub(super) partition: String,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) rows: String,
    /// How many columns of the table are filled.
    pub(super) columns: usize,
    pub(super) is_filled: bool,
    pub(super) is_ready: bool,
    /// Whether rows have changed since it was vacuumed, or begun. One that is not ready after a day counts
    /// as such: a backup may have brought it back, and the transaction that filled it is of another server.
    pub(super) is_changed: bool,
    /// The same, some time ago.
    pub(super) was_changed: bool,
    /// Which keys there are in its events, from the outside in; None while nobody has looked.
    pub(super) keys: Option<BTreeSet<String>>,
    pub(super) revision: i32,
}

/// A partition of events whose time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) partition: String,
    pub(super) start: String,
    pub(super) end: String,
    /// Whether its rows were compared with earlier ones.
    pub(super) is_settled: bool,
}

/// Whether a partition has what a relation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has.
    Fits,
    /// It has if its events lack some keys, which nobody has looked for.
    Unknown,
    /// Its table has no column for it yet, because somebody holds a lock of it.
    NotYet,
    /// It has not.
    Lacks,
}

impl Leaf {
    /// Whether it has what is `stored` for a relation.
    pub(super) fn fit(&self, table: &Table, stored: &Stored) -> Fit {
        if !self.is_ready || self.rows != stored.rows() {
            return Fit::Lacks;
        }
        let filled: BTreeSet<_> = table.columns.iter().take(self.columns).collect();
        let is_there = |name: &String| table.columns.contains(name);
        let mut fit = Fit::Fits;
        for column in &stored.columns {
            if filled.contains(&column.name) {
                continue;
            }
            // A NULL in all rows stands for what no event has.
            match &self.keys {
                _ if !is_there(&column.name) => return Fit::NotYet,
                _ if column.paths.is_empty() => return Fit::Lacks,
                None => fit = Fit::Unknown,
                Some(keys) if lacks(keys, column) => {}
                Some(_) => return Fit::Lacks,
            }
        }
        fit
    }
}

/// Whether no event with only these keys has a value for a column.
fn lacks(keys: &BTreeSet<String>, column: &StoredColumn) -> bool {
    let path_is_absent = |path: &Vec<String>| {
        let [root, key, below @ ..] = &path[..] else {
            return false;
        };
        let outer = format!("{root}{SEPARATOR}{key}");
        // An empty key is how an array is noted, in which a key may be a place.
        let is_array = |of: &str| keys.contains(&format!("{of}{SEPARATOR}"));
        if keys.contains("") || is_array(root) {
            return false;
        }
        match below.first() {
            _ if !keys.contains(&outer) => true,
            Some(inner) => {
                !is_array(&outer) && !keys.contains(&format!("{outer}{SEPARATOR}{inner}"))
            }
            None => false,
        }
    };
    column.paths.iter().all(path_is_absent)
}

/// Finds out which keys there are in the events of a partition.
pub(super) fn find_keys(leaf: &Leaf, condition: &str) -> String {
    format!(
        "WITH found(key) AS (SELECT DISTINCT k.key FROM trunkline_data.{} AS b \
         CROSS JOIN LATERAL (VALUES ('properties', b.body_json -> 'properties'), \
         ('traits', b.body_json -> 'traits'), ('context', b.body_json -> 'context')) AS r(root, value) \
         CROSS JOIN LATERAL (\
         SELECT concat(r.root, chr(31)) WHERE jsonb_typeof(r.value) = 'array' \
         UNION ALL SELECT concat(r.root, chr(31), f.key, i.key) \
         FROM jsonb_each(CASE jsonb_typeof(r.value) WHEN 'object' THEN r.value END) AS f \
         CROSS JOIN LATERAL (SELECT '' UNION ALL \
         SELECT chr(31) WHERE jsonb_typeof(f.value) = 'array' UNION ALL \
         SELECT chr(31) || o.key FROM jsonb_object_keys(CASE jsonb_typeof(f.value) \
         WHEN 'object' THEN f.value END) AS o(key)) AS i(key)) AS k(key) \
         WHERE {condition} LIMIT {}) \
         UPDATE trunkline.materialized_partitions SET keys = \
         (SELECT CASE WHEN count(*) > {MAX_KEYS} THEN ARRAY[''] \
         ELSE coalesce(array_agg(key), '{{}}') END FROM found) \
         WHERE id = {} AND revision = {}",
        leaf.partition,
        MAX_KEYS + 1,
        leaf.id,
        leaf.revision
    )
}

/// Its table, detached, and what keeps it in step.
pub(super) fn begin(table: &Table, closed: &Closed) -> Step {
    let partition = &closed.partition;
    let name = leaf_name(&table.name, partition);
    let (start, end) = (quote_literal(&closed.start), quote_literal(&closed.end));
    let trigger = format!(
        "BEGIN IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'keep_materialized' \
         AND tgrelid = to_regclass('trunkline_data.{partition}')) THEN \
         CREATE TRIGGER keep_materialized AFTER INSERT OR UPDATE OR DELETE \
         ON trunkline_data.{partition} FOR EACH ROW \
         EXECUTE FUNCTION trunkline.keep_materialized(); \
         CREATE TRIGGER keep_materialized_truncated AFTER TRUNCATE ON trunkline_data.{partition} \
         FOR EACH STATEMENT EXECUTE FUNCTION trunkline.keep_materialized(); END IF; END"
    );
    Step {
        what: format!("create trunkline_data.{name}"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.materialized_tables t \
             JOIN trunkline.sources s ON s.bucket = t.source_number \
             WHERE t.name = $1 AND t.fill = $3 AND s.materialized AND s.removed_at IS NULL) \
             AND NOT EXISTS (SELECT FROM trunkline.materialized_partitions \
             WHERE table_name = $1 AND partition = $2) \
             AND to_regclass('trunkline_data.' || $2) IS NOT NULL \
             AND NOT EXISTS (SELECT FROM trunkline.dropped_partitions \
             WHERE partition = $2 AND dropped_at IS NULL)",
            [&table.name, partition, &table.fill],
        ),
        sql: format!(
            "DO {};\n\
             CREATE TABLE trunkline_data.{name} (LIKE trunkline_data.{}, \
             CHECK (received_at >= {start} AND received_at < {end})) \
             WITH (autovacuum_freeze_min_age = 0);\n\
             REVOKE ALL ON trunkline_data.{name} FROM PUBLIC;\n\
             INSERT INTO trunkline.materialized_partitions \
             (table_name, name, partition, range_start, range_end, rows, columns) \
             SELECT name, '{name}', '{partition}', {start}, {end}, rows, cardinality(columns) \
             FROM trunkline.materialized_tables WHERE name = '{}'",
            quote_literal(&trigger),
            table.name,
            table.name
        ),
        fix: rights(),
    }
}

/// Within `trunkline_data`: that of the table, and what the partition's has behind its bucket's.
pub(super) fn leaf_name(table: &str, partition: &str) -> String {
    let (_, suffix) = partition.rsplit_once('_').unwrap_or(("", partition));
    format!("{table}_{suffix}")
}

/// Fills it, as one transaction; nothing where somebody else does or has. A block range is small, so
/// that a row is found in less than a millisecond.
pub(super) fn fill(table: &str, partition: &str) -> String {
    let name = leaf_name(table, partition);
    format!(
        "SET LOCAL search_path = '';\n\
         DO $fill$\n\
         DECLARE\n  statement text;\n\
         BEGIN\n\
         SELECT format(t.fill, p.name, 'trunkline_data.{partition}', 'b.ctid') INTO statement \
         FROM trunkline.materialized_partitions p \
         JOIN trunkline.materialized_tables t ON t.name = p.table_name \
         WHERE p.name = '{name}' AND p.filled_by IS NULL FOR UPDATE OF p SKIP LOCKED;\n\
         IF statement IS NULL THEN\n  RETURN;\nEND IF;\n\
         EXECUTE statement;\n\
         CREATE INDEX {name}_received_at_idx ON trunkline_data.{name} \
         USING brin (received_at) WITH (pages_per_range = 16);\n\
         UPDATE trunkline.materialized_partitions SET filled_by = pg_current_xact_id()::xid \
         WHERE name = '{name}';\n\
         END $fill$"
    )
}

/// Makes it a part of its table, once it has everything and everybody sees that, and no view reads the
/// table whatever its times are. The lock holds off who changes rows of the partition, for a moment.
pub(super) fn attach(table: &str, closed: &Closed) -> Step {
    let partition = &closed.partition;
    let name = leaf_name(table, partition);
    let unchanged = format!(
        "BEGIN IF EXISTS (SELECT FROM trunkline.materialized_changes c \
         JOIN trunkline.materialized_partitions p USING (id) WHERE p.name = '{name}') THEN \
         RAISE EXCEPTION 'rows have changed' USING ERRCODE = 'serialization_failure'; END IF; END"
    );
    Step {
        what: format!("attach trunkline_data.{name}"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.materialized_partitions p \
             JOIN pg_class c ON c.oid = to_regclass('trunkline_data.' || p.name) \
             WHERE p.name = $1 AND NOT p.is_ready AND p.filled_by IS NOT NULL \
             AND age(p.filled_by) > age(c.relfrozenxid) \
             AND NOT EXISTS (SELECT FROM trunkline.materialized_changes m WHERE m.id = p.id) \
             AND NOT EXISTS (SELECT FROM trunkline.relations r \
             WHERE r.materialized ->> 'table' = p.table_name \
             AND (r.materialized ->> 'whole')::boolean))",
            [&name],
        ),
        sql: format!(
            "LOCK TABLE trunkline_data.{partition} IN SHARE MODE;\n\
             DO {};\n\
             ALTER TABLE trunkline_data.{table} ATTACH PARTITION trunkline_data.{name} \
             FOR VALUES FROM ({}) TO ({});\n\
             UPDATE trunkline.materialized_partitions SET is_ready = true WHERE name = '{name}'",
            quote_literal(&unchanged),
            quote_literal(&closed.start),
            quote_literal(&closed.end)
        ),
        fix: rights(),
    }
}

/// Drops it, unless a view reads it.
pub(super) fn drop_leaf(leaf: &Leaf) -> Step {
    let Leaf { id, name, .. } = leaf;
    Step {
        what: format!("drop trunkline_data.{name}"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.materialized_partitions WHERE id = $1::bigint) \
             AND NOT EXISTS (SELECT FROM trunkline.relations r \
             CROSS JOIN LATERAL jsonb_array_elements(r.materialized -> 'leaves') AS l(leaf) \
             WHERE r.materialized IS NOT NULL AND (l.leaf ->> 0)::bigint = $1::bigint)",
            [&id.to_string()],
        ),
        sql: format!(
            "DROP TABLE IF EXISTS trunkline_data.{name};\n\
             DELETE FROM trunkline.materialized_changes WHERE id = {id};\n\
             DELETE FROM trunkline.materialized_partitions WHERE id = {id}"
        ),
        fix: rights(),
    }
}

/// Writes down that it is vacuumed. What has changed in the last minute may have come after that.
pub(super) fn forget_changes(leaf: &Leaf) -> Step {
    Step {
        what: format!("record that trunkline_data.{} is vacuumed", leaf.name),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.materialized_changes WHERE id = $1::bigint \
             AND changed_at < now() - interval '1 minute')",
            [&leaf.id.to_string()],
        ),
        sql: format!(
            "DELETE FROM trunkline.materialized_changes WHERE id = {}",
            leaf.id
        ),
        fix: rights(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(path: &[&str]) -> StoredColumn {
        StoredColumn {
            name: "c".to_owned(),
            sql_type: "text",
            value: String::new(),
            paths: vec![path.iter().map(|key| (*key).to_owned()).collect()],
        }
    }

    #[test]
    fn what_no_event_has_a_key_for_has_no_value() {
        let keys = |keys: &[&[&str]]| -> BTreeSet<String> {
            keys.iter().map(|it| it.join("\u{1f}")).collect()
        };
        let there = keys(&[
            &["properties", "plan"],
            &["context", "app"],
            &["context", "app", "name"],
            &["context", "tags"],
            &["context", "tags", ""],
        ]);
        for (path, expected) in [
            (&["properties", "total"][..], true),
            (&["properties", "plan"], false),
            (&["properties", "plan", "id"], true),
            (&["context", "app", "build"], true),
            (&["context", "app", "name"], false),
            (&["context", "app", "name", "x"], false),
            (&["context", "tags", "0"], false),
            (&["properties"], false),
        ] {
            assert_eq!(lacks(&there, &column(path)), expected, "{path:?}");
        }
        let array = keys(&[&["properties", ""]]);
        assert!(!lacks(&array, &column(&["properties", "0"])));
        assert!(lacks(&array, &column(&["traits", "0"])));
        assert!(!lacks(&keys(&[&[""]]), &column(&["traits", "plan"])));
        let mut both = column(&["properties", "total"]);
        both.paths.push(vec!["properties".into(), "plan".into()]);
        assert!(!lacks(&there, &both));
    }
}
