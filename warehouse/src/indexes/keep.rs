//! Brings indexes to partitions that are there, and takes away those that nobody asks for any more:
//! one at a time, the newest partition first, while nothing else is to be done.
//!
//! A partition that is over, of a source with relations, gets the one on events without being asked: no
//! sender pays for it, and a question about one event of yesterday reads all of yesterday without it.
//! Where relations are in tables of their own, these are asked.
//!
//! Invariants:
//! - Nobody waits. CREATE and DROP INDEX CONCURRENTLY take SHARE UPDATE EXCLUSIVE, with which neither
//!   COPY nor SELECT conflicts; it is they that wait for transactions that began before.
//! - What was cut short is not valid, which the server remembers: it is dropped and made again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use trunkline_model::names::{ClusterName, SourceName, quote_literal};
use trunkline_pgconn::Target;

use super::{LeafIndex, refused};
use crate::apply::{field, read, run, run_long, run_patiently};
use crate::catalog::{LEAF_BOUNDS, WRITTEN_UNTIL};
use crate::connection;
use crate::error::{Error, chain};
use crate::partitions::TABLE_NAME;
use crate::step::{Outcome, PendingReason, PendingStep, Report};

/// Up to how many pages of 8 kB a partition gets the index on events without being asked: 32 GB, with
/// which a machine is busy for some minutes. Who stores more in a day knows what for.
const PAGES_UNASKED: u32 = 4 << 20;

/// After how long nothing more is begun: the caller has other things to do too.
const BEGUN_WITHIN: Duration = Duration::from_secs(300);

/// What became of the indexes of a cluster's sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexed {
    /// What was made and dropped, and what others are in the way of.
    pub report: Report,
    /// Why some could not be made or dropped, for the owner of each source.
    pub troubles: BTreeMap<SourceName, String>,
}

/// What is to be done about one index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    source: String,
    /// `trunkline_data.bucket_7_20261124`.
    table: String,
    index: LeafIndex,
    /// Whether there is one, which is not valid or not wanted.
    drops: bool,
    /// Whether it is to be there.
    makes: bool,
    /// Whether it is to be there without being asked for.
    is_unasked: bool,
}

