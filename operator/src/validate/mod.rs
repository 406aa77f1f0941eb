//! Turns raw manifests into a complete model, or says what to mend.
//!
//! Pure: no I/O, no clock. Behind this step nothing asks whether a reference exists or a default
//! applies.
//!
//! Invariant: one source's fault is that source's alone; the others come out as if it were not
//! there.

mod cluster;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use trunkline_model::headers::{HeaderColumn, HeaderSelection};
use trunkline_model::names::{ClusterName, SchemaName, SourceName};
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::Verification;

use crate::manifests::Manifests;
use crate::problem::{Collector, Problem, Problems};

pub use cluster::database_url;

/// A WebhookCluster, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Its size.
    pub size: trunkline_crds::ClusterSize,
    /// Its database.
    pub database: DatabaseAccess,
}

/// Where the owner's connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAccess {
    /// The Secret is there: the owner's connection URL.
    Url(SecretBytes),
    /// The Secret of that name is not among the objects. In a cluster that is an error; `trunkline
    /// dev` uses a database of its own.
    Absent {
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
    /// Whether each element of a top-level array is a row.
    pub split_arrays: bool,
    /// Headers to store.
    pub include_headers: HeaderSelection,
    /// Headers with columns of their own.
    pub header_columns: Vec<HeaderColumn>,
    /// Its verification with secrets filled in.
    pub verification: Verification,
    /// Why it cannot be served although it is valid: a secret is absent.
    pub unavailable: Option<Problem>,
    /// What is odd but not wrong, for its owner.
    pub warnings: Vec<Problem>,
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
                Ok(source) => problems.extend(source.unavailable.clone()),
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
            let mut collector = Collector::new(&second.file, cluster::label(&second.object));
            collector.add(
                "",
                "is a second WebhookCluster; give the files of one at a time",
            );
            return collector.finish(None::<Validated>);
        }
    };
    let validated = cluster::validate(cluster, manifests)?;
    let mut sources = BTreeMap::new();
    let mut claims = source::Claims::default();
    for located in &manifests.sources {
        let Some(name) = source::name(&located.object) else {
            continue;
        };
        let outcome = source::validate(&name, located, &validated.name, manifests, &mut claims);
        sources.insert(name, outcome);
    }
    Ok(Validated {
        cluster: validated,
        sources,
    })
}

fn single(object: &str, message: &str) -> Problems {
    Problems(vec![Problem {
        file: None,
        object: object.to_owned(),
        field: String::new(),
        message: message.to_owned(),
    }])
}
