//! A cluster's database, kept as the cluster wants it by a task of its own.
//!
//! The reconcilers tell it what is wanted and read what has become of it; they never wait for it,
//! so that a database that does not answer delays nothing in Kubernetes.

mod chore;
mod indexes;
mod purge;
mod relations;
mod removals;
mod retention;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::{ClusterName, RelationName, SourceName};
use trunkline_model::secret::SecretBytes;
use trunkline_pgconn::TlsError;
use trunkline_warehouse::{DesiredSource, Roles, Warehouse, crowding, durability, failover};

use crate::backoff::Backoff;
use crate::error::chain;
use relations::{Poller, Troubles};
use removals::{Leftovers, Removals};

/// How often a database in its desired state is looked at again, and its partitions made.
const VERIFY_EVERY: Duration = Duration::from_secs(600);
/// Bound on a pause after a failure: a database that is back is noticed within it.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// How long bringing the database to what is wanted may take. A thousand new sources take half a
/// minute; a server that holds its connections and answers nothing takes for ever.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(300);

/// What is said of a database that was given up.
const SILENT: &str =
    "the database takes too long; pg_stat_activity shows what its sessions wait for";

/// What a cluster wants of its database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// The owner's connection.
    pub(crate) owner: DatabaseLogin,
    /// Who makes the roles; none for what the owner may.
    pub(crate) roles: Option<Roles>,
    /// The password of the ingesters' login, where the operator makes it.
    pub(crate) ingest_password: SecretBytes,
    /// The sources.
    pub(crate) sources: Vec<DesiredSource>,
    /// Sources that are served and cannot be read.
    pub(crate) kept: Vec<SourceName>,
    /// Another value asks for a look although nothing else has changed.
    pub(crate) requested_at: Option<String>,
    /// Whether nothing may be changed: then only what exists is kept able to take rows.
    pub(crate) is_suspended: bool,
}

/// What has become of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// What was wanted.
    pub(crate) wanted: Arc<Wanted>,
    /// What there is now, or why there is nothing.
    pub(crate) result: Result<Ready, Failure>,
}

/// A database that is ready.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    /// Who makes the roles, as it turned out.
    pub(crate) roles: Roles,
    /// PostgreSQL as the ingesters; none where the cluster names the login itself.
    pub(crate) ingest: Option<DatabaseLogin>,
    /// Each source's place, or why it has none.
    pub(crate) sources: BTreeMap<SourceName, Result<Place, String>>,
    /// What its owner should know, though it takes writes.
    pub(crate) warnings: Vec<String>,
}

/// A source's place in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The partition of its rows.
    pub(crate) bucket: i32,
    /// The relation that analysts read.
    pub(crate) relation: RelationName,
    /// What is not yet as it should be, though rows can be taken.
    pub(crate) warnings: Vec<String>,
    /// Whether another try may change something of that soon.
    pub(crate) is_unfinished: bool,
    /// What is not as it should be of the source's own views.
    pub(crate) views: Vec<String>,
}

/// Why a database is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For the condition.
    pub(crate) reason: &'static str,
    /// With the fix.
    pub(crate) message: String,
}

/// A cluster's database.
#[derive(Debug)]
pub(crate) struct DatabaseHandle {
    wanted: watch::Sender<Option<Arc<Wanted>>>,
    outcome: watch::Receiver<Option<Outcome>>,
    drops: mpsc::UnboundedSender<(SourceName, Instant)>,
    removals: Arc<Removals>,
    tasks: [AbortHandle; 2],
}

impl Drop for DatabaseHandle {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl DatabaseHandle {
    /// Starts the task, and the one that makes relations for analysts. It sends `cluster` on `changed` whenever there is news.
    #[must_use]
    pub(crate) fn start(cluster: ClusterName, changed: mpsc::UnboundedSender<ClusterName>) -> Self {
        let (wanted, wanted_receiver) = watch::channel(None);
        let (outcome_sender, outcome) = watch::channel(None);
        let (drops, drop_receiver) = mpsc::unbounded_channel();
        let removals = Arc::<Removals>::default();
        let troubles = Arc::<Troubles>::default();
        let poller = Poller::new(cluster.clone(), Arc::clone(&troubles));
        let poller = tokio::spawn(poller.run(wanted_receiver.clone(), outcome.clone()));
        let keeper = Keeper {
            cluster,
            changed,
            outcome: outcome_sender,
            warehouse: None,
            backoff: Backoff::default(),
            removals: Arc::clone(&removals),
            troubles,
            index_troubles: BTreeMap::new(),
        };
        let task = tokio::spawn(keeper.run(wanted_receiver, drop_receiver));
        Self {
            wanted,
            outcome,
            drops,
            removals,
            tasks: [task.abort_handle(), poller.abort_handle()],
        }
    }

