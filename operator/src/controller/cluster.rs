//! One WebhookCluster and its sources: dereference → validate → build → apply, and what came of it.
//!
//! A cluster is reconciled as a whole, since its configuration is one: the state of every source
//! comes from the same look at everything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use trunkline_crds::{UpdatePolicy, WebhookCluster};
use trunkline_model::database::DatabaseLogin;
use trunkline_model::document::{ClusterSettings, DocumentError, Files, SourceEntry, hash};
use trunkline_model::names::{ClusterName, SourceName};
use trunkline_model::secret::SecretBytes;

use super::context::{ClusterMemory, Context};
use super::finalize;
use super::nudge::{nudge, nudge_for_certificate};
use super::objects::apply_objects;
use super::plan::{self, Placement, Validated};
use super::read::{self, Inputs, Served};
use super::report::{self, Report};
use crate::apply::ApplyError;
use crate::build::{Listening, base_url, configuration, limits, next_expiry};
use crate::database::{Outcome, Wanted};
use crate::problem::Problems;
use crate::status::requested_at;
use crate::validate::{Cluster, DatabaseAccess, Roles, validate_cluster, validate_sources};
use crate::watches::Guarded;

/// How soon to look again while something is on its way.
const SOON: Duration = Duration::from_secs(1);
/// How soon to look again when nothing is.
const LATER: Duration = Duration::from_secs(600);
/// Bytes of the key of the configuration's hash.
const HASH_KEY_BYTES: usize = 32;

/// Why a reconciliation could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReconcileError {
    /// Kubernetes did not take what was to be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The configuration cannot be encoded.
    #[error("could not make the configuration")]
    Configuration(#[from] DocumentError),
}

/// What pods are to serve, and what it was made of.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) served: Served,
    /// The files of it and their hash; none before the database is known.
    pub(super) files: Option<(Files, String)>,
}

/// Brings one cluster to what its manifests say.
pub(super) async fn reconcile(
    guarded: Arc<Guarded<WebhookCluster>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let Ok(cluster) = &guarded.0 else {
        tracing::warn!(cluster = %guarded.name_any(), "this version cannot read the object");
        return Ok(Action::await_change());
    };
    let object = context.statuses.current(cluster.clone());
    let namespace = object.namespace().unwrap_or_default();
    let Ok(name) = ClusterName::new(&namespace, &object.name_any()) else {
        return Ok(Action::await_change());
    };
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let memory = context.memory(&name);
    let mut memory = memory.lock().await;
    let outcome = reconcile_one(&context, &mut memory, &name, &object).await;
    context
        .metrics
        .reconciled(outcome.is_ok(), started.elapsed().as_secs_f64());
    outcome
}

