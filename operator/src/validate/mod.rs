//! Turns raw manifests into a complete model, or says what to mend.
//!
//! Pure: no I/O, no clock. Behind this step nothing asks whether a reference exists or a default
//! applies.
//!
//! Invariant: one source's fault is that source's alone; the others come out as if it were not
//! there.

mod cluster;
mod deduplication;
mod redaction;
mod request;
mod source;
mod storage;
#[cfg(test)]
mod tests;
mod verification;
mod views;
mod warehouse;

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use k8s_openapi::api::core::v1::ResourceRequirements;
use trunkline_crds::{ClusterSize, DeletionPolicy, Ingress, UpdatePolicy, WebhookCluster};
use trunkline_model::database::DatabaseLogin;
use trunkline_model::deduplication::Deduplication;
use trunkline_model::headers::{HeaderColumn, HeaderSelection};
use trunkline_model::limits::RateLimit;
use trunkline_model::names::{ClusterName, SchemaName, SourceName};
use trunkline_model::redaction::Redaction;
use trunkline_model::request::{BodyFormat, HttpPolicy};
use trunkline_model::verification::Verification;
use trunkline_warehouse::{LeafIndexes, OwnViews, PartitionBy, Shaping, Storage, WarehouseLayout};

use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem, Problems};

pub use cluster::{
    CertificateFault, OWNER_FIELD, PodOptions, ServerCertificate, TLS_CERT_KEY,
    TLS_PRIVATE_KEY_KEY, Tls, database_login,
};

/// A WebhookCluster, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Its size.
    pub size: ClusterSize,
    /// Number of ingester pods.
    pub replicas: i32,
    /// CPU and memory in place of those of the size.
    pub resources: Option<ResourceRequirements>,
    /// The ingesters' image, when the spec names one.
    pub image: Option<String>,
    /// Which image ingesters run when it names none.
    pub update_policy: UpdatePolicy,
    /// Its database.
    pub database: DatabaseAccess,
    /// Who makes the roles, and how ingesters log in.
    pub roles: Roles,
    /// PostgreSQL roles that may read every source.
    pub readers: Vec<String>,
    /// How senders reach it from outside.
    pub exposure: Option<Exposure>,
    /// TLS in the ingesters.
    pub tls: Option<Tls>,
    /// What their pods have beside what they need.
    pub pods: PodOptions,
    /// Whether nothing may be changed for now.
    pub suspend: bool,
}

/// Who makes the PostgreSQL roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roles {
    /// The operator where the owner may create roles, else nobody.
    Default,
    /// The operator.
    Managed,
    /// An administrator; ingesters log in as this says.
    Provided(DatabaseAccess),
    /// Nobody; ingesters log in as the owner.
    Owner,
}

/// A way in from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The host name.
    pub host: String,
    /// The Ingress for it.
    pub ingress: Ingress,
}

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAccess {
    /// The Secrets are there.
    Login(DatabaseLogin),
    /// A Secret is not among the objects. In a cluster that is an error; `trunkline dev` uses a
    /// database of its own when it is the one of [`OWNER_FIELD`].
    Absent {
        /// The field that names it.
        field: &'static str,
        /// The Secret's name, in the cluster's namespace.
        secret: String,
    },
}

/// A WebhookSource, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// `metadata.generation`, 0 where there is none.
    pub generation: i64,
    /// Its request path.
    pub path: String,
    /// Its schema.
    pub schema: SchemaName,
    /// What its bodies are.
    pub body: BodyFormat,
    /// Whether each element of a top-level array is a row.
    pub split_arrays: bool,
    /// Which requests are for it at all.
    pub http: HttpPolicy,
    /// How often it may be posted to, at each pod.
    pub rate_limit: Option<RateLimit>,
    /// Headers to store.
    pub include_headers: HeaderSelection,
    /// Headers with columns of their own.
    pub header_columns: Vec<HeaderColumn>,
    /// What is taken out of its bodies, with its key filled in.
    pub redaction: Option<Redaction>,
    /// Which of its events are repeats that are not stored.
    pub deduplication: Option<Deduplication>,
    /// Its verification with secrets filled in.
    pub verification: Verification,
    /// How long a replaced secret stays valid, in seconds.
    pub rotation_grace_seconds: i64,
    /// PostgreSQL roles that may read it, besides the cluster's.
    pub readers: Vec<String>,
    /// How long its rows stay, in days; none for ever.
    pub retention_days: Option<NonZeroU16>,
    /// How long a time each partition of its rows holds.
    pub partition_by: PartitionBy,
    /// Whether it has partitions of its own.
    pub storage: Storage,
    /// What these are indexed by besides the time.
    pub indexes: LeafIndexes,
    /// Whose tables the relations for analysts are like.
    pub layout: WarehouseLayout,
    /// What else is decided of them.
    pub shaping: Shaping,
    /// What becomes of its rows when it is deleted.
    pub deletion_policy: DeletionPolicy,
    /// Why it cannot be served although it is valid.
    pub unavailable: Option<Unavailable>,
    /// What is odd but not wrong, for its owner.
    pub warnings: Vec<Problem>,
    /// The views of its own.
    pub views: OwnViews,
    /// What is wrong with others of them. The source is served all the same.
    pub view_problems: Vec<Problem>,
    /// What is wrong with the relations for analysts as it wants them. The source is served all the same.
    pub warehouse_problems: Vec<Problem>,
}