    /// Says what is wanted from now on.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|current| {
            if current.as_deref() == Some(&wanted) {
                return false;
            }
            *current = Some(Arc::new(wanted));
            true
        });
    }

    /// Keeps everything that there is, also rows that are older than their retention. A dropping
    /// that is under way ends at its next statement.
    pub(crate) fn suspend(&self) {
        self.wanted.send_if_modified(|current| match current {
            Some(wanted) if !wanted.is_suspended => {
                Arc::make_mut(wanted).is_suspended = true;
                true
            }
            _ => false,
        });
    }

    /// What has become of it so far.
    #[must_use]
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Drops a source's rows and relations: asks for it when nobody has, and tells how it went once
    /// it has ended. After a failure the next call asks again. What is not done within `patience` is
    /// given up: nothing of it happens after the failure is told, but for a statement that the
    /// server had by then.
    pub(crate) fn drop_source(
        &self,
        source: &SourceName,
        patience: Duration,
    ) -> Option<Result<(), String>> {
        let begin = |until| self.drops.send((source.clone(), until)).is_ok();
        self.removals.ask(source, patience, begin)
    }
}

/// The task's own state.
struct Keeper {
    cluster: ClusterName,
    changed: mpsc::UnboundedSender<ClusterName>,
    outcome: watch::Sender<Option<Outcome>>,
    /// The connection, and the login that it was made with.
    warehouse: Option<(DatabaseLogin, Warehouse)>,
    backoff: Backoff<()>,
    removals: Arc<Removals>,
    /// What keeps relations for analysts from being made.
    troubles: Arc<Troubles>,
    /// Why indexes could not be made or dropped when that was last tried.
    index_troubles: BTreeMap<SourceName, String>,
}

impl Keeper {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<Option<Arc<Wanted>>>,
        mut drops: mpsc::UnboundedReceiver<(SourceName, Instant)>,
    ) {
        let mut next = Instant::now() + VERIFY_EVERY;
        loop {
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
                () = self.troubles.changed() => {}
                Some((source, until)) = drops.recv() => {
                    let current = wanted.borrow().clone();
                    match self.remove(current.as_deref(), source, until).await {
                        Err(_) => return,
                        // They go once everything else is done.
                        Ok(Leftovers::Rows) => next = Instant::now(),
                        Ok(Leftovers::None) => {}
                    }
                    continue;
                }
            }
            let Some(current) = wanted.borrow_and_update().clone() else {
                continue;
            };
            let result = self.attempt(&current).await;
            let pause = match &result {
                Ok(ready) if ready.is_finished() => {
                    self.backoff.succeeded(&());
                    VERIFY_EVERY
                }
                Ok(_) => self.backoff.failed(()).min(LONGEST_RETRY),
                Err(failure) => {
                    tracing::warn!(cluster = %self.cluster, reason = failure.reason,
                        "{}", failure.message);
                    self.backoff.failed(()).min(LONGEST_RETRY)
                }
            };
            next = Instant::now() + pause;
            let takes_rows = result.is_ok();
            self.outcome.send_replace(Some(Outcome {
                wanted: Arc::clone(&current),
                result,
            }));
            if self.changed.send(self.cluster.clone()).is_err() {
                return;
            }
            if takes_rows && !current.is_suspended {
                tokio::select! {
                    biased;
                    // Whatever else is wanted goes first, and a suspension stops it.
                    changed = wanted.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        wanted.mark_changed();
                        self.warehouse = None;
                    }
                    Some((source, until)) = drops.recv() => {
                        self.warehouse = None;
                        if self.remove(Some(&current), source, until).await.is_err() {
                            return;
                        }
                        // What was interrupted, and what the source has left.
                        next = Instant::now();
                    }
                    has_news = self.tidy(&current) => if has_news {
                        next = Instant::now();
                    }
                }
            }
        }
    }

    /// What nobody waits for. None of it rests on what is before it. Whether the status is to tell of it.
    async fn tidy(&mut self, wanted: &Wanted) -> bool {
        self.drop_expired(wanted).await;
        self.purge(wanted).await;
        self.prune_rejections(wanted).await;
        self.upkeep(wanted).await;
        self.keep_indexes(wanted).await
    }

    async fn attempt(&mut self, wanted: &Wanted) -> Result<Ready, Failure> {
        let result = match timeout(ATTEMPT_DEADLINE, self.provision(wanted)).await {
            Ok(result) => result,
            Err(_) => Err(Failure {
                reason: "Unreachable",
                message: SILENT.to_owned(),
            }),
        };
        if result.is_err() {
            // A fresh connection next time: the server may be another one by then.
            self.warehouse = None;
        }
        result
    }

    async fn provision(&mut self, wanted: &Wanted) -> Result<Ready, Failure> {
        let cluster = self.cluster.clone();
        let troubles = Arc::clone(&self.troubles);
        let index_troubles = self.index_troubles.clone();
        let warehouse = self.connect(&wanted.owner).await?;
        let mut warnings = Vec::new();
        let server = warehouse.preflight().await?;
        let durable = durability(&server).map_err(|finding| finding.to_string());
        let kept = failover(&server).map_err(|finding| finding.to_string());
        warnings.extend(durable.err().into_iter().chain(kept.err()));
        let layout = warehouse.ensure_layout().await?;
        if let Some(step) = layout.pending.first() {
            // Ingesters of this version cannot write before it is done.
            return Err(Failure {
                reason: "Locked",
                message: step.to_string(),
            });
        }
        let ingest = warehouse
            .ensure_ingest(wanted.roles.clone(), &wanted.ingest_password)
            .await?;
        let results = warehouse
            .ensure_sources(
                &cluster,
                &wanted.sources,
                &wanted.kept,
                wanted.roles.as_ref(),
            )
            .await?;
        let crowded = crowding(warehouse.census().await?);
        warnings.extend(crowded.iter().map(ToString::to_string));
        let place = |name: &SourceName, result: Result<trunkline_warehouse::Provisioned, _>| {
            let provisioned = result.map_err(|error| chain(&error))?;
            let mut warnings: Vec<_> = provisioned
                .pending
                .iter()
                .map(ToString::to_string)
                .collect();
            warnings.extend(provisioned.warnings);
            let is_unfinished = !warnings.is_empty();
            warnings.extend(troubles.of(name));
            warnings.extend(index_troubles.get(name).cloned());
            warnings.extend(provisioned.notes);
            Ok(Place {
                bucket: provisioned.bucket,
                relation: provisioned.relation,
                warnings,
                is_unfinished,
                views: provisioned.views,
            })
        };
        Ok(Ready {
            roles: ingest.roles,
            ingest: ingest.login,
            sources: results
                .into_iter()
                .map(|(name, result)| {
                    let place = place(&name, result);
                    (name, place)
                })
                .collect(),
            warnings,
        })
    }

    async fn connect(
        &mut self,
        owner: &DatabaseLogin,
    ) -> Result<&Warehouse, trunkline_warehouse::Error> {
        let warehouse = match self.warehouse.take() {
            Some((known, warehouse)) if known == *owner => warehouse,
            _ => Warehouse::connect(owner).await?,
        };
        Ok(&self.warehouse.insert((owner.clone(), warehouse)).1)
    }
}

