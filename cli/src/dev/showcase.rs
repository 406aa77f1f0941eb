//! `--send`: signed Segment events, single and in batches, and the view that shows them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use tokio_util::sync::CancellationToken;
use trunkline_operator::validate::Source;
use trunkline_pgconn::{Target, connect};

use super::database::Database;
use super::output::Output;
use super::state::State;
use crate::app::signable;
use crate::send::{Content, Plan, Sender, Target as Url};

/// Events per request of the second half.
const BATCH: usize = 20;

/// Sends half of `count` events one by one and half in batches, then counts the view. Whether
/// every event was acknowledged.
pub(super) async fn run(
    state: &State,
    address: SocketAddr,
    database: &Database,
    count: u64,
    output: Output,
) -> anyhow::Result<bool> {
    let Some((source, storage)) = state.sources.values().find_map(|source| {
        let storage = state.storage.get(&source.name)?.as_ref().ok()?;
        source.split_arrays.then_some((source, storage))
    }) else {
        anyhow::bail!("--send: no source takes Segment's batches; add one with preset: segment");
    };
    let singles = count - count / 2;
    let mut complete = true;
    for (count, batch) in [(singles, None), (count / 2, NonZeroUsize::new(BATCH))] {
        if count == 0 {
            continue;
        }
        let plan = plan(source, address, count, batch)?;
        let report = Sender::new(plan).run(CancellationToken::new()).await;
        complete &= report.is_success();
        output.sent(&report)?;
    }
    let counts = count_types(database, &storage.relation.quoted()).await?;
    output.counted(&storage.relation.to_string(), &counts);
    output.database(&database.shown_url, &database.choice);
    Ok(complete)
}

fn plan(
    source: &Source,
    address: SocketAddr,
    count: u64,
    batch: Option<NonZeroUsize>,
) -> anyhow::Result<Plan> {
    Ok(Plan {
        target: Url::parse(&format!("http://{address}{}", source.path))?,
        verification: signable(source)?,
        count,
        rate: None,
        concurrency: NonZeroUsize::MIN.saturating_add(7),
        new_connections: 0.0,
        batch,
        content: Content::Shop,
        seed: rand::random(),
    })
}

/// How many events of each type the view shows.
async fn count_types(database: &Database, relation: &str) -> anyhow::Result<Vec<(String, i64)>> {
    let client = connect(&Target::parse(&database.owner)?).await?.client;
    let query = format!(
        "SELECT coalesce(type, '(none)'), count(*) FROM {relation} GROUP BY 1 ORDER BY 2 DESC, 1"
    );
    let rows = client.query_typed(&query, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
