//! What is asked of each receiver, and one run of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use trunkline_bench::process::{cpu_of_tree, load_average, memory};

use crate::neighbour::change;
use crate::news::watch;
use crate::pool::Pool;
use crate::receiver::{Kind, Programs, Receiver};
use crate::sender::{Load, send};
use crate::stalls::{Change, Stall, stalls};
use crate::station::{SOURCES, Station};

/// Sent before each run and not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// Beside which new events are to be found soon.
const NEWS_EVENTS_PER_SECOND: f64 = 20_000.0;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// Single events over 256 connections, as fast as they are answered
    Full,
    /// The same at half the rate that the receiver reached at full load
    Half,
    /// One connection, one request at a time
    One,
    /// Full load, spread over 100 sources
    Sources,
    /// Batches of 100 events over 16 connections, as fast as they are answered
    Batches,
    /// As half, for as long as --window says: the control of changes
    Calm,
    /// As calm, while partitions and sources are made and dropped and views are replaced
    Changes,
    /// 20,000 events/s in batches of 20, and events with new names: when an analyst finds them
    News,
}

impl Scenario {
    /// As in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
            Self::One => "one",
            Self::Sources => "sources",
            Self::Batches => "batches",
            Self::Calm => "calm",
            Self::Changes => "changes",
            Self::News => "news",
        }
    }

    /// Whether half of what full load reached is sent.
    pub(crate) fn is_paced(self) -> bool {
        matches!(self, Self::Half | Self::Calm | Self::Changes)
    }

    /// Whether it looks for stalls, which takes longer than a figure does.
    pub(crate) fn is_watched(self) -> bool {
        matches!(self, Self::Calm | Self::Changes)
    }

    /// Requests a second, where the scenario says it and not what full load reached.
    pub(crate) fn own_rate(self) -> Option<f64> {
        (self == Self::News).then(|| NEWS_EVENTS_PER_SECOND / self.batch() as f64)
    }

    fn connections(self) -> usize {
        match self {
            Self::Full | Self::Half | Self::Sources | Self::Calm | Self::Changes => 256,
            Self::One => 1,
            Self::Batches | Self::News => 16,
        }
    }

    fn batch(self) -> usize {
        match self {
            Self::Batches => 100,
            Self::News => 20,
            _ => 1,
        }
    }

    fn sources(self) -> usize {
        match self {
            Self::Sources => SOURCES,
            _ => 1,
        }
    }
}

/// What a run has shown. One line of the results.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) pair: u32,
    pub(crate) scenario: Scenario,
    pub(crate) receiver: Kind,
    /// Events that were acknowledged, and found in the database.
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// Paced requests that had to wait for a free connection.
    pub(crate) late: u64,
    /// Processor time for each event, in microseconds.
    pub(crate) receiver_us: f64,
    pub(crate) postgres_us: f64,
    pub(crate) sender_us: f64,
    /// Resident memory of the receiver before the first request, and at most, in KiB.
    pub(crate) idle_kib: u64,
    pub(crate) peak_kib: u64,
    /// The machine's load average before the run: what else ran there.
    pub(crate) load_average: f64,
    /// When somebody waited for more than 50 ms, in scenarios that look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stalls: Option<Vec<Stall>>,
    /// What was changed in the database meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<Change>,
    /// After how many milliseconds new events were found in relations of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) found_ms: Vec<f64>,
}

/// What to run and how.
pub(crate) struct Plan<'a> {
    pub(crate) pair: u32,
    pub(crate) scenario: Scenario,
    pub(crate) receiver: Kind,
    pub(crate) duration: Duration,
    /// Requests a second where the scenario is paced.
    pub(crate) rate: Option<f64>,
    pub(crate) programs: &'a Programs,
}

impl Plan<'_> {
    /// Starts the receiver, sends, and counts what is in the database.
    pub(crate) async fn run(&self, station: &Station, pool: &Arc<Pool>) -> anyhow::Result<Run> {
        station.clear().await?;
        pool.rewind();
        let load_average = load_average()?;
        let receiver = Receiver::start(self.receiver, self.programs, station).await?;
        let idle = memory(receiver.pid())?.now;
        let load = Load {
            address: receiver.address,
            paths: station.paths(self.receiver, self.scenario.sources())?,
            connections: self.scenario.connections(),
            batch: self.scenario.batch(),
            rate: self.rate,
            duration: self.duration,
            repeats: self.scenario.is_watched(),
        };
        let warm_up = Load {
            duration: WARM_UP.min(self.duration),
            ..load.clone()
        };
        let warm_up = send(warm_up, pool).await?;
        let cpu = || anyhow::Ok((cpu_of_tree(receiver.pid())?, cpu_of_tree(station.pid()?)?));
        let before = cpu()?;
        let changing = async {
            if self.scenario == Scenario::Changes {
                change(station, self.duration).await
            } else {
                Ok(Vec::new())
            }
        };
        let looking = async {
            if self.scenario == Scenario::News {
                let source = station.related()?.first().context("a source")?;
                watch(station, source, receiver.address, self.duration).await
            } else {
                Ok(Vec::new())
            }
        };
        let (sent, changes, found) = tokio::join!(send(load, pool), changing, looking);
        let (sent, found_ms) = (sent?, found?);
        let changes: Vec<_> = changes?
            .iter()
            .map(|change| change.since(sent.start))
            .collect();
        let after = cpu()?;
        let rows = station.rows().await?;
        let acknowledged = warm_up.events + sent.events + found_ms.len() as u64;
        ensure!(
            rows == acknowledged,
            "{}: {acknowledged} events were acknowledged, and {rows} are in the database",
            self.receiver.name()
        );
        ensure!(sent.events > 0, "nothing was sent; ask for more seconds");
        let each = |used: Duration| used.as_secs_f64() * 1e6 / sent.events as f64;
        let millis = |quantile| sent.latency.value_at_quantile(quantile) as f64 / 1e3;
        let seconds = sent.elapsed.as_secs_f64();
        Ok(Run {
            pair: self.pair,
            scenario: self.scenario,
            receiver: self.receiver,
            events: sent.events,
            seconds,
            events_per_second: sent.events as f64 / seconds,
            p50_ms: millis(0.5),
            p99_ms: millis(0.99),
            p999_ms: millis(0.999),
            max_ms: sent.latency.max() as f64 / 1e3,
            late: sent.late,
            receiver_us: each(after.0.saturating_sub(before.0)),
            postgres_us: each(after.1.saturating_sub(before.1)),
            sender_us: each(sent.cpu),
            idle_kib: idle,
            peak_kib: memory(receiver.pid())
                .context("the receiver has ended")?
                .peak,
            load_average,
            stalls: self
                .scenario
                .is_watched()
                .then(|| stalls(sent.waits, &changes)),
            changes,
            found_ms,
        })
    }
}
