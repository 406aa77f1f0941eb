//! What PostgreSQL does too late or not at all by itself: freezes partitions whose time is over, and
//! keeps the statistics of the tables above them. Before that, repeats are marked, and keys of events
//! whose repeats may be stored again are forgotten; after it, rows are materialised.
//!
//! Rows are only ever inserted. A vacuum freezes them nearly for nothing while they are in memory;
//! the one that PostgreSQL forces later, when their transactions get old, writes as much WAL as they
//! are large. And it never analyzes a partitioned table, whose statistics the planner takes for a
//! query over many partitions.
//!
//! Invariants:
//! - Nobody waits: VACUUM without truncation and ANALYZE take SHARE UPDATE EXCLUSIVE, with which
//!   neither COPY nor SELECT conflicts.
//! - Who has few processors keeps them: a statement pauses as autovacuum does, and is followed by a
//!   pause.
//! - One statement at a time. What is cut short goes on at the next call: pages that are frozen are
//!   skipped.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::{Client, Row};
use trunkline_model::columns::{COLUMNS, Column};
use trunkline_model::names::quote_literal;
use trunkline_pgconn::Target;

use crate::apply::{CURRENT_ROLE, field, read, run, run_long};
use crate::catalog::{LEAF_BOUNDS, WRITTEN_UNTIL};
use crate::connection;
use crate::error::Error;
use crate::materialize;
use crate::partitions::TABLE_NAME;
use crate::repeats;
use crate::seen_keys;
use crate::step::{Outcome, PendingReason, PendingStep, Report, Step, Test};

/// Which partitions have been vacuumed after their time. By oid: a table that a backup has brought
/// back is another one, and not frozen.
pub(crate) const CATALOG: &str = "\
CREATE TABLE trunkline.frozen_partitions (
  partition oid PRIMARY KEY,
  frozen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE trunkline.frozen_partitions IS \
'Partitions that were vacuumed and frozen once their time was over.';
COMMENT ON COLUMN trunkline.frozen_partitions.partition IS \
'The oid of the table in the schema trunkline_data.';
REVOKE ALL ON trunkline.frozen_partitions FROM PUBLIC";

/// The longest pause after a table. It is as long as the work on the table was, so that a machine
/// with few processors has one for its senders.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Does all that is due, and says what it did.
pub(crate) async fn upkeep(client: &Client, owner: &Target) -> Result<Report, Error> {
    let (mut report, mut failure) = (Report::default(), None);
    // First, since a row that is marked is one to freeze.
    absorb(
        &mut report,
        &mut failure,
        repeats::settle(client, owner).await,
    )?;
    absorb(&mut report, &mut failure, seen_keys::forget(client).await)?;
    let closed = closed(client).await?;
    let unknown = unknown(client).await?;
    if !closed.is_empty() || !unknown.is_empty() {
        freeze_and_analyze(client, owner, closed, unknown, &mut report, &mut failure).await?;
    }
    // Last, since it rests on what is settled, and takes longest.
    // In a box, as all of these: they are large, and callers hold them within futures of their own.
    let kept = Box::pin(materialize::keep(client, owner)).await;
    absorb(&mut report, &mut failure, kept)?;
    failure.map_or(Ok(report), Err)
}

/// Freezes the `closed` tables, and analyzes those that are `unknown`.
async fn freeze_and_analyze(
    client: &Client,
    owner: &Target,
    closed: Vec<Due>,
    unknown: Vec<Due>,
    report: &mut Report,
    failure: &mut Option<Error>,
) -> Result<(), Error> {
    let connected = connection::open(owner).await?;
    for Due { table, statement } in closed {
        let doing = format!("freeze {table}");
        let freeze = async {
            match run_long(&connected, &doing, &statement).await {
                Ok(Outcome::Done) => run(client, &record(&table)).await,
                outcome => outcome,
            }
        };
        let outcome = then_pause(freeze).await;
        note(report, failure, doing, outcome)?;
    }
    for Due { table, statement } in unknown {
        let doing = format!("analyze {table}");
        let outcome = then_pause(run_long(&connected, &doing, &statement)).await;
        note(report, failure, doing, outcome)?;
    }
    Ok(())
}

