//! What keeps repeats from being stored at all, of sources that ask for that: a key for each event,
//! for as long as its repeats are kept out.
//!
//! Ingesters take keys in the transaction of the commit. A key is a hash of the source, of what its
//! repeats are told by, and of the value.
//!
//! Invariants:
//! - A key is taken by one transaction alone until its time is over, by the database's clock. A repeat
//!   does not make that time longer.
//! - Keys are taken in their order, so that no two commits wait for each other; another commit with
//!   the same key waits until the first has ended.
//! - Ingesters may take keys, and neither read nor change them otherwise.
//! - Forgetting keys makes nobody wait: it takes those that nobody holds, some at a time.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;
use trunkline_model::deduplication::FUNCTION;

use crate::apply::{change, column, read};
use crate::error::Error;
use crate::step::Report;

/// The table of keys.
const SEEN_KEYS: &str = "trunkline.seen_keys";

/// The arguments of [`FUNCTION`], as `to_regprocedure` and GRANT want them.
const ARGUMENTS: &str = "(uuid[], integer[])";

/// Keys that are forgotten in one transaction: some tens of milliseconds.
const FORGOTTEN_AT_ONCE: i64 = 10_000;

/// The longest pause between two such transactions. It is as long as the one before was.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The function as GRANT names it.
pub(crate) fn function() -> String {
    format!("{FUNCTION}{ARGUMENTS}")
}

/// Lets a role take keys.
pub(crate) fn grant(role: &str) -> String {
    format!("GRANT EXECUTE ON FUNCTION {} TO {role}", function())
}

/// The table and the function.
///
/// The index on `until` lets keys be forgotten without reading all of them; those of one commit are
/// alike in it, so that it stays small. Rows are inserted and deleted and hardly ever updated, and are
/// gone before they would have to be frozen: a vacuum for insertions would read for nothing. One for
/// deletions comes when a tenth is gone, since what is free then is what is inserted into next.
pub(crate) fn catalog() -> String {
    format!(
        "\
CREATE TABLE {SEEN_KEYS} (
  key uuid PRIMARY KEY,
  until timestamptz NOT NULL
) WITH (autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_scale_factor = 0.1);
CREATE INDEX seen_keys_until_idx ON {SEEN_KEYS} (until);
COMMENT ON TABLE {SEEN_KEYS} IS \
'Events whose repeats are not stored, of sources with spec.deduplicate.';
COMMENT ON COLUMN {SEEN_KEYS}.key IS \
'First 16 bytes of SHA-256 over the source, its bucket, what repeats are told by, and the value.';
COMMENT ON COLUMN {SEEN_KEYS}.until IS \
'Until when an event with the key is a repeat. Later the key is forgotten.';
REVOKE ALL ON {SEEN_KEYS} FROM PUBLIC;
CREATE FUNCTION {FUNCTION}(of_keys uuid[], for_seconds integer[])
RETURNS SETOF uuid LANGUAGE plpgsql STRICT SECURITY DEFINER
SET search_path = '' SET jit = off
AS $function$
BEGIN
  RETURN QUERY
  INSERT INTO {SEEN_KEYS} AS seen (key, until)
  SELECT k.key, now() + pg_catalog.make_interval(secs => k.seconds)
  FROM unnest(of_keys, for_seconds) AS k(key, seconds)
  ORDER BY k.key
  ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE seen.until <= now()
  RETURNING seen.key;
END
$function$;
COMMENT ON FUNCTION {FUNCTION} IS \
'Takes keys that are not taken, each for so many seconds, and returns them; for ingesters.';
REVOKE ALL ON FUNCTION {FUNCTION} FROM PUBLIC"
    )
}

/// Forgets keys whose time is over.
pub(crate) async fn forget(client: &Client) -> Result<Report, Error> {
    let doing = "forget keys of events whose repeats may be stored again";
    let is_due = format!("SELECT EXISTS (SELECT FROM {SEEN_KEYS} WHERE until <= now())");
    let mut report = Report::default();
    if !column(&read(client, doing, &is_due, &[]).await?, doing, 0)? {
        return Ok(report);
    }
    let sql = forgetting();
    loop {
        let begun = Instant::now();
        let rows = change(client, doing, &sql, &[]).await?;
        let forgotten: i64 = column(&rows, doing, 0)?;
        if forgotten < FORGOTTEN_AT_ONCE {
            break;
        }
        sleep(begun.elapsed().min(LONGEST_PAUSE)).await;
    }
    report.changed.push(doing.to_owned());
    Ok(report)
}

/// Deletes some keys whose time is over and which no ingester is about to take, and counts them.
fn forgetting() -> String {
    format!(
        "WITH due AS (SELECT ctid FROM {SEEN_KEYS} WHERE until <= now() ORDER BY until \
         LIMIT {FORGOTTEN_AT_ONCE} FOR UPDATE SKIP LOCKED), \
         gone AS (DELETE FROM {SEEN_KEYS} WHERE ctid = ANY(ARRAY(SELECT ctid FROM due)) \
         AND until <= now() RETURNING key) \
         SELECT count(*) FROM gone"
    )
}
