//! One run: database, warehouse, configuration directory and ingester, held together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use tokio_util::task::AbortOnDropHandle;
use trunkline_ingester::{Ingester, Options, Timeouts};
use trunkline_model::database::DatabaseLogin;
use trunkline_model::document::{ClusterSettings, SourceEntry, hash};
use trunkline_model::names::SourceName;
use trunkline_model::secret::SecretBytes;
use trunkline_operator::build::{EntryInputs, configuration, entry, limits};
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;
use trunkline_telemetry::traces::Traces;
use trunkline_warehouse::{DesiredSource, Warehouse, durability};

use super::args::DevArgs;
use super::configuration_dir::ConfigurationDir;
use super::database::Database;
use super::output::Output;
use super::relations;
use super::showcase;
use super::state::{Service, State, Storage};
use crate::admin;
use crate::files::{self, ManifestFile};

/// Pause before the layout is tried again.
const LAYOUT_RETRY: Duration = Duration::from_secs(1);
/// Bytes of the key of the configuration's hash.
const HASH_KEY_BYTES: usize = 32;

/// Everything that runs. The order of the fields is the order in which a failed start drops them:
/// the database goes last.
pub(super) struct Session {
    output: Output,
    state: State,
    /// What is served, for secrets that an edit replaces.
    served: BTreeMap<SourceName, SourceEntry>,
    /// What was last said of each source.
    announced: BTreeMap<SourceName, Service>,
    /// What was said of the database's part of them.
    warned: BTreeSet<String>,
    /// Whether the database has something left to be made.
    unfinished: bool,
    ingest: DatabaseLogin,
    hash_key: SecretBytes,
    ingester: Ingester,
    directory: ConfigurationDir,
    warehouse: Warehouse,
    /// Makes relations for analysts of what is received.
    relations: AbortOnDropHandle<()>,
    /// Freezing and analyzing, which may take long.
    upkeep: Option<AbortOnDropHandle<()>>,
    database: Database,
}

impl Session {
    /// Starts everything and returns once every source is served.
    pub(super) async fn start(
        args: &DevArgs,
        files: &[ManifestFile],
        output: Output,
    ) -> anyhow::Result<Self> {
        let manifests = Manifests::parse(files::as_texts(files))?;
        let validated = validate(&manifests)?;
        let problems = validated.problems();
        if !problems.0.is_empty() {
            return Err(problems.into());
        }
        output.oddities(&validated);
        let state = State::new(&validated);
        output.progress("starting …");
        let database = Database::open(args, &state.cluster.database).await?;
        let warehouse = Warehouse::connect(&database.owner).await?;
        if let Err(finding) = durability(&warehouse.preflight().await?) {
            output.warning(&finding.to_string());
        }
        prepare_layout(&warehouse, output).await?;
        let ingest = warehouse
            .ensure_ingest(None, &database.ingest_password())
            .await?;
        let ingest = ingest.login.unwrap_or_else(|| database.owner.clone());
        let hash_key: [u8; HASH_KEY_BYTES] = rand::random();
        let directory = ConfigurationDir::create().context("configuration directory")?;
        let ingester = Ingester::start(Options {
            config_dir: directory.path().to_owned(),
            listen: args.listen,
            admin_listen: args.admin_listen,
            pod_uid: None,
            name: None,
            traces: Traces::default(),
            tls: None,
            timeouts: Timeouts::default(),
        })
        .await?;
        let relations = relations::start(&database.owner, &state.cluster.name, output);
        let mut session = Self {
            output,
            state,
            served: BTreeMap::new(),
            announced: BTreeMap::new(),
            warned: BTreeSet::new(),
            unfinished: false,
            ingest,
            hash_key: SecretBytes::new(hash_key.to_vec()),
            ingester,
            directory,
            warehouse,
            relations,
            upkeep: None,
            database,
        };
        session.begin().await?;
        Ok(session)
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        self.provision().await?;
        self.publish().await?;
        self.output
            .database(&self.database.shown_url, &self.database.choice);
        self.announce();
        Ok(())
    }

