//! `make capacity`: what a database pays for many sources, with partitions of their own and with
//! shared ones.

mod backup;
mod layout;
mod load;
mod summary;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use trunkline_bench::output::{self, say};
use trunkline_cli::postgres::{Options, PrivatePostgres};
use trunkline_warehouse::Storage;

use backup::Backup;
use layout::Layout;
use load::Payloads;
use summary::Findings;

/// Settings of the server besides those of every private one: no checkpoint and no vacuum within a
/// run, since they would meet one layout and not the other. Between runs there is a checkpoint.
const SETTINGS: &[(&str, &str)] = &[
    DEFAULT_LOCKS,
    ("shared_buffers", "1GB"),
    ("max_wal_size", "8GB"),
    ("min_wal_size", "1GB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
];

/// PostgreSQL's own default. A private server has more, so that tests may have many partitions.
const DEFAULT_LOCKS: (&str, &str) = ("max_locks_per_transaction", "64");

/// What `docs/partitions.md` tells owners of many partitions to set.
const RAISED_LOCKS: (&str, &str) = ("max_locks_per_transaction", "512");

/// Measures what a database pays for many sources.
#[derive(Debug, Parser)]
struct Arguments {
    /// Databases of so many sources with partitions of their own
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "1,100,300,1000"
    )]
    dedicated: Vec<usize>,
    /// Databases of so many sources that share partitions
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "10000"
    )]
    shared: Vec<usize>,
    /// Partitions of each bucket, one a day; nine of them are those that the operator makes today
    #[arg(long, value_name = "N", default_value_t = 35)]
    partitions: u16,
    /// How often each database is written to, in a random order
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Commits of 1,000 rows in each run
    #[arg(long, value_name = "N", default_value_t = 200)]
    commits: usize,
    /// Repeats the order and the choice of sources; random and printed without it
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// File for the findings, one JSON object a line [default: bench/results/capacity-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let (mut file, out) = output::create(arguments.out.clone(), "capacity-")?;
    say(&format!("seed {seed}, findings in {}", out.display()));
    let folder = tempfile::tempdir()?;
    let server = start(folder.path(), &[]).await?;

    let (mut layouts, mut findings) = (Vec::new(), Vec::new());
    let dedicated = arguments.dedicated.iter().map(|&n| (n, Storage::Dedicated));
    let shared = arguments.shared.iter().map(|&n| (n, Storage::Shared));
    for (sources, storage) in dedicated.chain(shared) {
        let (layout, ddl) = Layout::make(&server, sources, storage, arguments.partitions).await?;
        say(&format!("{}: {ddl}", layout.name));
        findings.push(Findings::new(&layout, ddl));
        layouts.push(layout);
    }

    let mut rng = StdRng::seed_from_u64(seed);
    for round in 1..=arguments.rounds {
        let mut order: Vec<usize> = (0..layouts.len()).collect();
        order.shuffle(&mut rng);
        for index in order {
            let layout = &layouts[index];
            let payloads = Payloads::generate(&layout.sources, &mut rng);
            let run = load::run(&server, layout, &payloads, arguments.commits).await?;
            say(&format!("round {round}, {}: {run}", layout.name));
            findings[index].runs.push(run);
        }
    }
    for (layout, findings) in layouts.iter().zip(&mut findings) {
        findings.backup = Some(Backup::of(&server, layout)?);
    }
    server.stop().await;
    let server = start(folder.path(), &[RAISED_LOCKS]).await?;
    for (layout, findings) in layouts.iter().zip(&mut findings) {
        findings.backup_with_more_locks = Some(Backup::of(&server, layout)?);
    }
    server.stop().await;

    for findings in &findings {
        serde_json::to_writer(&file, findings)?;
        writeln!(file)?;
    }
    say(&summary::table(&findings));
    Ok(())
}

async fn start(folder: &Path, more: &[(&str, &str)]) -> anyhow::Result<PrivatePostgres> {
    let settings = SETTINGS.iter().chain(more);
    let server = PrivatePostgres::start(Options {
        data_dir: Some(folder.join("data")),
        settings: settings
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Options::default()
    });
    Ok(server.await?)
}