async fn reconcile_one(
    context: &Context,
    memory: &mut ClusterMemory,
    name: &ClusterName,
    object: &WebhookCluster,
) -> Result<Action, ReconcileError> {
    let inputs = read::inputs(context, name, object).await;
    let listening = read::listening(context, name);
    memory.load(context, name);
    let cluster = validate_cluster(&inputs.manifests.clusters[0], &inputs.manifests);
    let sources = validate_sources(name, &inputs.manifests);
    let is_suspended = object.spec.suspend;
    if is_suspended {
        memory.database.suspend();
    } else {
        want_database(memory, object, &cluster, &sources, &inputs, listening);
    }
    let outcome = memory.database.outcome();
    let placements: BTreeMap<SourceName, Placement> = sources
        .keys()
        .map(|source| {
            let served = memory.served.entries.get(source);
            let placement = plan::placement(source, outcome.as_ref(), served);
            (source.clone(), placement)
        })
        .collect();
    let entries = plan::entries(
        &sources,
        &placements,
        &inputs.unreadable,
        &memory.served.entries,
        &memory.hash_key,
        Timestamp::now().as_second(),
    )?;
    let settings = settings(memory, name, &cluster, outcome.as_ref());
    let wish = wish(Served { settings, entries }, &memory.hash_key)?;
    let image = image(context, object, &cluster);
    let applied = if is_suspended {
        Ok(())
    } else {
        memory.remember(&wish);
        let cluster = cluster.as_ref().ok().zip(image.as_deref());
        let files = wish.files.as_ref().map(|(files, _)| files);
        let owner = owner(object);
        apply_objects(context, name, &owner, cluster, files, listening).await
    };
    let mut is_behind = false;
    if let (Some((_, hash)), false) = (&wish.files, is_suspended) {
        is_behind = nudge(context, memory, name, hash).await;
        let tls = cluster
            .as_ref()
            .ok()
            .and_then(|cluster| cluster.tls.as_ref());
        if let Some(Ok(certificate)) = tls.map(|tls| &tls.certificate) {
            let shown = certificate.fingerprint;
            is_behind |= nudge_for_certificate(context, memory, name, hash, shown).await;
        }
    }
    let finalizing = finalize::finalize(context, memory, name, &inputs.sources, is_suspended).await;
    let is_settled = report::report(
        context,
        memory,
        &Report {
            name,
            object,
            cluster: &cluster,
            sources: &sources,
            inputs: &inputs,
            placements: &placements,
            outcome: outcome.as_ref(),
            wish: &wish,
            listening,
            image,
            failure: applied.as_ref().err().map(|error| crate::chain(error)),
        },
    )
    .await?;
    applied?;
    let finalizing = finalizing?;
    Ok(Action::requeue(if is_behind || finalizing || !is_settled {
        SOON
    } else {
        next_look(&wish.served.entries, cluster.as_ref().ok())
    }))
}

/// Tells the database's task what is wanted. While the spec is invalid, it keeps what it has.
fn want_database(
    memory: &ClusterMemory,
    object: &WebhookCluster,
    cluster: &Result<Cluster, Problems>,
    sources: &Validated,
    inputs: &Inputs,
    listening: Listening,
) {
    let Ok(cluster) = cluster else { return };
    let DatabaseAccess::Login(owner) = &cluster.database else {
        return;
    };
    let roles = match &cluster.roles {
        Roles::Default => None,
        Roles::Managed => Some(trunkline_warehouse::Roles::Managed),
        Roles::Owner => Some(trunkline_warehouse::Roles::Owner),
        Roles::Provided(DatabaseAccess::Login(login)) => {
            match trunkline_warehouse::role_of(login) {
                Ok(ingest_role) => Some(trunkline_warehouse::Roles::Provided { ingest_role }),
                // Pods that are given this login say what is wrong with it.
                Err(_) => return,
            }
        }
        // The condition says so.
        Roles::Provided(DatabaseAccess::Absent { .. }) => return,
    };
    memory.database.want(Wanted {
        owner: owner.clone(),
        roles,
        ingest_password: memory.ingest_password(),
        sources: plan::desired_sources(
            &cluster.name,
            &cluster.readers,
            &base_url(cluster, listening),
            sources,
            &inputs.sources,
            &memory.served.entries,
        ),
        kept: plan::kept(&inputs.unreadable, &memory.served.entries),
        requested_at: requested_at(object),
        is_suspended: false,
    });
}

/// The settings of the cluster; while its spec is invalid, those that are served.
fn settings(
    memory: &ClusterMemory,
    name: &ClusterName,
    cluster: &Result<Cluster, Problems>,
    outcome: Option<&Outcome>,
) -> Option<ClusterSettings> {
    let served = memory.served.settings.as_ref();
    let Ok(cluster) = cluster else {
        return served.cloned();
    };
    let login = ingest_login(cluster, outcome, served)?;
    Some(ClusterSettings {
        name: name.clone(),
        hash_key: memory.hash_key.clone(),
        database_url: login.url,
        database_certificates: login.certificates,
        limits: limits(cluster),
    })
}

