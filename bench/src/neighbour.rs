//! Somebody who changes the database while senders post: what the operator's tasks do, by their own
//! code, and oftener than they would.
//!
//! Every change is checked to be one. What has to be prepared for it, as a week that passes, is made
//! by hand, without a lock that a sender waits for, and is not one of the changes.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio_postgres::Client;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::ClusterName;
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{ConfigDir, SourceDraft};
use trunkline_warehouse::{DesiredSource, Provisioned, Warehouse};

use crate::stalls::{Change, millis};
use crate::station::Station;

/// Between two changes, so that a stall can be said to come from one of them.
const PAUSE: Duration = Duration::from_millis(500);

/// Rows of a partition that is older than its retention, in portions of so many: what one
/// transaction adds is flushed at once, and commits of senders wait for that as for any large one.
const OLD_ROWS: (u32, u32) = (20, 250);

/// Between two portions.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// Partitions ahead that are made anew each time.
const FORGOTTEN: u32 = 3;

/// How long rows of the source that is posted to may stay; those of [`Neighbour::age`] are older.
const RETENTION_DAYS: u16 = 3_650;

/// A change, and when it began and ended.
pub(crate) struct Timed {
    what: &'static str,
    began: Instant,
    ended: Instant,
}

impl Timed {
    /// As seen from a run that began at `start`.
    pub(crate) fn since(&self, start: Instant) -> Change {
        let since = |time: Instant| millis(time.saturating_duration_since(start));
        Change {
            what: self.what,
            at_ms: since(self.began),
            end_ms: since(self.ended),
        }
    }
}

/// Changes the database of `station` in rounds until `duration` is over, and tells what it did when.
/// The round that runs then is ended, so that nothing of it is left.
pub(crate) async fn change(station: &Station, duration: Duration) -> anyhow::Result<Vec<Timed>> {
    let start = Instant::now();
    let owner = SecretBytes::new(station.database.url().into_bytes());
    let sources = station.drafts();
    let mut neighbour = Neighbour {
        warehouse: Warehouse::connect(owner).await?,
        client: station.database.connect().await,
        cluster: ConfigDir::cluster(),
        bucket: sources.first().context("a source")?.settings.bucket,
        sources: desired(sources),
        changes: Vec::new(),
    };
    let mut rounds = 0;
    while start.elapsed() < duration {
        neighbour.round(rounds).await?;
        rounds += 1;
    }
    Ok(neighbour.changes)
}

struct Neighbour {
    warehouse: Warehouse,
    /// For what is prepared.
    client: Client,
    cluster: ClusterName,
    /// Of the source that is posted to.
    bucket: i32,
    /// All that there are; the first is posted to.
    sources: Vec<DesiredSource>,
    changes: Vec<Timed>,
}

/// The sources of the station as the operator wants them.
fn desired(drafts: &[SourceDraft]) -> Vec<DesiredSource> {
    let cluster = ConfigDir::cluster();
    drafts.iter().map(|draft| draft.desired(&cluster)).collect()
}

impl Neighbour {
    async fn round(&mut self, number: u32) -> anyhow::Result<()> {
        let new = SourceDraft::unverified(&format!("new-{number}"));
        let new = desired(&[new]).pop().context("a source")?;
        let before = self.sources.clone();
        let with_new = [before.clone(), vec![new.clone()]].concat();
        let mut wider = with_new.clone();
        wider[0].header_columns = vec![HeaderColumn {
            name: "user-agent".to_owned(),
            column: "user_agent".to_owned(),
            bytes: false,
        }];
        let mut kept = before.clone();
        kept[0].retention_days = NonZeroU16::new(RETENTION_DAYS);
        let old = self.age(number).await?;

        self.timed("a look", async |this| this.look(&before).await)
            .await?;
        self.change("a source", async |this| this.ensure(&with_new).await)
            .await?;
        self.forget_future().await?;
        self.change("partitions", async |this| {
            Ok(this.warehouse.maintain().await?.changed)
        })
        .await?;
        self.change("a wider view", async |this| this.ensure(&wider).await)
            .await?;
        let upkeep = self.change("upkeep", async |this| {
            Ok(this.warehouse.upkeep().await?.changed)
        });
        concerns(&old, &upkeep.await?)?;
        let retention = self.change("retention", async |this| {
            this.warehouse.prune_rejections().await?;
            let dropped = this.warehouse.drop_expired(&this.cluster, &kept).await?;
            Ok(dropped.changed)
        });
        concerns(&old, &retention.await?)?;
        self.change("a narrower view", async |this| this.ensure(&with_new).await)
            .await?;
        self.change("no source", async |this| {
            let dropped = this.warehouse.drop_source(&this.cluster, &new.name).await?;
            Ok(dropped.changed)
        })
        .await?;
        Ok(())
    }