/// Why a valid source answers every request with 503.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The kind of reason.
    pub reason: UnavailableReason,
    /// What to mend.
    pub problem: Problem,
}

/// Kinds of reasons why a valid source cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnavailableReason {
    /// Its owner wants it so.
    Suspended,
    /// No Secret of that name, which revokes it.
    SecretNotFound,
    /// The Secret has no such key, which revokes it.
    SecretKeyNotFound,
    /// The value does not decode as the scheme's secrets do.
    SecretMalformed,
}

/// What came out of all manifests for one cluster.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The cluster.
    pub cluster: Cluster,
    /// Its sources, each valid or with its problems.
    pub sources: BTreeMap<SourceName, Result<Source, Problems>>,
}

impl Validated {
    /// The sources that are valid.
    pub fn valid(&self) -> impl Iterator<Item = &Source> {
        self.sources
            .values()
            .filter_map(|source| source.as_ref().ok())
    }

    /// Everything that stands in the way of some source being served.
    #[must_use]
    pub fn problems(&self) -> Problems {
        let mut problems = Vec::new();
        for source in self.sources.values() {
            match source {
                Ok(source) => problems.extend(
                    source
                        .unavailable
                        .iter()
                        .filter(|found| found.reason != UnavailableReason::Suspended)
                        .map(|found| found.problem.clone()),
                ),

                Err(found) => problems.extend(found.0.iter().cloned()),
            }
        }
        Problems(problems)
    }
}

/// Validates the one WebhookCluster of the manifests and the sources that refer to it.
///
/// # Errors
/// When there is not exactly one WebhookCluster, or when it is wrong itself. A source that refers
/// to a cluster that is not there is a problem of that source.
pub fn validate(manifests: &Manifests) -> Result<Validated, Problems> {
    let cluster = match manifests.clusters.as_slice() {
        [only] => only,
        [] => {
            return Err(single(
                "WebhookCluster",
                "there is none among the files; add one, for example \
                 examples/cluster.yaml of the project",
            ));
        }
        [_, second, ..] => {
            let mut collector =
                Collector::new(second.file.as_deref(), cluster::label(&second.object));
            collector.add(
                "",
                "is a second WebhookCluster; give the files of one at a time",
            );
            return collector.finish(None::<Validated>);
        }
    };
    let cluster = validate_cluster(cluster, manifests)?;
    let sources = validate_sources(&cluster.name, manifests);
    Ok(Validated { cluster, sources })
}

/// Validates a WebhookCluster.
///
/// # Errors
/// Everything that is wrong with it or with the Secrets of its database.
pub fn validate_cluster(
    cluster: &Located<WebhookCluster>,
    manifests: &Manifests,
) -> Result<Cluster, Problems> {
    cluster::validate(cluster, manifests)
}

/// Validates the sources of a cluster. Of two that claim one path or one schema, the first has it.
#[must_use]
pub fn validate_sources(
    cluster: &ClusterName,
    manifests: &Manifests,
) -> BTreeMap<SourceName, Result<Source, Problems>> {
    let mut sources = BTreeMap::new();
    let mut claims = source::Claims::default();
    for located in &manifests.sources {
        let Some(name) = source::name(&located.object) else {
            continue;
        };
        let outcome = source::validate(&name, located, cluster, manifests, &mut claims);
        sources.insert(name, outcome);
    }
    sources
}

fn single(object: &str, message: &str) -> Problems {
    Problems(vec![Problem {
        file: None,
        object: object.to_owned(),
        field: String::new(),
        message: message.to_owned(),
    }])
}