/// Makes and drops what is due for the sources of a cluster.
pub(crate) async fn keep(
    client: &Client,
    owner: &Target,
    cluster: &ClusterName,
) -> Result<Indexed, Error> {
    let begun = Instant::now();
    let mut indexed = Indexed::default();
    let tasks = due(client, cluster).await?;
    if tasks.is_empty() {
        return Ok(indexed);
    }
    let connected = connection::open(owner).await?;
    for task in tasks {
        if begun.elapsed() > BEGUN_WITHIN {
            break;
        }
        for (doing, sql, is_patient) in task.statements() {
            let done = if is_patient {
                run_patiently(&connected, &doing, &sql).await
            } else {
                run_long(&connected, &doing, &sql).await
            };
            match done {
                Ok(Outcome::Done) => {
                    // At once: the caller may not wait for the others.
                    tracing::info!(step = doing, "indexes");
                    indexed.report.changed.push(doing);
                }
                Ok(Outcome::NotNeeded) => {}
                Ok(Outcome::Locked) => {
                    indexed.report.pending.push(PendingStep {
                        step: doing,
                        reason: PendingReason::Locked,
                    });
                    break;
                }
                Err(error) if is_overtaken(&error) => break,
                Err(error) if task.is_unasked && is_too_long(&error) => {
                    // What it left behind is dropped at the next look.
                    let step = refused(&task.table);
                    let outcome = run(client, &step).await?;
                    indexed.report.add(&step, outcome);
                    break;
                }
                Err(error) if error.is_local() => {
                    if let Ok(source) = task.source.parse() {
                        indexed
                            .troubles
                            .entry(source)
                            .or_insert_with(|| chain(&error));
                    }
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(indexed)
}

/// Whether the partition is gone, or another process was faster.
fn is_overtaken(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            &SqlState::UNDEFINED_TABLE,
            &SqlState::UNDEFINED_OBJECT,
            &SqlState::DUPLICATE_TABLE,
            &SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(&code)
    })
}

/// Whether a value is longer than an index holds.
fn is_too_long(error: &Error) -> bool {
    error.code() == Some(&SqlState::PROGRAM_LIMIT_EXCEEDED)
}

impl Task {
    /// What is done and how, in order, and whether it waits for others for as long as it takes.
    ///
    /// To drop is tried for a moment only: what is not valid may be one that another process is making.
    fn statements(&self) -> Vec<(String, String, bool)> {
        let Self { table, index, .. } = self;
        let name = format!("{table}{}", index.suffix());
        let drop = self.drops.then(|| {
            let sql = format!("DROP INDEX CONCURRENTLY {name}");
            (format!("drop the index {name}"), sql, false)
        });
        let make = self.makes.then(|| {
            let sql = index.create(table, "CONCURRENTLY ");
            (format!("make the index {name}"), sql, true)
        });
        drop.into_iter().chain(make).collect()
    }
}

/// The partitions of sources that are served and have some of their own, each with every index that
/// there can be: whether its source asks for it, or else it is due anyway, and whether it is there and valid.
fn state() -> String {
    let kinds: Vec<_> = LeafIndex::ALL
        .iter()
        .zip(0..)
        .map(|(index, number)| {
            format!(
                "({number}, {}, {})",
                quote_literal(index.as_str()),
                quote_literal(index.suffix())
            )
        })
        .collect();
    let unasked = quote_literal(LeafIndex::Event.as_str());
    format!(
        "SELECT s.bucket AS number, s.source, 'trunkline_data.' || c.relname AS leaf, k.kind, \
         k.name = ANY (s.indexes) AS is_asked, \
         k.name = {unasked} AND s.layout IS NOT NULL AND NOT s.materialized \
         AND f.index_refused_at IS NULL AND c.relpages <= {PAGES_UNASKED} \
         AND r.bounds[2]::timestamptz < {WRITTEN_UNTIL} \
         AND (f.partition IS NOT NULL OR x.indexrelid IS NOT NULL) AS is_unasked, \
         x.indexrelid IS NOT NULL AS is_there, \
         coalesce(x.indisvalid, false) AS is_valid, r.bounds[1]::timestamptz AS begins \
         FROM trunkline.sources s \
         JOIN pg_inherits i ON i.inhparent = to_regclass('trunkline_data.bucket_' || s.bucket) \
         AND NOT i.inhdetachpending \
         JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind = 'r' AND c.relname ~ '{TABLE_NAME}' \
         CROSS JOIN LATERAL {LEAF_BOUNDS} AS r(bounds) \
         CROSS JOIN (VALUES {}) AS k(kind, name, suffix) \
         LEFT JOIN pg_class n ON n.relnamespace = c.relnamespace AND n.relkind = 'i' \
         AND n.relname = c.relname || k.suffix \
         LEFT JOIN pg_index x ON x.indexrelid = n.oid AND x.indrelid = c.oid \
         LEFT JOIN trunkline.frozen_partitions f ON f.partition = c.oid \
         WHERE s.shared_bucket IS NULL AND s.removed_at IS NULL AND s.cluster = $1",
        kinds.join(", ")
    )
}

/// What is to be done: the newest partitions first, since they are asked about most.
async fn due(client: &Client, cluster: &ClusterName) -> Result<Vec<Task>, Error> {
    let doing = "look for indexes of partitions";
    let sql = format!(
        "SELECT source, leaf, kind, is_there, is_asked OR is_unasked, NOT is_asked FROM ({}) AS s \
         WHERE (is_asked OR is_unasked) <> is_valid OR is_there AND NOT is_valid \
         ORDER BY begins DESC, source, kind",
        state()
    );
    let cluster = cluster.to_string();
    let rows = read(client, doing, &sql, &[(&cluster, Type::TEXT)]).await?;
    let task = |row: &Row| {
        let kind: i32 = field(row, doing, 2)?;
        let index = usize::try_from(kind)
            .ok()
            .and_then(|kind| LeafIndex::ALL.get(kind));
        let Some(&index) = index else { return Ok(None) };
        Ok(Some(Task {
            source: field(row, doing, 0)?,
            table: field(row, doing, 1)?,
            index,
            drops: field(row, doing, 3)?,
            makes: field(row, doing, 4)?,
            is_unasked: field(row, doing, 5)?,
        }))
    };
    let tasks = rows.iter().map(task).collect::<Result<Vec<_>, Error>>()?;
    Ok(tasks.into_iter().flatten().collect())
}

/// What the owner of each source should know of indexes that are not there yet, by its number.
pub(crate) async fn lacking(
    client: &Client,
    cluster: &ClusterName,
) -> Result<BTreeMap<i32, String>, Error> {
    let doing = "count indexes of partitions";
    let sql = format!(
        "SELECT number, count(*) FILTER (WHERE NOT is_valid), count(*) FROM ({}) AS s \
         WHERE is_asked GROUP BY number HAVING count(*) FILTER (WHERE NOT is_valid) > 0",
        state()
    );
    let cluster = cluster.to_string();
    let rows = read(client, doing, &sql, &[(&cluster, Type::TEXT)]).await?;
    let note = |row: &Row| {
        let (lacking, all): (i64, i64) = (field(row, doing, 1)?, field(row, doing, 2)?);
        let note = format!(
            "{lacking} of {all} indexes that spec.indexes asks for on partitions are not there yet; \
             they are made one at a time, the newest first"
        );
        Ok((field(row, doing, 0)?, note))
    };
    rows.iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(drops: bool, makes: bool) -> Vec<String> {
        let task = Task {
            source: "a/shop".to_owned(),
            table: "trunkline_data.bucket_7_20261124".to_owned(),
            index: LeafIndex::UserId,
            drops,
            makes,
            is_unasked: false,
        };
        let statements = task.statements().into_iter();
        statements.map(|(_, sql, _)| sql).collect()
    }

    #[test]
    fn what_is_not_valid_is_dropped_and_made_again_and_nobody_waits_for_either() {
        let make = "CREATE INDEX CONCURRENTLY bucket_7_20261124_by_user_id \
                    ON trunkline_data.bucket_7_20261124 (user_id) WHERE user_id IS NOT NULL";
        let drop = "DROP INDEX CONCURRENTLY trunkline_data.bucket_7_20261124_by_user_id";
        assert_eq!(statements(false, true), [make]);
        assert_eq!(statements(true, true), [drop, make]);
        assert_eq!(statements(true, false), [drop]);
    }
}
