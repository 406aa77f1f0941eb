//! `--send`: signed Segment events, single and in batches, and the view and the relations that show
//! them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;
use trunkline_model::names::quote_identifier;
use trunkline_operator::validate::Source;
use trunkline_pgconn::{Target, connect};
use trunkline_warehouse::WarehouseLayout;

use super::database::Database;
use super::output::Output;
use super::state::State;
use crate::app::signable;
use crate::send::{Content, Plan, Sender, Target as Url};

/// Events per request of the second half.
const BATCH: usize = 20;

/// How often to look whether all relations are there.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often nothing may be new in a row until they are: for longer than it takes to note an event.
const QUIET_LOOKS: u32 = 6;
/// How often to look at all.
const MOST_LOOKS: u32 = 60;

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
    if source.layout != WarehouseLayout::None {
        let relations = count_relations(database, source).await?;
        output.relations(source.schema.as_str(), &relations);
    }
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

/// How many rows each relation for analysts has, once nothing is new. Those without a row are left out.
async fn count_relations(
    database: &Database,
    source: &Source,
) -> anyhow::Result<Vec<(String, i64)>> {
    let client = connect(&Target::parse(&database.owner)?).await?.client;
    let name = source.name.to_string();
    let (mut quiet, mut looks) = (0, 0);
    while quiet < QUIET_LOOKS && looks < MOST_LOOKS {
        tokio::time::sleep(LOOK_EVERY).await;
        let news = "SELECT EXISTS (SELECT FROM trunkline.shapes \
                    WHERE handled_at IS NULL AND source = $1)";
        let rows = client.query_typed(news, &[(&name, Type::TEXT)]).await?;
        let is_news = rows.first().is_some_and(|row| row.get(0));
        quiet = if is_news { 0 } else { quiet + 1 };
        looks += 1;
    }
    let made = "SELECT r.relation FROM trunkline.relations r \
                JOIN trunkline.sources s ON s.bucket = r.source_number \
                WHERE s.source = $1 ORDER BY 1";
    let mut counts = Vec::new();
    for row in client.query_typed(made, &[(&name, Type::TEXT)]).await? {
        let relation: String = row.get(0);
        let query = format!(
            "SELECT count(*) FROM {}.{}",
            quote_identifier(source.schema.as_str()),
            quote_identifier(&relation)
        );
        let rows = client.query_typed(&query, &[]).await?;
        let count = rows.first().map_or(0, |row| row.get(0));
        if count > 0 {
            counts.push((relation, count));
        }
    }
    Ok(counts)
}
