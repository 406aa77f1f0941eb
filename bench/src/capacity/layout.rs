//! Databases with many sources, made by the warehouse as the operator does.

use std::fmt;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde::Serialize;
use tokio_postgres::{Client, NoTls};
use trunkline_cli::postgres::PrivatePostgres;
use trunkline_model::names::ClusterName;
use trunkline_model::request::BodyFormat;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{DesiredSource, PartitionBy, Storage, Warehouse};

/// Partitions of a day that the operator makes: yesterday's, today's, a week's ahead.
const MADE: u16 = 9;

/// A database.
pub(crate) struct Layout {
    pub(crate) name: String,
    pub(crate) storage: Storage,
    /// Each source with its bucket.
    pub(crate) sources: Vec<(i32, String)>,
    /// Partitions of each bucket.
    pub(crate) partitions: u16,
}

/// How long the warehouse took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Ddl {
    /// For all sources but one, with the partitions of today.
    pub(crate) all_but_one: f64,
    /// For one more.
    pub(crate) one_more: f64,
    /// For a look at all of them that finds nothing to do.
    pub(crate) look: f64,
    /// For the next partition of each bucket.
    pub(crate) next_partitions: f64,
}

impl fmt::Display for Ddl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "made in {:.1} s, one more {:.3} s, a look {:.3} s, the next partitions {:.1} s",
            self.all_but_one, self.one_more, self.look, self.next_partitions
        )
    }
}

impl Layout {
    /// Makes a database of so many sources.
    pub(crate) async fn make(
        server: &PrivatePostgres,
        count: usize,
        storage: Storage,
        partitions: u16,
    ) -> anyhow::Result<(Self, Ddl)> {
        let kind = match storage {
            Storage::Dedicated => "dedicated",
            Storage::Shared => "shared",
        };
        let mut layout = Self {
            name: format!("{kind}_{count}"),
            storage,
            sources: Vec::new(),
            partitions,
        };
        let admin = connect(&server.url()).await?;
        let create = format!("CREATE DATABASE {}", layout.name);
        admin.batch_execute(&create).await?;
        let url = layout.url(server);
        let warehouse = Warehouse::connect(SecretBytes::new(&*url)).await?;
        warehouse.ensure_layout().await?;

        let desired: Vec<_> = (0..count)
            .map(|number| source(number, storage))
            .collect::<anyhow::Result<_>>()?;
        let all_but_one = &desired[..count.saturating_sub(1)];
        let (_, first) = timed(layout.ensure(&warehouse, all_but_one)).await?;
        let (_, one_more) = timed(layout.ensure(&warehouse, &desired)).await?;
        let (sources, look) = timed(layout.ensure(&warehouse, &desired)).await?;
        layout.sources = sources;
        let admin = connect(&url).await?;
        layout.drop_last_partitions(&admin).await?;
        let (_, next) = timed(async { Ok(warehouse.maintain().await?) }).await?;
        layout.make_past(&admin).await?;
        admin.batch_execute("ANALYZE").await?;
        let ddl = Ddl {
            all_but_one: first.as_secs_f64(),
            one_more: one_more.as_secs_f64(),
            look: look.as_secs_f64(),
            next_partitions: next.as_secs_f64(),
        };
        Ok((layout, ddl))
    }

    /// Where to connect.
    pub(crate) fn url(&self, server: &PrivatePostgres) -> String {
        let url = server.url();
        let (before, _) = url.rsplit_once('/').unwrap_or((&url, ""));
        format!("{before}/{}", self.name)
    }

    async fn ensure(
        &self,
        warehouse: &Warehouse,
        desired: &[DesiredSource],
    ) -> anyhow::Result<Vec<(i32, String)>> {
        let cluster: ClusterName = "bench/main".parse()?;
        let results = warehouse.ensure_sources(&cluster, desired, &[], None);
        let place = |(name, result): (_, Result<trunkline_warehouse::Provisioned, _>)| {
            let name = format!("{name}");
            let place = result.with_context(|| format!("source {name}"))?;
            Ok((place.bucket, name))
        };
        results.await?.into_iter().map(place).collect()
    }

    fn buckets(&self) -> Vec<i32> {
        let mut buckets: Vec<_> = self.sources.iter().map(|(bucket, _)| *bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        buckets
    }

    /// As a day later: the last partition that is to be there is not.
    async fn drop_last_partitions(&self, admin: &Client) -> anyhow::Result<()> {
        let last = today().checked_add(7.days())?.strftime("%Y%m%d");
        for bucket in self.buckets() {
            let sql = format!("DROP TABLE trunkline_data.bucket_{bucket}_{last}");
            admin.batch_execute(&sql).await?;
        }
        Ok(())
    }

    /// The partitions of the days before, as they were made then.
    async fn make_past(&self, admin: &Client) -> anyhow::Result<()> {
        let today = today();
        let like = today.strftime("%Y%m%d");
        for bucket in self.buckets() {
            let table = format!("trunkline_data.bucket_{bucket}");
            let mut sql = String::new();
            for age in 2..2 + self.partitions.saturating_sub(MADE) {
                let day = today.checked_sub(i64::from(age).days())?;
                let leaf = format!("{table}_{}", day.strftime("%Y%m%d"));
                let next = day.tomorrow()?;
                sql.push_str(&format!(
                    "CREATE TABLE {leaf} (LIKE {table}_{like} INCLUDING ALL); \
                     ALTER TABLE {table} ATTACH PARTITION {leaf} \
                     FOR VALUES FROM ('{day} 00:00+00') TO ('{next} 00:00+00'); "
                ));
            }
            admin.batch_execute(&sql).await?;
        }
        Ok(())
    }
}

/// Connects.
pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(driver);
    Ok(client)
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

fn source(number: usize, storage: Storage) -> anyhow::Result<DesiredSource> {
    Ok(DesiredSource {
        name: format!("bench/source-{number}").parse()?,
        schema: format!("source_{number}").parse()?,
        url: Some(format!("http://localhost/webhooks/bench/source-{number}")),
        body: BodyFormat::Json,
        header_columns: Vec::new(),
        readers: Vec::new(),
        retention_days: NonZeroU16::new(30),
        partition_by: Some(PartitionBy::Day),
        storage: Some(storage),
        indexes: None,
        layout: None,
        shaping: None,
        views: None,
    })
}

async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    let done = work.await?;
    Ok((done, start.elapsed()))
}
