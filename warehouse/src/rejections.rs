//! The log of refused requests, which ingesters write by sampling.
//!
//! Invariants:
//! - Whoever may read a source's events sees the refusals of that source; those of requests for no
//!   source are the owner's alone. The right is asked for at every query, so that nothing has to be
//!   recorded or taken back beside the right to read events.
//! - It is bounded in age and in rows of each source, whoever floods a source with what.

use tokio_postgres::Client;

use crate::apply::{CURRENT_ROLE, run_needed};
use crate::error::Error;
use crate::step::{Report, Step, Test};

/// What ingesters insert into and readers read: a view, so that a reader sees a part of it.
pub(crate) const REJECTIONS: &str = "trunkline.rejections";

/// How long a row stays, in days: over a long weekend, and no archive.
const KEPT_DAYS: u32 = 7;

/// How many rows of one source stay. A thousand sources that all are refused for weeks then take a
/// few hundred megabytes.
const KEPT_ROWS: u32 = 2_000;

/// The log. It is no partitioned table, since it stays small.
///
/// The view is one that PostgreSQL can insert through (one table, plain columns), and has no CHECK
/// OPTION: who inserts need not be one who reads. It joins the system catalogs by name and asks for
/// rights as `trunkline.webhook_sources` does.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline_data.rejections (
  occurred_at timestamptz NOT NULL DEFAULT now(),
  first_at timestamptz NOT NULL DEFAULT now(),
  source text,
  status smallint NOT NULL,
  reason text NOT NULL,
  detail text NOT NULL,
  count bigint NOT NULL DEFAULT 1,
  instance text
);
CREATE INDEX rejections_source_occurred_at_idx ON trunkline_data.rejections (source, occurred_at);
CREATE VIEW trunkline.rejections WITH (security_barrier = true) AS
SELECT occurred_at, first_at, source, status, reason, detail, count, instance
FROM trunkline_data.rejections
WHERE source IN (
  SELECT s.source FROM trunkline.sources s
  JOIN pg_catalog.pg_namespace n ON n.nspname = s.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'events'
  WHERE pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
) OR pg_catalog.has_table_privilege('trunkline_data.rejections'::regclass, 'SELECT');
COMMENT ON VIEW trunkline.rejections IS \
'Refused requests of the sources that you may read, counted by source, reason and minute.';
COMMENT ON COLUMN trunkline.rejections.occurred_at IS \
'When the last of the requests that the row stands for was refused.';
COMMENT ON COLUMN trunkline.rejections.first_at IS 'When the first of them was.';
COMMENT ON COLUMN trunkline.rejections.source IS \
'The WebhookSource, as namespace/name; NULL when no source has the path of the request.';
COMMENT ON COLUMN trunkline.rejections.status IS 'What the sender was answered.';
COMMENT ON COLUMN trunkline.rejections.reason IS 'Why, in a fixed word; docs/rejections.md lists them.';
COMMENT ON COLUMN trunkline.rejections.detail IS \
'Why, in a sentence for the owner, of the first of the requests.';
COMMENT ON COLUMN trunkline.rejections.count IS 'How many requests the row stands for.';
COMMENT ON COLUMN trunkline.rejections.instance IS 'The pod that refused them.';
REVOKE ALL ON trunkline_data.rejections, trunkline.rejections FROM PUBLIC";

/// Deletes what is older or more than what stays.
pub(crate) async fn prune(client: &Client) -> Result<Report, Error> {
    run_needed(client, &[prune_step()]).await
}

fn prune_step() -> Step {
    Step {
        what: "delete old rejections".to_owned(),
        needed: Test::new(
            "(EXISTS (SELECT FROM trunkline_data.rejections \
             WHERE occurred_at < now() - make_interval(days => $1::integer)) \
             OR EXISTS (SELECT FROM trunkline_data.rejections GROUP BY source \
             HAVING count(*) > $2::bigint))",
            [&KEPT_DAYS.to_string(), &KEPT_ROWS.to_string()],
        ),
        sql: format!(
            "DELETE FROM trunkline_data.rejections WHERE ctid IN (\
             SELECT r.ctid FROM (SELECT ctid, occurred_at, \
             row_number() OVER (PARTITION BY source ORDER BY occurred_at DESC) AS place \
             FROM trunkline_data.rejections) AS r \
             WHERE r.occurred_at < now() - make_interval(days => {KEPT_DAYS}) \
             OR r.place > {KEPT_ROWS})"
        ),
        fix: format!("ALTER TABLE trunkline_data.rejections OWNER TO {CURRENT_ROLE}"),
    }
}