    /// A change, which has to be one. Says what was done.
    async fn change(
        &mut self,
        what: &'static str,
        change: impl AsyncFnOnce(&Self) -> anyhow::Result<Vec<String>>,
    ) -> anyhow::Result<Vec<String>> {
        let done = self.timed(what, change).await?;
        ensure!(!done.is_empty(), "{what}: nothing had to be changed");
        Ok(done)
    }

    async fn timed<T>(
        &mut self,
        what: &'static str,
        change: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        tokio::time::sleep(PAUSE).await;
        let began = Instant::now();
        let done = change(self).await.context(what)?;
        self.changes.push(Timed {
            what,
            began,
            ended: Instant::now(),
        });
        Ok(done)
    }

    /// What the operator does at each look, also when nothing is new.
    async fn look(&self, sources: &[DesiredSource]) -> anyhow::Result<()> {
        self.warehouse.preflight().await?;
        let layout = self.warehouse.ensure_layout().await?;
        ensure!(layout.pending.is_empty(), "{:?}", layout.pending);
        self.ensure(sources).await?;
        self.warehouse.census().await?;
        Ok(())
    }

    /// What was changed so that there are these sources. All of it has to be.
    async fn ensure(&self, sources: &[DesiredSource]) -> anyhow::Result<Vec<String>> {
        let results = self
            .warehouse
            .ensure_sources(&self.cluster, sources, &[], None)
            .await?;
        let mut changed = Vec::new();
        for (source, result) in results {
            let Provisioned {
                changed: done,
                pending,
                ..
            } = result.with_context(|| source.to_string())?;
            ensure!(pending.is_empty(), "{source}: {pending:?}");
            changed.extend(done);
        }
        Ok(changed)
    }

    /// Gives the source that is posted to a partition of long ago, and returns its name: another
    /// month for each round. Apart from the change before, so that nothing here is taken for it.
    async fn age(&self, number: u32) -> anyhow::Result<String> {
        tokio::time::sleep(PAUSE).await;
        let (year, month) = (2000 + number / 12, number % 12 + 1);
        let (next_year, next) = (2000 + (number + 1) / 12, (number + 1) % 12 + 1);
        let above = format!("trunkline_data.bucket_{}", self.bucket);
        let leaf = format!("{above}_{year}{month:02}");
        let create = format!(
            "CREATE TABLE {leaf} (LIKE {above} INCLUDING DEFAULTS); \
             CREATE INDEX ON {leaf} (received_at)"
        );
        self.client.batch_execute(&create).await?;
        let (portions, rows) = OLD_ROWS;
        let time = format!("'{year}-{month:02}-15 00:00:00+00'");
        for _ in 0..portions {
            let portion = format!(
                "INSERT INTO {leaf} SELECT * FROM {above} LIMIT {rows}; \
                 UPDATE {leaf} SET received_at = {time} WHERE received_at <> {time}"
            );
            self.client.batch_execute(&portion).await?;
            tokio::time::sleep(SHORT_PAUSE).await;
        }
        let sql = format!(
            "ALTER TABLE {above} ATTACH PARTITION {leaf} FOR VALUES \
             FROM ('{year}-{month:02}-01 00:00:00+00') TO ('{next_year}-{next:02}-01 00:00:00+00')"
        );
        self.client.batch_execute(&sql).await?;
        Ok(leaf)
    }

    /// Takes away the last partitions ahead of the source that is posted to, as if time had passed
    /// since they were made.
    async fn forget_future(&self) -> anyhow::Result<()> {
        let leaves = format!(
            "SELECT inhrelid::regclass::text FROM pg_inherits \
             WHERE inhparent = 'trunkline_data.bucket_{}'::regclass \
             ORDER BY 1 DESC LIMIT {FORGOTTEN}",
            self.bucket
        );
        for leaf in self.client.query(&leaves, &[]).await? {
            let leaf: &str = leaf.get(0);
            let detach = format!(
                "ALTER TABLE trunkline_data.bucket_{} DETACH PARTITION {leaf} CONCURRENTLY",
                self.bucket
            );
            self.client.batch_execute(&detach).await?;
            let drop = format!("DROP TABLE {leaf}");
            self.client.batch_execute(&drop).await?;
        }
        Ok(())
    }
}

fn concerns(table: &str, steps: &[String]) -> anyhow::Result<()> {
    let is_there = steps.iter().any(|step| step.contains(table));
    ensure!(is_there, "{table} is not among {steps:?}");
    Ok(())
}
