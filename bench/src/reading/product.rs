//! The database as Trunkline has it: its layout, one source with relations, partitions back in time.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};
use trunkline_model::names::ClusterName;
use trunkline_model::request::BodyFormat;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{
    DesiredSource, LeafIndexes, PartitionBy, Relator, Shaping, Storage, Warehouse, WarehouseLayout,
};

/// The schema of the source.
pub(crate) const SCHEMA: &str = "shop";

/// The cluster of the sources.
pub(crate) const CLUSTER: &str = "bench/main";
/// The source.
pub(crate) const SOURCE: &str = "bench/shop";

/// Events of a day, by their numbers.
const EVENTS: &str = include_str!("events.sql");

/// What ingesters would have noted.
const SHAPES: &str = include_str!("shapes.sql");

/// How long the relations may take to come.
const RELATIONS_WITHIN: Duration = Duration::from_secs(120);

/// How many events there are, of how many days and users.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) days: u16,
    pub(crate) events_a_day: i64,
    pub(crate) users: i32,
}

impl Scale {
    pub(crate) fn events(self) -> i64 {
        i64::from(self.days) * self.events_a_day
    }
}

/// A source whose last whole day was yesterday.
pub(crate) struct Product {
    url: String,
    bucket: i32,
    scale: Scale,
    today: Date,
}

impl Product {
    /// Makes the source where it is not there, without events.
    pub(crate) async fn make(
        url: String,
        scale: Scale,
        indexes: LeafIndexes,
        is_materialized: bool,
    ) -> anyhow::Result<Self> {
        let warehouse = Warehouse::connect(SecretBytes::new(&*url)).await?;
        warehouse.ensure_layout().await?;
        let cluster: ClusterName = CLUSTER.parse()?;
        let desired = [DesiredSource {
            indexes: Some(indexes),
            shaping: Some(Shaping {
                is_materialized,
                ..Shaping::default()
            }),
            ..source()?
        }];
        let results = warehouse.ensure_sources(&cluster, &desired, &[], None);
        let (_, place) = results.await?.pop().context("no source was made")?;
        Ok(Self {
            bucket: place?.bucket,
            url,
            scale,
            today: Timestamp::now().to_zoned(TimeZone::UTC).date(),
        })
    }

    /// Fails unless each of the days has its events.
    pub(crate) async fn require_filled(&self, client: &Client) -> anyhow::Result<()> {
        let (first, end) = (self.day(self.scale.days)?, self.day(0)?);
        let sql = format!(
            "SELECT count(*) FROM trunkline.events WHERE bucket = {} \
             AND received_at >= '{first} 00:00+00' AND received_at < '{end} 00:00+00'",
            self.bucket
        );
        let (found, expected) = (
            client.query_one(&sql, &[]).await?.get::<_, i64>(0),
            self.scale.events(),
        );
        ensure!(
            found == expected,
            "{found} events from {first} to {end}, not {expected}: fill it today"
        );
        Ok(())
    }