/// Keeps what came of a part of the work; only what concerns all of it ends it.
fn absorb(
    report: &mut Report,
    failure: &mut Option<Error>,
    done: Result<Report, Error>,
) -> Result<(), Error> {
    match done {
        Ok(done) => report.absorb(done),
        Err(error) if error.is_local() => {
            failure.get_or_insert(error);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Does the work on one table, and pauses.
pub(crate) async fn then_pause<T>(work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    sleep(begun.elapsed().min(LONGEST_PAUSE)).await;
    done
}

/// Keeps what became of one table; only what concerns all of them ends the work.
fn note(
    report: &mut Report,
    failure: &mut Option<Error>,
    doing: String,
    outcome: Result<Outcome, Error>,
) -> Result<(), Error> {
    match outcome {
        Ok(Outcome::Done) => {
            tracing::debug!(step = doing, "upkeep");
            report.changed.push(doing);
        }
        Ok(Outcome::NotNeeded) => {}
        Ok(Outcome::Locked) => report.pending.push(PendingStep {
            step: doing,
            reason: PendingReason::Locked,
        }),
        // It was dropped meanwhile.
        Err(error) if error.is_gone() => {}
        Err(error) if error.is_local() => {
            failure.get_or_insert(error);
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Partitions whose time is over, and in which nobody can still be writing, the oldest first.
async fn closed(client: &Client) -> Result<Vec<Due>, Error> {
    let doing = "look for partitions whose time is over";
    let columns = columns_to_analyze();
    let sql = format!(
        "SELECT 'trunkline_data.' || c.relname, 'VACUUM (FREEZE, ANALYZE, TRUNCATE FALSE) \
         trunkline_data.' || c.relname || ' (' || {columns} || ')' FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'trunkline_data' \
         JOIN pg_inherits i ON i.inhrelid = c.oid AND NOT i.inhdetachpending \
         CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds) \
         WHERE c.relkind = 'r' AND c.relname ~ '{TABLE_NAME}' \
         AND NOT EXISTS (SELECT FROM trunkline.frozen_partitions WHERE partition = c.oid) \
         AND r.bounds[2]::timestamptz < {WRITTEN_UNTIL} \
         ORDER BY r.bounds[2]::timestamptz, c.relname"
    );
    let rows = read(client, doing, &sql, &[]).await?;
    rows.iter().map(|row| Due::of(row, doing)).collect()
}

/// What takes longest to compare, and what nobody compares: autovacuum has learnt how wide they are
/// while the partition was written to.
///
/// Of a bucket it would be harmful to know that no two bodies are equal: the planner takes a property
/// to have as many values as there are bodies, and sorts the events, bodies and all, to group them by
/// a property that has a dozen (measured: 0.6 s for 200,000 events in place of 0.25).
const WIDE: [Column; 5] = [
    Column::Headers,
    Column::HeaderValues,
    Column::BodyJson,
    Column::BodyText,
    Column::Raw,
];

/// A list, in SQL, of the columns of the table `c` whose statistics are made.
fn columns_to_analyze() -> String {
    let wide = COLUMNS
        .iter()
        .filter(|spec| WIDE.contains(&spec.column))
        .map(|spec| quote_literal(spec.name))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "(SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute \
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attname NOT IN ({wide}))"
    )
}

/// A table, and what is to be run for it.
struct Due {
    table: String,
    statement: String,
}

impl Due {
    /// Of a row of both.
    fn of(row: &Row, doing: &str) -> Result<Self, Error> {
        Ok(Self {
            table: field(row, doing, 0)?,
            statement: field(row, doing, 1)?,
        })
    }
}

/// Buckets whose statistics are older than a day, the oldest first. The server remembers when they
/// were made; when it forgets, after a crash, they are made again.
///
/// The partitions have theirs from the vacuum that froze them, or by autovacuum while they are
/// written to. Before PostgreSQL 18, whose ANALYZE can do without, they are made again with the
/// bucket's.
async fn unknown(client: &Client) -> Result<Vec<Due>, Error> {
    let doing = "look for old statistics";
    let columns = columns_to_analyze();
    let sql = format!(
        "SELECT 'trunkline_data.' || c.relname, 'ANALYZE ' \
         || CASE WHEN current_setting('server_version_num')::integer >= 180000 THEN 'ONLY ' ELSE '' END \
         || 'trunkline_data.' || c.relname || ' (' || {columns} || ')' FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'trunkline_data' \
         WHERE c.relkind = 'p' AND c.relispartition AND c.relname ~ '{TABLE_NAME}' \
         AND coalesce(pg_stat_get_last_analyze_time(c.oid) < now() - interval '24 hours', true) \
         ORDER BY pg_stat_get_last_analyze_time(c.oid) NULLS FIRST, c.relname"
    );
    let rows = read(client, doing, &sql, &[]).await?;
    rows.iter().map(|row| Due::of(row, doing)).collect()
}

/// Writes down that a partition is frozen, and forgets those that are gone.
fn record(table: &str) -> Step {
    Step {
        what: format!("record that {table} is frozen"),
        needed: Test::new("to_regclass($1) IS NOT NULL", [table]),
        sql: format!(
            "INSERT INTO trunkline.frozen_partitions (partition) VALUES (to_regclass('{table}')) \
             ON CONFLICT DO NOTHING;\n\
             DELETE FROM trunkline.frozen_partitions f \
             WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = f.partition)"
        ),
        fix: format!("ALTER TABLE trunkline.frozen_partitions OWNER TO {CURRENT_ROLE}"),
    }
}