    /// Reads changed files. Whatever is wrong is said; what was good goes on.
    pub(super) async fn reload(&mut self, files: &[ManifestFile]) {
        let validated =
            Manifests::parse(files::as_texts(files)).and_then(|manifests| validate(&manifests));
        let validated = match validated {
            Ok(validated) => validated,
            Err(problems) => {
                self.output.problems(&problems);
                return;
            }
        };
        for problems in validated
            .sources
            .values()
            .filter_map(|source| source.as_ref().err())
        {
            self.output.problems(problems);
        }
        self.output.oddities(&validated);
        let gone = self.state.update(&validated);
        self.apply().await;
        for name in gone {
            self.announced.remove(&name);
            self.output.removed(&name.to_string());
        }
    }

    /// Tries again what the database could not take before.
    pub(super) async fn retry(&mut self) {
        if self.unfinished {
            self.apply().await;
        }
    }

    /// Makes the partitions of the coming days, drops those that are older than the retention of
    /// their source and what the log of refusals keeps too long, and begins to freeze those whose
    /// time is over.
    pub(super) async fn maintain(&mut self) {
        let (cluster, desired) = (self.state.cluster.name.clone(), self.desired());
        let made = self.warehouse.maintain().await;
        let dropped = self.warehouse.drop_expired(&cluster, &desired).await;
        let pruned = self.warehouse.prune_rejections().await;
        for report in [made, dropped, pruned] {
            if let Err(error) = report {
                self.output
                    .warning(&format!("{:#}", anyhow::Error::from(error)));
            }
        }
        self.begin_upkeep();
    }

    /// On a connection of its own, since nobody should wait for it.
    fn begin_upkeep(&mut self) {
        if self.upkeep.as_ref().is_some_and(|last| !last.is_finished()) {
            return;
        }
        let (owner, output) = (self.database.owner.clone(), self.output);
        let cluster = self.state.cluster.name.clone();
        let upkeep = async move {
            let done = async {
                let warehouse = Warehouse::connect(&owner).await?;
                let indexed = warehouse.keep_indexes(&cluster).await?;
                for trouble in indexed.troubles.values() {
                    output.warning(trouble);
                }
                warehouse.upkeep().await
            };
            if let Err(error) = done.await {
                output.warning(&format!("{:#}", anyhow::Error::from(error)));
            }
        };
        self.upkeep = Some(AbortOnDropHandle::new(tokio::spawn(upkeep)));
    }

    /// Posts events to the first source that takes Segment's and shows the view, and the relations
    /// that were made of them. Whether all of them arrived.
    pub(super) async fn show(&mut self, count: u64) -> anyhow::Result<bool> {
        showcase::run(
            &self.state,
            self.ingester.local_addr(),
            &self.database,
            count,
            self.output,
        )
        .await
    }

    /// Stops in the order in which requests flow, so that none is lost on the way.
    pub(super) async fn stop(self) {
        self.ingester.stop().await;
        drop(self.directory);
        drop(self.relations);
        drop(self.upkeep);
        drop(self.warehouse);
        self.database.stop().await;
    }

    async fn apply(&mut self) {
        if let Err(error) = self.provision().await {
            self.unfinished = true;
            self.output.warning(&format!("{error:#}"));
        }
        if let Err(error) = self.publish().await {
            self.output.warning(&format!("{error:#}"));
            return;
        }
        self.announce();
    }

    /// The sources as the database is to have them.
    fn desired(&self) -> Vec<DesiredSource> {
        let address = self.ingester.local_addr();
        self.state
            .sources
            .values()
            .map(|source| DesiredSource {
                name: source.name.clone(),
                schema: source.schema.clone(),
                url: Some(format!("http://{address}{}", source.path)),
                body: source.body,
                header_columns: source.header_columns.clone(),
                readers: Vec::new(),
                retention_days: source.retention_days,
                partition_by: Some(source.partition_by),
                storage: Some(source.storage),
                indexes: Some(source.indexes),
                layout: Some(source.layout),
                shaping: Some(source.shaping.clone()),
                views: Some(source.views.clone()),
            })
            .collect()
    }

