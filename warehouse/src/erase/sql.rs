//! The statements. Pure.
//!
//! Parameters: `$1` and `$2` the range of the portion; `$3` and `$4` the identities by user and by
//! anonymous id; `$5` to `$7` the number, kind and value of each; `$8` the sources.

use trunkline_model::names::quote_literal;

use super::portions::Portion;

/// Begins purges of kinds `$1` and hashes `$2`, in the sources `$3`.
pub(super) const RECORD: &str = "\
INSERT INTO trunkline.purges (kind, id_sha256, sources) \
SELECT w.kind, w.hash, $3 FROM unnest($1, $2) AS w(kind, hash) \
RETURNING kind, id_sha256, id";

/// Ends the purges `$1`.
pub(super) const FINISH: &str =
    "UPDATE trunkline.purges SET finished_at = now() WHERE id = ANY ($1)";

/// The former identity of an alias call, which names its person too.
const PREVIOUS: &str = "e.\"body_json\" ->> 'previousId'";

/// Deletes the rows of the identities, and counts them where the purges are recorded. The partition
/// is to be vacuumed once more, also when its time was over.
pub(super) fn delete(portion: &Portion) -> String {
    let table = &portion.table;
    format!(
        "WITH found AS (\n  DELETE FROM {table} AS e WHERE {}\n  RETURNING {}\n),\n\
         counted AS (\n  {COUNTED}\n),\n\
         recorded AS (\n  UPDATE trunkline.purges AS p SET rows = p.rows + c.rows FROM counted AS c \
         WHERE p.id = c.number\n),\n\
         thawed AS (\n  DELETE FROM trunkline.frozen_partitions WHERE partition = {}::regclass \
         AND EXISTS (SELECT FROM found)\n)\n\
         SELECT number, rows FROM counted",
        condition(portion),
        whose(),
        quote_literal(table)
    )
}

/// Counts the same rows.
pub(super) fn count(portion: &Portion) -> String {
    format!(
        "WITH found AS (\n  SELECT {} FROM {} AS e WHERE {}\n)\n{COUNTED}",
        whose(),
        portion.table,
        condition(portion)
    )
}

/// The identities of `delete` events; `$3` are the sources.
pub(super) fn deletions(portion: &Portion) -> String {
    format!(
        "SELECT DISTINCT e.\"user_id\", e.\"anonymous_id\" FROM {} AS e WHERE {}{} \
         AND e.\"type\" = 'delete' AND e.\"auth_scope\" <> 'failed'",
        portion.table,
        RANGE,
        of_sources(portion, 3)
    )
}

/// How many of the found rows are of which number.
const COUNTED: &str = "SELECT w.number, count(*) AS rows FROM found AS f \
     JOIN unnest($5, $6, $7) AS w(number, kind, value) ON w.kind = f.kind AND w.value = f.value \
     GROUP BY w.number";

const RANGE: &str = "e.ctid >= $1::tid AND e.ctid < $2::tid";

fn of_sources(portion: &Portion, parameter: u8) -> String {
    if portion.is_part {
        format!(" AND e.\"source\" COLLATE \"C\" = ANY (${parameter})")
    } else {
        String::new()
    }
}

/// Is true of the rows that name one of the identities.
fn condition(portion: &Portion) -> String {
    format!(
        "{RANGE}{} AND (e.\"user_id\" = ANY ($3) OR e.\"anonymous_id\" = ANY ($4) \
         OR e.\"type\" = 'alias' AND {PREVIOUS} = ANY ($3 || $4))",
        of_sources(portion, 8)
    )
}

/// Kind and value of the identity that a row counts for: one, if it names several.
fn whose() -> String {
    format!(
        "CASE WHEN e.\"user_id\" = ANY ($3) THEN 'user_id' \
         WHEN e.\"anonymous_id\" = ANY ($4) THEN 'anonymous_id' \
         WHEN {PREVIOUS} = ANY ($3) THEN 'user_id' ELSE 'anonymous_id' END AS kind, \
         CASE WHEN e.\"user_id\" = ANY ($3) THEN e.\"user_id\" \
         WHEN e.\"anonymous_id\" = ANY ($4) THEN e.\"anonymous_id\" ELSE {PREVIOUS} END AS value"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portion(is_part: bool) -> Portion {
        Portion {
            table: "trunkline_data.bucket_7_20261124".to_owned(),
            start: "(0,0)".to_owned(),
            end: "(4096,0)".to_owned(),
            is_part,
            sources: vec!["a/shop".to_owned()],
        }
    }

    #[test]
    fn rows_of_others_are_left_where_sources_share_a_partition() {
        let own = "\"source\" COLLATE \"C\" = ANY ($";
        for sql in [delete, count, deletions] {
            assert!(sql(&portion(true)).contains(own), "{}", sql(&portion(true)));
            assert!(
                !sql(&portion(false)).contains(own),
                "{}",
                sql(&portion(false))
            );
        }
    }

    #[test]
    fn what_is_counted_is_what_is_deleted() {
        let (delete, count) = (delete(&portion(true)), count(&portion(true)));
        let condition = condition(&portion(true));
        assert!(delete.contains(&condition) && count.contains(&condition));
        assert!(
            !count.contains("DELETE") && !count.contains("UPDATE"),
            "{count}"
        );
    }
}
