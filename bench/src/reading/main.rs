//! `make reading`: what analysts wait for, beside tables that were made by hand of the same events.

mod indexes;
mod measure;
mod product;
mod queries;
mod summary;
mod typed;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use trunkline_bench::output::{self, say};
use trunkline_bench::process::{huge_pages, load_average};
use trunkline_cli::postgres::{Options, PrivatePostgres};
use trunkline_warehouse::{LeafIndex, LeafIndexes};

use product::{Product, Scale};
use summary::Subject;

/// Settings of the server, as a careful user would have them on a machine of 16 GiB for a database
/// that analysts ask: PostgreSQL's defaults are for a very small one. Without `jit`, which compiles
/// each query anew; parallel query is as the server has it by itself.
const SETTINGS: &[(&str, &str)] = &[
    ("shared_buffers", "4GB"),
    ("effective_cache_size", "12GB"),
    ("work_mem", "64MB"),
    ("maintenance_work_mem", "512MB"),
    ("random_page_cost", "1.1"),
    ("max_wal_size", "8GB"),
    // Upkeep of thirty days at once, which it would do on thirty nights.
    ("vacuum_cost_limit", "10000"),
    ("jit", "off"),
];

/// Measures what analysts wait for.
#[derive(Debug, Parser)]
struct Arguments {
    /// Events, of all days together
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    events: i64,
    /// Days until last midnight (UTC), each with a partition
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(2..))]
    days: u16,
    /// Users [default: a tenth of the events]
    #[arg(long, value_name = "N")]
    users: Option<i32>,
    /// How often each question is asked of both, after once to warm up
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// What spec.indexes of the source lists
    #[arg(long, value_name = "INDEX,…", value_delimiter = ',', value_parser = index)]
    with: Vec<LeafIndex>,
    /// Keep the relations' rows in tables, as spec.warehouse.materialized does
    #[arg(long)]
    materialized: bool,
    /// Also write to sources with each index of spec.indexes, and say what it costs
    #[arg(long)]
    indexes: bool,
    /// Another setting of the server, in place of the one that it has here; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Where the server has its data, for a look at it afterwards; a temporary folder without it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Ask what an earlier run of this day left in --data-dir, with the same --events and --days
    #[arg(long, requires = "data_dir")]
    filled: bool,
    /// File for the findings, one JSON object a line [default: bench/results/reading-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn index(text: &str) -> Result<LeafIndex, String> {
    let known = LeafIndex::ALL.into_iter().find(|it| it.as_str() == text);
    known.ok_or_else(|| format!("is none of {:?}", LeafIndex::ALL))
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (mut file, out) = output::create(arguments.out.clone(), "reading-")?;
    say(&format!("findings in {}", out.display()));
    let scale = scale(&arguments)?;
    let settings: Vec<(String, String)> = SETTINGS
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .chain(arguments.set)
        .collect();
    let server = PrivatePostgres::start(Options {
        data_dir: arguments.data_dir,
        settings: settings.clone(),
        ..Options::default()
    });
    let server = server.await?;

    let indexes: LeafIndexes = arguments.with.iter().copied().collect();
    let product = make(
        &server,
        scale,
        indexes,
        arguments.materialized,
        arguments.filled,
    );
    let product = product.await?;
    let client = product.connect().await?;
    let events = scale.events() as f64;
    let subject = Subject {
        events: scale.events(),
        days: scale.days,
        users: scale.users,
        indexes: indexes.iter().map(LeafIndex::as_str).collect(),
        is_materialized: arguments.materialized,
        settings,
        bytes_per_event: product.bytes(&client).await? as f64 / events,
        materialized_bytes_per_event: product.materialized_bytes(&client).await? as f64 / events,
        typed_bytes_per_event: typed::bytes(&client).await? as f64 / events,
        load_average: load_average()?,
        huge_pages: huge_pages()?,
    };
    serde_json::to_writer(&file, &subject)?;
    writeln!(file)?;

    let mut rng = StdRng::from_rng(&mut rand::rng());
    let mut findings = Vec::new();
    for query in queries::all(&product, scale.days)? {
        let finding = measure::ask(&client, &query, arguments.runs, &mut rng).await?;
        progress(&format!(
            "{}: {:.1} ms, {:.1} ms",
            finding.query,
            finding.relations(),
            finding.typed()
        ));
        serde_json::to_writer(&file, &finding)?;
        writeln!(file)?;
        findings.push(finding);
    }
    say(&summary::table(&subject, &findings));
    if arguments.indexes {
        let costs = indexes::measure(&product, &client).await?;
        for cost in &costs {
            serde_json::to_writer(&file, cost)?;
            writeln!(file)?;
        }
        say(&summary::costs(&costs));
    }
    drop(client);
    server.stop().await;
    Ok(())
}

/// As many events a day as make whole hundreds, of which one is a repeat.
fn scale(arguments: &Arguments) -> anyhow::Result<Scale> {
    let events_a_day = arguments.events / i64::from(arguments.days) / 100 * 100;
    ensure!(
        events_a_day >= 1_000,
        "--events is less than 1,000 for each of --days"
    );
    let users = match arguments.users {
        Some(users) => users,
        None => i32::try_from(arguments.events / 10)?,
    };
    Ok(Scale {
        days: arguments.days,
        events_a_day,
        users,
    })
}

/// Makes and fills both, unless that was done.
async fn make(
    server: &PrivatePostgres,
    scale: Scale,
    indexes: LeafIndexes,
    is_materialized: bool,
    is_filled: bool,
) -> anyhow::Result<Product> {
    let start = Instant::now();
    let step = |what: &str| progress(&format!("{:.0} s: {what}", start.elapsed().as_secs_f64()));
    let product = Product::make(server.url(), scale, indexes, is_materialized).await?;
    let (client, other) = (product.connect().await?, product.connect().await?);
    if is_filled {
        product.keep_up().await?;
        product.require_filled(&client).await?;
        step("ready");
        return Ok(product);
    }
    product.make_past(&client).await?;
    step("events");
    // Oldest first, as they would have come; two sessions, since one keeps one processor busy.
    let ages: Vec<_> = (1..=scale.days).rev().collect();
    let (older, younger) = ages.split_at(ages.len() / 2);
    tokio::try_join!(product.fill(&client, older), product.fill(&other, younger))?;
    step("relations");
    product.relate(&client).await?;
    step("upkeep");
    product.keep_up().await?;
    step("typed tables");
    typed::make(&client).await?;
    client.batch_execute("CHECKPOINT").await?;
    step("ready");
    Ok(product)
}

/// A line for whoever waits.
#[expect(clippy::print_stderr, reason = "progress, apart from the findings")]
fn progress(text: &str) {
    eprintln!("{text}");
}