    /// Gives every source its place in the database, before any ingester hears of it.
    async fn provision(&mut self) -> anyhow::Result<()> {
        let desired = self.desired();
        let cluster = self.state.cluster.name.clone();
        let results = self
            .warehouse
            .ensure_sources(&cluster, &desired, &[], None)
            .await?;
        self.unfinished = false;
        for (name, result) in results {
            let storage = match result {
                Ok(provisioned) => {
                    self.unfinished |=
                        !provisioned.pending.is_empty() || !provisioned.views.is_empty();
                    let pending = provisioned.pending.iter().map(ToString::to_string);
                    let warnings = pending
                        .chain(provisioned.warnings)
                        .chain(provisioned.notes)
                        .chain(provisioned.views);
                    for warning in warnings {
                        self.warn_once(format!("{name}: {warning}"));
                    }
                    Ok(Storage {
                        bucket: provisioned.bucket,
                        relation: provisioned.relation,
                    })
                }
                Err(error) => {
                    self.unfinished = true;
                    Err(format!("{:#}", anyhow::Error::from(error)))
                }
            };
            self.state.storage.insert(name, storage);
        }
        Ok(())
    }

    /// Says what stays so until somebody acts.
    fn warn_once(&mut self, warning: String) {
        if !self.warned.contains(&warning) {
            self.output.warning(&warning);
            self.warned.insert(warning);
        }
    }

    /// Puts the configuration in its directory and waits until it is served.
    async fn publish(&mut self) -> anyhow::Result<()> {
        let cluster = ClusterSettings {
            name: self.state.cluster.name.clone(),
            hash_key: self.hash_key.clone(),
            database_url: self.ingest.url.clone(),
            database_certificates: self.ingest.certificates.clone(),
            limits: limits(&self.state.cluster),
        };
        let now = jiff::Timestamp::now().as_second();
        let entries = self.state.sources.values().map(|source| {
            let inputs = EntryInputs {
                bucket: self.state.bucket(&source.name),
                previous: self.served.get(&source.name),
                now,
                hash_key: &self.hash_key,
            };
            entry(source, inputs)
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let files = configuration(cluster, entries.clone())?;
        self.served = entries
            .into_iter()
            .map(|entry| (entry.source.clone(), entry))
            .collect();
        self.directory
            .swap(&files)
            .context("configuration directory")?;
        let hash = hash(&files, &self.hash_key);
        admin::wait_until_served(self.ingester.admin_addr(), hash.as_str()).await
    }

    /// Says of every source what has changed about it.
    fn announce(&mut self) {
        let address = self.ingester.local_addr();
        for source in self.state.sources.values() {
            let service = self.state.service(source, address);
            if self.announced.get(&source.name) == Some(&service) {
                continue;
            }
            let name = source.name.to_string();
            match &service {
                Service::Ready { url, relation } => self.output.ready(&name, url, relation),
                Service::Unavailable { reason } => self.output.unavailable(&name, reason),
            }
            self.announced.insert(source.name.clone(), service);
        }
    }
}

/// Brings the layout up to date. An ingester of this version cannot write before all of it is
/// there, so a step that waits for others' locks is waited for.
async fn prepare_layout(warehouse: &Warehouse, output: Output) -> anyhow::Result<()> {
    let mut said = false;
    loop {
        let report = warehouse.ensure_layout().await?;
        if report.pending.is_empty() {
            return Ok(());
        }
        if !said {
            for step in &report.pending {
                output.warning(&step.to_string());
            }
            said = true;
        }
        tokio::time::sleep(LAYOUT_RETRY).await;
    }
}