fn wish(served: Served, hash_key: &SecretBytes) -> Result<Wish, ReconcileError> {
    let files = match &served.settings {
        Some(settings) => {
            let entries = served.entries.values().cloned().collect();
            let files = configuration(settings.clone(), entries)?;
            let hash = hash(&files, hash_key).as_str().to_owned();
            Some((files, hash))
        }
        None => None,
    };
    Ok(Wish { served, files })
}

/// PostgreSQL as the ingesters: as the cluster says, as the database's task has made it, or as it
/// is served while the database cannot be asked.
fn ingest_login(
    cluster: &Cluster,
    outcome: Option<&Outcome>,
    served: Option<&ClusterSettings>,
) -> Option<DatabaseLogin> {
    let made = match &cluster.roles {
        Roles::Provided(DatabaseAccess::Login(login)) => Some(login.clone()),
        _ => outcome.and_then(|outcome| outcome.result.as_ref().ok()?.ingest.clone()),
    };
    made.or_else(|| served.map(ClusterSettings::database_login))
}

/// The image that pods are to run: the spec's; else the one that they run; else ours.
fn image(
    context: &Context,
    object: &WebhookCluster,
    cluster: &Result<Cluster, Problems>,
) -> Option<String> {
    let pinned = object
        .status
        .as_ref()
        .and_then(|status| status.image.clone());
    let Ok(cluster) = cluster else { return pinned };
    let ours = context.options.ingester_image.clone();
    Some(match (&cluster.image, cluster.update_policy) {
        (Some(image), _) => image.clone(),
        (None, UpdatePolicy::Pinned) => pinned.unwrap_or(ours),
        (None, UpdatePolicy::Follow) => ours,
    })
}

fn owner(object: &WebhookCluster) -> OwnerReference {
    OwnerReference {
        controller: Some(true),
        block_owner_deletion: None,
        ..object.owner_ref(&()).unwrap_or_default()
    }
}

/// When something changes by itself: a replaced secret ends, a certificate expires.
fn next_look(entries: &BTreeMap<SourceName, SourceEntry>, cluster: Option<&Cluster>) -> Duration {
    let now = Timestamp::now().as_second();
    let certificate = cluster.and_then(|it| it.tls.as_ref()?.certificate.as_ref().ok());
    entries
        .values()
        .filter_map(next_expiry)
        .chain(certificate.map(|it| it.expires_at))
        .filter_map(|at| u64::try_from(at - now).ok())
        .map(|seconds| Duration::from_secs(seconds + 1))
        .min()
        .unwrap_or(LATER)
        .min(LATER)
}

impl ClusterMemory {
    /// Reads what is served, once: the memory of an operator that has just started.
    fn load(&mut self, context: &Context, name: &ClusterName) {
        if self.is_loaded {
            return;
        }
        self.served = read::served(context, name);
        self.hash_key = match &self.served.settings {
            Some(settings) => settings.hash_key.clone(),
            None => {
                let key: [u8; HASH_KEY_BYTES] = rand::random();
                SecretBytes::new(key.to_vec())
            }
        };
        let long_ago = Instant::now()
            .checked_sub(LATER)
            .unwrap_or_else(Instant::now);
        for name in self.served.entries.keys() {
            self.wished_since.insert(name.clone(), long_ago);
        }
        self.is_loaded = true;
    }

    /// Takes over what is being written as what is served.
    fn remember(&mut self, wish: &Wish) {
        let before = std::mem::replace(&mut self.served, wish.served.clone()).entries;
        let entries = &self.served.entries;
        self.wished_since
            .retain(|source, _| entries.contains_key(source));
        for (source, entry) in entries {
            let is_same = before
                .get(source)
                .is_some_and(|before| before.revision == entry.revision);
            if !is_same || !self.wished_since.contains_key(source) {
                self.wished_since.insert(source.clone(), Instant::now());
            }
        }
    }

    /// The password of the ingesters' login: made from a key that only the configuration Secrets
    /// hold, so that it is the same after a restart.
    fn ingest_password(&self) -> SecretBytes {
        crate::secrets::derive(&self.hash_key, "ingest login")
    }
}
