//! `make bench`: runs the receivers in turn against one PostgreSQL and compares them.

mod neighbour;
mod news;
mod pool;
mod receiver;
mod scenario;
mod sender;
mod stalls;
mod station;
mod summary;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use trunkline_bench::output::{self, say};

use pool::Pool;
use receiver::{Kind, Programs};
use scenario::{Plan, Run, Scenario};
use station::{Log, Prepared, SECRET, Station};

/// Events that are made for each second of a run. A run that needs more ends when they do.
const EVENTS_PER_SECOND: f64 = 80_000.0;

/// Compares the ingester with other receivers, in runs that alternate.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is run
    #[arg(long, value_name = "N", default_value_t = 10)]
    pairs: u32,
    /// How long each run sends
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    seconds: f64,
    /// How long calm and changes send, each
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    window: f64,
    /// What to ask
    #[arg(
        long,
        value_name = "SCENARIO,…",
        value_delimiter = ',',
        default_value = "full,half,one,sources,batches"
    )]
    scenarios: Vec<Scenario>,
    /// Whom
    #[arg(
        long,
        value_name = "RECEIVER,…",
        value_delimiter = ',',
        default_value = "trunkline,floor,fastify"
    )]
    receivers: Vec<Kind>,
    /// Another build of trunkline-ingester, for the receiver `baseline`
    #[arg(long, value_name = "PROGRAM")]
    baseline: Option<PathBuf>,
    /// Connections that the ingester and the floor write with
    #[arg(long, value_name = "N", default_value_t = 2)]
    writers: usize,
    /// Repeats the order and the events of a run; random and printed without it
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// File for the runs, one JSON object a line [default: bench/results/TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let asks = |scenario| arguments.scenarios.contains(&scenario);
    anyhow::ensure!(
        !arguments.scenarios.iter().any(|asked| asked.is_paced()) || asks(Scenario::Full),
        "--scenarios: half, calm and changes need full, which says what half of is sent"
    );
    anyhow::ensure!(
        !asks(Scenario::Changes) || asks(Scenario::Calm),
        "--scenarios: changes needs calm, which says what the machine does by itself"
    );
    anyhow::ensure!(
        !asks(Scenario::News) || arguments.receivers == [Kind::Layout],
        "--scenarios: news needs --receivers layout, since no other has relations for analysts"
    );
    let mut scenarios = arguments.scenarios.clone();
    scenarios.sort_unstable();
    scenarios.dedup();
    let programs = Programs::beside_this(arguments.baseline.clone(), arguments.writers)?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let (mut file, out) = output::create(arguments.out.clone(), "")?;
    let count = (EVENTS_PER_SECOND * (arguments.seconds + 1.0)) as usize;
    let pool = Arc::new(Pool::generate(seed, count, SECRET));
    say(&format!(
        "seed {seed}, events of {} bytes on average, {} writers, runs in {}",
        pool.mean_bytes(),
        arguments.writers,
        out.display()
    ));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut runs: Vec<Run> = Vec::new();
    let log = if scenarios.iter().any(|scenario| scenario.is_watched()) {
        Log::Long
    } else {
        Log::Short
    };
    let prepared = Prepared {
        has_layout: arguments.receivers.contains(&Kind::Layout),
        has_keys: arguments.receivers.contains(&Kind::Deduplicate),
    };
    for pair in 1..=arguments.pairs {
        let station = Station::start(arguments.writers, log, prepared).await?;
        let mut full_rates = HashMap::new();
        for &scenario in &scenarios {
            let mut receivers = arguments.receivers.clone();
            receivers.shuffle(&mut rng);
            for receiver in receivers {
                let plan = Plan {
                    pair,
                    scenario,
                    receiver,
                    duration: Duration::from_secs_f64(if scenario.is_watched() {
                        arguments.window
                    } else {
                        arguments.seconds
                    }),
                    rate: if scenario.is_paced() {
                        full_rates.get(receiver.name()).map(|rate: &f64| rate / 2.0)
                    } else {
                        scenario.own_rate()
                    },
                    programs: &programs,
                };
                let run = plan.run(&station, &pool).await?;
                if scenario == Scenario::Full {
                    full_rates.insert(receiver.name(), run.events_per_second);
                }
                serde_json::to_writer(&file, &run)?;
                writeln!(file)?;
                say(&format!(
                    "{pair:>3}  {:<8} {:<11} {:>8.0} events/s  p50 {:.2} ms  p99 {:.2} ms  max {:.0} ms",
                    scenario.name(),
                    receiver.name(),
                    run.events_per_second,
                    run.p50_ms,
                    run.p99_ms,
                    run.max_ms,
                ));
                runs.push(run);
            }
        }
    }
    say(&format!(
        "\n{}\n{}",
        summary::table(&runs),
        summary::ratios(&runs)
    ));
    say(&summary::news(&runs));
    let stalls = summary::stalls(&runs);
    say(&stalls.text);
    anyhow::ensure!(
        stalls.to_blame == 0,
        "{} stalls came with a change, and calm has none like them",
        stalls.to_blame
    );
    Ok(())
}
