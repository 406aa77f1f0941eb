//! One connection that commits rows of many sources, as an ingester does.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::SinkExt;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde::Serialize;
use tokio_postgres::Client;
use trunkline_bench::process::cpu_of_tree;
use trunkline_cli::postgres::PrivatePostgres;
use trunkline_cli::segment::EventGenerator;

use crate::layout::{Layout, connect};

/// Rows of a commit.
const ROWS: usize = 1_000;

/// Sources of a commit.
const SOURCES: usize = 100;

/// Commits that are made beforehand, and sent again and again.
const PAYLOADS: usize = 30;

/// What is committed, in COPY's text format.
pub(crate) struct Payloads {
    /// A row of each source, a hundred in a commit.
    each: Vec<Bytes>,
    /// [`ROWS`] rows of [`SOURCES`] sources by chance.
    random: Vec<Bytes>,
}

impl Payloads {
    pub(crate) fn generate(sources: &[(i32, String)], rng: &mut StdRng) -> Self {
        let mut generator = EventGenerator::new(rng.random(), jiff::Timestamp::now());
        let bodies: Vec<_> = (0..ROWS)
            // What stands for itself in a line of COPY.
            .map(|_| generator.next_event().json.replace('\\', "\\\\"))
            .collect();
        let random = || {
            let chosen: Vec<_> = sources.choose_multiple(rng, SOURCES).collect();
            lines(chosen.into_iter().cycle().take(ROWS), &bodies)
        };
        Self {
            random: std::iter::repeat_with(random).take(PAYLOADS).collect(),
            each: sources
                .chunks(SOURCES)
                .map(|some| lines(some.iter(), &bodies))
                .collect(),
        }
    }
}

fn lines<'a>(sources: impl Iterator<Item = &'a (i32, String)>, bodies: &[String]) -> Bytes {
    let rows = sources.zip(bodies).zip(0..);
    let line = |(((bucket, source), body), position): ((&(i32, String), &String), u32)| {
        format!(
            "{bucket}\t{source}\t019a4000-0000-7000-8000-000000000001\t{position}\tm{position}\t\
             track\trequest\t{body}\n"
        )
    };
    rows.map(line).collect::<String>().into()
}

/// What was seen of one connection.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Run {
    /// Rows committed in a second, with [`ROWS`] rows of [`SOURCES`] sources in a commit.
    pub(crate) rows_per_second: f64,
    /// Processor time of the server's process for a row, in microseconds.
    pub(crate) cpu_us_per_row: f64,
    /// The slowest of these commits, in milliseconds.
    pub(crate) slowest_ms: f64,
    /// The slowest of the first commits, each with a row of sources that the connection has not
    /// written to before, in milliseconds.
    pub(crate) slowest_first_ms: f64,
    /// Private memory of the server's process when it was new, in KiB.
    pub(crate) memory_new_kib: u64,
    /// The same once it had written to every source.
    pub(crate) memory_kib: u64,
    /// The machine's load average before it.
    pub(crate) load_average: f64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} rows/s, {:.1} us of CPU a row, slowest {:.0} ms (first {:.0} ms), {:.1} MB",
            self.rows_per_second,
            self.cpu_us_per_row,
            self.slowest_ms,
            self.slowest_first_ms,
            self.memory_kib as f64 / 1024.0
        )
    }
}

/// Writes to every source once, then `commits` times to some by chance.
pub(crate) async fn run(
    server: &PrivatePostgres,
    layout: &Layout,
    payloads: &Payloads,
    commits: usize,
) -> anyhow::Result<Run> {
    let load_average = trunkline_bench::process::load_average()?;
    let client = connect(&layout.url(server)).await?;
    client.batch_execute("CHECKPOINT").await?;
    let pid: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await?
        .get(0);
    let pid = u32::try_from(pid)?;
    let memory_new_kib = private_memory(pid)?;
    let mut slowest_first = Duration::ZERO;
    for payload in &payloads.each {
        slowest_first = slowest_first.max(commit(&client, payload).await?);
    }
    let memory_kib = private_memory(pid)?;
    for payload in payloads.random.iter().take(commits.div_ceil(10)) {
        commit(&client, payload).await?;
    }
    let (start, before) = (Instant::now(), cpu_of_tree(pid)?);
    let mut slowest = Duration::ZERO;
    for payload in payloads.random.iter().cycle().take(commits) {
        slowest = slowest.max(commit(&client, payload).await?);
    }
    let rows = (commits * ROWS) as f64;
    let cpu = cpu_of_tree(pid)?.saturating_sub(before);
    Ok(Run {
        rows_per_second: rows / start.elapsed().as_secs_f64(),
        cpu_us_per_row: cpu.as_secs_f64() * 1e6 / rows,
        slowest_ms: slowest.as_secs_f64() * 1e3,
        slowest_first_ms: slowest_first.as_secs_f64() * 1e3,
        memory_new_kib,
        memory_kib,
        load_average,
    })
}

async fn commit(client: &Client, lines: &Bytes) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let sql = "COPY trunkline.events (bucket, source, delivery_id, position, message_id, type, \
               auth_scope, body_json) FROM STDIN";
    let mut sink = Box::pin(client.copy_in::<_, Bytes>(sql).await?);
    sink.send(lines.clone()).await?;
    sink.as_mut().finish().await?;
    Ok(start.elapsed())
}

/// What a process has in memory for itself alone, in KiB (proc(5), `smaps_rollup`).
fn private_memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let clean = value("Private_Clean:").context("no Private_Clean")?;
    Ok(clean + value("Private_Dirty:").context("no Private_Dirty")?)
}