impl Ready {
    /// Whether nothing is left to be tried again soon.
    fn is_finished(&self) -> bool {
        let is_finished = |place: &Place| !place.is_unfinished && place.views.is_empty();
        self.sources
            .values()
            .all(|place| place.as_ref().is_ok_and(is_finished))
    }
}

impl From<trunkline_warehouse::Error> for Failure {
    fn from(error: trunkline_warehouse::Error) -> Self {
        Self {
            reason: reason(&error),
            message: chain(&error),
        }
    }
}

fn reason(error: &trunkline_warehouse::Error) -> &'static str {
    use trunkline_warehouse::Error;
    match error {
        Error::Url(_) => "InvalidDatabaseURL",
        Error::Tls { source, .. } => match source {
            TlsError::NotOffered(_) => "TLSNotOffered",
            TlsError::NotTrusted { .. } | TlsError::Expired => "CertificateNotTrusted",
            TlsError::OtherName { .. } | TlsError::NoName => "CertificateNameMismatch",
            TlsError::Handshake(_) => "TLSFailed",
        },
        Error::Unreachable { .. } => "Unreachable",
        Error::Password { .. }
        | Error::ClearText { .. }
        | Error::NotAllowed { .. }
        | Error::Refused { .. } => "LoginRefused",
        Error::NoDatabase { .. } => "DatabaseNotFound",
        Error::TooOld(_) => "VersionTooOld",
        Error::ReadOnly(_) | Error::NoPrimary { .. } => "ReadOnly",
        Error::NewerLayout { .. } => "LayoutTooNew",
        Error::ForeignSchema { .. } | Error::ForeignRole(_) => "NameTaken",
        Error::Denied { .. } | Error::NeedsCreateRole { .. } => "MissingGrant",
        Error::NoIngestRole { .. } => "RoleNotFound",
        Error::Locked { .. } => "Locked",
        _ => "DatabaseError",
    }
}