    /// A session of an analyst, whose time zone is UTC.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let (client, driver) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(driver);
        client.batch_execute("SET timezone = 'UTC'").await?;
        Ok(client)
    }

    /// The first moment of a day that many days ago.
    pub(crate) fn day(&self, age: u16) -> anyhow::Result<Date> {
        Ok(self.today.checked_sub(i64::from(age).days())?)
    }

    /// The partition of that day.
    pub(crate) fn leaf(&self, day: Date) -> String {
        format!("bucket_{}_{}", self.bucket, day.strftime("%Y%m%d"))
    }

    /// The partitions of the days before yesterday, as they were made then: like today's.
    pub(crate) async fn make_past(&self, client: &Client) -> anyhow::Result<()> {
        let (bucket, like) = (self.bucket, self.leaf(self.today));
        for age in 2..=self.scale.days {
            let day = self.day(age)?;
            let (leaf, next) = (self.leaf(day), day.tomorrow()?);
            let sql = format!(
                "DO $$ DECLARE index record; BEGIN \
                 EXECUTE format('CREATE TABLE trunkline_data.{leaf} (LIKE trunkline_data.{like} \
                 INCLUDING ALL EXCLUDING INDEXES) WITH (%s)', (SELECT array_to_string(reloptions, \
                 ', ') FROM pg_class WHERE oid = 'trunkline_data.{like}'::regclass)); \
                 FOR index IN SELECT pg_get_indexdef(indexrelid) AS sql FROM pg_index \
                 WHERE indrelid = 'trunkline_data.{like}'::regclass LOOP \
                 EXECUTE replace(index.sql, '{like}', '{leaf}'); END LOOP; \
                 ALTER TABLE trunkline_data.bucket_{bucket} \
                 ATTACH PARTITION trunkline_data.{leaf} \
                 FOR VALUES FROM ('{day} 00:00+00') TO ('{next} 00:00+00'); END $$"
            );
            client
                .batch_execute(&sql)
                .await
                .with_context(|| format!("making {leaf}"))?;
        }
        Ok(())
    }

    /// Stores the events of the days that many days ago.
    pub(crate) async fn fill(&self, client: &Client, ages: &[u16]) -> anyhow::Result<()> {
        let Scale {
            days,
            events_a_day,
            users,
        } = self.scale;
        let statement = client.prepare(EVENTS).await?;
        for &age in ages {
            let start = format!("{} 00:00+00", self.day(age)?);
            let before = i64::from(days.saturating_sub(age));
            let parameters: [&(dyn ToSql + Sync); 6] = [
                &self.bucket,
                &SOURCE,
                &start,
                &events_a_day,
                &before,
                &users,
            ];
            let stored = client.execute(&statement, &parameters).await;
            let stored = stored.with_context(|| format!("filling {start}"))?;
            ensure!(i64::try_from(stored)? == events_a_day, "{stored} events");
        }
        Ok(())
    }

    /// Makes the relations, as of what ingesters have noted.
    pub(crate) async fn relate(&self, client: &Client) -> anyhow::Result<()> {
        client.execute(SHAPES, &[&SOURCE]).await?;
        let mut relator = Relator::new(self.warehouse().await?);
        let news = "SELECT count(*) FROM trunkline.shapes WHERE handled_at IS NULL";
        let begun = Instant::now();
        while client.query_one(news, &[]).await?.get::<_, i64>(0) > 0 {
            let polled = relator.poll(&CLUSTER.parse()?).await?;
            ensure!(
                begun.elapsed() < RELATIONS_WITHIN,
                "no relations: {polled:?}"
            );
        }
        Ok(())
    }

    /// What the operator does every few minutes, until nothing is left to be done.
    pub(crate) async fn keep_up(&self) -> anyhow::Result<()> {
        let warehouse = self.warehouse().await?;
        while !warehouse.upkeep().await?.changed.is_empty() {}
        let cluster = CLUSTER.parse()?;
        let mut kept = warehouse.keep_indexes(&cluster).await?;
        while !kept.report.changed.is_empty() {
            kept = warehouse.keep_indexes(&cluster).await?;
        }
        ensure!(kept.troubles.is_empty(), "{:?}", kept.troubles);
        Ok(())
    }

    /// The warehouse, as the operator has it.
    pub(crate) async fn warehouse(&self) -> anyhow::Result<Warehouse> {
        Ok(Warehouse::connect(SecretBytes::new(&*self.url)).await?)
    }

    /// What the events take on disk with their indexes, in bytes.
    pub(crate) async fn bytes(&self, client: &Client) -> anyhow::Result<i64> {
        let sql = "SELECT bytes::bigint FROM trunkline.source_statistics WHERE name = $1";
        Ok(client.query_one(sql, &[&SOURCE]).await?.get(0))
    }

    /// What its relations' own tables take, where it has some.
    pub(crate) async fn materialized_bytes(&self, client: &Client) -> anyhow::Result<i64> {
        let sql = "SELECT coalesce(sum(pg_total_relation_size(to_regclass('trunkline_data.' || name))), \
                   0)::bigint FROM trunkline.materialized_partitions WHERE is_ready";
        Ok(client.query_one(sql, &[]).await?.get(0))
    }
}

/// The source as its manifest would say it.
pub(crate) fn source() -> anyhow::Result<DesiredSource> {
    Ok(DesiredSource {
        name: SOURCE.parse()?,
        schema: SCHEMA.parse()?,
        url: Some("http://localhost/webhooks/bench/shop".to_owned()),
        body: BodyFormat::Json,
        header_columns: Vec::new(),
        readers: Vec::new(),
        retention_days: None,
        partition_by: Some(PartitionBy::Day),
        storage: Some(Storage::Dedicated),
        indexes: None,
        layout: Some(WarehouseLayout::Segment),
        shaping: None,
        views: None,
    })
}
