//! The database that a pair of runs writes to, in the state of one that has been in use.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;
use trunkline_bench::routes::{Routes, Source};
use trunkline_model::deduplication::{Deduplication, Identity};
use trunkline_tests::{ConfigDir, Database, SourceDraft};

use crate::receiver::Kind;

/// The shared secret of every source.
pub(crate) const SECRET: &str = "the shared secret of the benchmark";

/// How many sources there are.
pub(crate) const SOURCES: usize = 100;

/// What the fastify receiver writes to: the columns of `trunkline.events` without its partitions,
/// as someone who writes a receiver for one purpose would have it.
const PLAIN_TABLE: &str = "public.webhook_events";

/// Settings of the server besides those of every private one: no checkpoint within a run, since it
/// would meet one receiver and not the other. Between runs there is one.
const SETTINGS: &[(&str, &str)] = &[("max_wal_size", "8GB"), ("checkpoint_timeout", "1h")];

/// How much of the log exists before the first run, in segments of 16 MiB. A server that has been
/// in use renames old ones; a new one writes each full of zeros when it is needed, and every commit
/// waits for it, some 50 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// What a run of seconds writes.
    Short,
    /// All that the server keeps: a window of minutes uses each segment several times.
    Long,
}

impl Log {
    /// The setting that keeps so much, and the number of its segments.
    fn kept(self) -> (&'static str, usize) {
        match self {
            Self::Short => ("1GB", 64),
            Self::Long => ("8GB", 512),
        }
    }
}

/// Sources that have relations for analysts.
struct Related {
    drafts: Vec<SourceDraft>,
    config: ConfigDir,
}

/// Keys of earlier events that are there, of which the index no longer fits into the processor's
/// memory and still into the server's: those of a source that sends two dozen events a second, by a
/// window of a day.
const EARLIER_KEYS: u32 = 2_000_000;

/// What only some receivers need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prepared {
    /// Partitions that tell repeats.
    pub(crate) has_layout: bool,
    /// Keys of earlier events.
    pub(crate) has_keys: bool,
}

/// A running server with [`SOURCES`] sources.
pub(crate) struct Station {
    pub(crate) database: Database,
    drafts: Vec<SourceDraft>,
    config: ConfigDir,
    /// The same, except that shapes are noted.
    noting: ConfigDir,
    /// As many whose `warehouse.layout` is Segment's.
    layout: Option<Related>,
    /// The sources as they are, except that they store no repeats.
    deduplicating: ConfigDir,
    folder: TempDir,
}

impl Station {
    /// Starts a server. Relations for analysts and keys take a while to be made.
    pub(crate) async fn start(writers: usize, log: Log, of: Prepared) -> anyhow::Result<Self> {
        let (min_wal_size, segments) = log.kept();
        let mut settings = SETTINGS.to_vec();
        settings.push(("min_wal_size", min_wal_size));
        let database = Database::start_with(&settings).await;
        let name = |number| format!("source-{number}");
        let mut drafts: Vec<_> = (0..SOURCES)
            .map(|number| SourceDraft::segment(&name(number), &[SECRET]))
            .collect();
        for draft in &mut drafts {
            draft.settings.include_headers.allow = vec!["user-agent".to_owned()];
        }
        database.provision(&ConfigDir::cluster(), &mut drafts).await;
        let config = |drafts: &[SourceDraft]| {
            let mut config = ConfigDir::new(database.ingest_url());
            config.limits().writers = writers;
            config.write(drafts);
            config
        };
        let mut noting = drafts.clone();
        for draft in &mut noting {
            draft.settings.notes_shapes = true;
        }
        let layout = if of.has_layout {
            let mut drafts: Vec<_> = (0..SOURCES)
                .map(|number| SourceDraft::segment(&format!("layout-{number}"), &[SECRET]))
                .collect();
            for draft in &mut drafts {
                draft.settings.include_headers.allow = vec!["user-agent".to_owned()];
                draft.settings.notes_shapes = true;
            }
            database.provision(&ConfigDir::cluster(), &mut drafts).await;
            let config = config(&drafts);
            Some(Related { drafts, config })
        } else {
            None
        };
        let mut deduplicating = drafts.clone();
        for draft in &mut deduplicating {
            draft.settings.deduplication = Some(Deduplication {
                by: Identity::MessageId,
                window_seconds: 24 * 3600,
            });
        }
        let (deduplicating, noting) = (config(&deduplicating), config(&noting));
        let config = config(&drafts);
        let folder = tempfile::tempdir()?;
        let station = Self {
            database,
            drafts,
            config,
            noting,
            layout,
            deduplicating,
            folder,
        };
        station.write_routes()?;
        if of.has_keys {
            station.fill_keys().await?;
        }
        station.prepare(segments).await?;
        Ok(station)
    }

