//! Messages that arrive again: marked when they are stored, so that the analysts' relations show each
//! once and need no DISTINCT.
//!
//! ```text
//! a leaf of a source with such relations   UNIQUE (message_id) WHERE NOT dup AND NOT unsettled
//! trunkline.repeats(bucket, …)             which messages are there; what ingesters ask
//! settle                                   what no index of a leaf can see, every few minutes
//! ```
//!
//! The leaf's own index is what makes it exact, for all ingesters together: a table of recent keys
//! beside it costs three times as much (10 µs for each row against 3, measured).
//!
//! Invariants:
//! - Of one message a leaf with the index shows one row, from the moment of its commit.
//! - Rows of one message that are up to [`LOOK_BACK`] apart are one row for readers within minutes,
//!   whichever leaves they are in.
//! - No row is ever refused for it, nor deleted: `<schema>.events` shows all of them.

mod leaves;
mod settle;

use trunkline_model::repeats::{FUNCTION, INDEX_SUFFIX, MAX_MESSAGE_ID_BYTES};

use crate::catalog::LEAF_BOUNDS;
use crate::partitions::own;
use crate::step::{Step, Test};

pub(crate) use settle::settle;

/// How far apart two rows of one message may be. Segment repeats for four hours; the rest is for
/// senders that try for a day.
const LOOK_BACK: &str = "26 hours";

/// The schema of the partitions.
const SCHEMA: &str = "trunkline_data";

/// The arguments of [`FUNCTION`], as `to_regprocedure` and GRANT want them.
const ARGUMENTS: &str = "(integer, text[], text[])";

/// The function as GRANT names it.
pub(crate) fn function() -> String {
    format!("{FUNCTION}{ARGUMENTS}")
}

/// What is true of the rows that the index of a leaf holds.
fn indexed() -> String {
    format!("NOT dup AND NOT unsettled AND octet_length(message_id) <= {MAX_MESSAGE_ID_BYTES}")
}

/// The indexes of a leaf, to be made while nothing is in it.
///
/// By bytes, which costs less than the order of a language and survives an upgrade of the system's
/// locales.
pub(crate) fn indexes(table: &str, is_shared: bool) -> String {
    let source = if is_shared {
        "source COLLATE \"C\", "
    } else {
        ""
    };
    let name = unqualified(table);
    // To find the latest rows of all sources, when they are compared with earlier ones.
    let by_time = if is_shared {
        format!(";\nCREATE INDEX {name}_received_at_brin ON {table} USING brin (received_at)")
    } else {
        String::new()
    };
    format!(
        "CREATE UNIQUE INDEX {name}{INDEX_SUFFIX} ON {table} \
         ({source}message_id COLLATE \"C\") WHERE {};\n\
         CREATE INDEX {name}_unsettled_idx ON {table} (received_at) WHERE unsettled{by_time}",
        indexed()
    )
}

/// The same for a leaf that was made without: whoever reads or writes it does not wait for long, since
/// its time has not come.
fn index_ahead(table: &str, is_shared: bool) -> Step {
    Step {
        what: format!("index the messages of {table}"),
        needed: Test::new(
            "to_regclass($1) IS NOT NULL AND to_regclass($2) IS NULL",
            [table, &format!("{table}{INDEX_SUFFIX}")],
        ),
        sql: indexes(table, is_shared),
        fix: own(table),
    }
}

fn unqualified(table: &str) -> &str {
    table.rsplit_once('.').map_or(table, |(_, name)| name)
}

/// The function, and how far each leaf is settled.
///
/// The function reads nothing but the index: a plan that reads a whole leaf instead would be slower
/// than any deadline of an ingester's. It tells whoever may insert whether a message is there, and
/// nothing else.
pub(crate) fn catalog() -> String {
    let indexed = indexed();
    format!(
        "\
CREATE FUNCTION {FUNCTION}(of_bucket integer, sources text[], message_ids text[])
RETURNS SETOF integer LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
SET search_path = '' SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $function$
DECLARE
  leaf text;
BEGIN
  FOR leaf IN
    SELECT c.relname FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds)
    WHERE i.inhparent = pg_catalog.to_regclass('{SCHEMA}.bucket_' || of_bucket)
      AND NOT i.inhdetachpending
      AND r.bounds[1]::timestamptz <= now()
      AND r.bounds[2]::timestamptz > now() - interval '{LOOK_BACK}'
      AND pg_catalog.to_regclass('{SCHEMA}.' || c.relname || '{INDEX_SUFFIX}') IS NOT NULL
  LOOP
    RETURN QUERY EXECUTE format(
      'SELECT k.n::integer FROM unnest($1, $2) WITH ORDINALITY AS k(source, id, n)
       WHERE EXISTS (SELECT FROM {SCHEMA}.%I WHERE source COLLATE \"C\" = k.source
         AND message_id COLLATE \"C\" = k.id AND {indexed})', leaf)
    USING sources, message_ids;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION {FUNCTION} IS \
'Which of these messages a bucket has stored, by their places in the arrays; for ingesters.';
REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC;
CREATE TABLE trunkline.settled_partitions (
  partition oid PRIMARY KEY,
  settled_until timestamptz NOT NULL
);
COMMENT ON TABLE trunkline.settled_partitions IS \
'Until what received_at the rows of each partition were compared with those of earlier partitions.';
COMMENT ON COLUMN trunkline.settled_partitions.partition IS \
'The oid of the table in the schema trunkline_data.';
REVOKE ALL ON trunkline.settled_partitions FROM PUBLIC"
    )
}

/// Lets a role ask.
pub(crate) fn grant(role: &str) -> String {
    format!("GRANT EXECUTE ON FUNCTION {} TO {role}", function())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_of_several_sources_tells_them_apart() {
        let own = indexes("trunkline_data.bucket_7_20261231", false);
        assert!(
            own.starts_with(
                "CREATE UNIQUE INDEX bucket_7_20261231_message_id_key \
                 ON trunkline_data.bucket_7_20261231 (message_id COLLATE \"C\") WHERE NOT dup"
            ),
            "{own}"
        );
        let shared = indexes("trunkline_data.bucket_7_20261231", true);
        assert!(
            shared.contains("(source COLLATE \"C\", message_id COLLATE \"C\")"),
            "{shared}"
        );
    }

    #[test]
    fn the_name_of_the_index_leads_to_the_bucket() {
        let name = format!("bucket_2147483647_2026112423{INDEX_SUFFIX}");
        assert!(name.len() <= 63);
        assert_eq!(
            trunkline_model::repeats::bucket_of_index(&name),
            Some(i32::MAX)
        );
    }
}