    fn write_routes(&self) -> anyhow::Result<()> {
        let source = |draft: &SourceDraft| {
            let source = Source {
                name: draft.name.to_string(),
                bucket: draft.settings.bucket,
            };
            (draft.path(), source)
        };
        let routes = Routes {
            database: self.database.ingest_url().to_owned(),
            secret: SECRET.to_owned(),
            sources: self.drafts.iter().map(source).collect(),
        };
        Ok(std::fs::write(self.routes(), serde_json::to_vec(&routes)?)?)
    }

    /// Their time is never over, so that they are told from those of a run.
    async fn fill_keys(&self) -> anyhow::Result<()> {
        let client = self.database.connect().await;
        let fill = format!(
            "INSERT INTO trunkline.seen_keys SELECT gen_random_uuid(), 'infinity' \
             FROM generate_series(1, {EARLIER_KEYS})"
        );
        Ok(client.batch_execute(&fill).await?)
    }

    async fn prepare(&self, segments: usize) -> anyhow::Result<()> {
        let client = self.database.connect().await;
        let table = format!(
            "CREATE TABLE {PLAIN_TABLE} (LIKE trunkline.events INCLUDING DEFAULTS); \
             GRANT INSERT ON {PLAIN_TABLE} TO PUBLIC"
        );
        client.batch_execute(&table).await?;
        for _ in 0..segments {
            // A segment with nothing in it is not switched.
            client
                .batch_execute("SELECT pg_logical_emit_message(false, 'bench', '')")
                .await?;
            client.batch_execute("SELECT pg_switch_wal()").await?;
        }
        self.clear().await
    }

    /// Where the first `count` sources of a receiver are posted to.
    pub(crate) fn paths(&self, receiver: Kind, count: usize) -> anyhow::Result<Vec<String>> {
        let drafts = match receiver {
            Kind::Layout => self.related()?,
            _ => &self.drafts,
        };
        Ok(drafts.iter().take(count).map(SourceDraft::path).collect())
    }

    /// Those that have relations for analysts.
    pub(crate) fn related(&self) -> anyhow::Result<&[SourceDraft]> {
        let layout = self.layout.as_ref();
        Ok(&layout.context("sources with a layout")?.drafts)
    }

    /// All sources.
    pub(crate) fn drafts(&self) -> &[SourceDraft] {
        &self.drafts
    }

    /// The configuration directory of the ingester.
    pub(crate) fn config_dir(&self) -> &Path {
        self.config.path()
    }

    /// The configuration directory of an ingester that notes shapes.
    pub(crate) fn noting_config_dir(&self) -> &Path {
        self.noting.path()
    }

    /// The configuration directory of an ingester whose sources have relations for analysts.
    pub(crate) fn layout_config_dir(&self) -> anyhow::Result<&Path> {
        let layout = self.layout.as_ref();
        Ok(layout.context("sources with a layout")?.config.path())
    }

    /// The configuration directory of an ingester whose sources store no repeats.
    pub(crate) fn deduplicating_config_dir(&self) -> &Path {
        self.deduplicating.path()
    }

    /// The file of [`Routes`].
    pub(crate) fn routes(&self) -> PathBuf {
        self.folder.path().join("routes.json")
    }

    /// A file for what a receiver says.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("receiver.log")
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.database.pid().context("PostgreSQL has ended")
    }

    /// Rows in either table.
    pub(crate) async fn rows(&self) -> anyhow::Result<u64> {
        let count = format!(
            "SELECT (SELECT count(*) FROM trunkline.events) + (SELECT count(*) FROM {PLAIN_TABLE})"
        );
        Ok(self.database.count(&count).await.try_into()?)
    }

    /// Empties what has rows, and writes a checkpoint, which makes room in the log.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        let client = self.database.connect().await;
        let filled = "SELECT format('TRUNCATE %s', string_agg(relid::text, ', ')) \
             FROM pg_partition_tree('trunkline.events') \
             WHERE isleaf AND pg_relation_size(relid) > 0 HAVING count(*) > 0";
        for row in client.query(filled, &[]).await? {
            client.batch_execute(row.get(0)).await?;
        }
        client
            .batch_execute(&format!("TRUNCATE {PLAIN_TABLE}, trunkline.shapes"))
            .await?;
        // The events of the next run are the same.
        client
            .batch_execute("DELETE FROM trunkline.seen_keys WHERE until < 'infinity'")
            .await?;
        client.batch_execute("VACUUM trunkline.seen_keys").await?;
        client.batch_execute("CHECKPOINT").await?;
        Ok(())
    }
}
