//! The configuration files of a cluster's ingesters.

use std::collections::BTreeMap;

use trunkline_model::document::{
    BodyFormat, ClusterSettings, Document, DocumentError, Files, SourceEntry, SourceSettings,
    VERSION, encode,
};
use trunkline_model::names::SourceName;
use trunkline_model::secret::SecretBytes;

use super::limits;
use crate::validate::{Cluster, Source};

/// The file with the settings of the cluster.
const CLUSTER_FILE: &str = "cluster.json.gz";
/// The file with the sources.
const SOURCES_FILE: &str = "sources.json.gz";

/// What the configuration is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its sources, valid, in any order.
    pub sources: Vec<&'a Source>,
    /// The bucket of each source that has one. A source without is known but not served.
    pub buckets: &'a BTreeMap<SourceName, Result<i32, String>>,
    /// PostgreSQL as the ingest role.
    pub database_url: SecretBytes,
    /// Random bytes that stay the same over the life of the cluster.
    pub hash_key: SecretBytes,
}

/// Makes the files.
///
/// # Errors
/// Only when encoding fails on memory.
pub fn configuration(inputs: &Inputs<'_>) -> Result<Files, DocumentError> {
    let cluster = Document {
        version: VERSION,
        cluster: Some(ClusterSettings {
            name: inputs.cluster.name.clone(),
            hash_key: inputs.hash_key.clone(),
            database_url: inputs.database_url.clone(),
            limits: limits(inputs.cluster.size),
        }),
        sources: Vec::new(),
    };
    let mut sources = inputs.sources.clone();
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    let entries: Result<Vec<_>, _> = sources
        .into_iter()
        .map(|source| entry(source, inputs.buckets))
        .collect();
    let sources = Document {
        version: VERSION,
        cluster: None,
        sources: entries?,
    };
    Ok(Files::from([
        (CLUSTER_FILE.to_owned(), encode(&cluster)?),
        (SOURCES_FILE.to_owned(), encode(&sources)?),
    ]))
}

fn entry(
    source: &Source,
    buckets: &BTreeMap<SourceName, Result<i32, String>>,
) -> Result<SourceEntry, DocumentError> {
    let (bucket, unprovisioned) = match buckets.get(&source.name) {
        Some(Ok(bucket)) => (*bucket, None),
        Some(Err(reason)) => (0, Some(reason.clone())),
        None => (
            0,
            Some("its relations do not exist in the database yet".to_owned()),
        ),
    };
    let settings = SourceSettings {
        bucket,
        body: BodyFormat::Json,
        split_arrays: source.split_arrays,
        include_headers: source.include_headers.clone(),
        header_columns: source.header_columns.clone(),
        verification: source.verification.clone(),
    };
    let mut entry = SourceEntry::new(
        source.name.clone(),
        source.generation,
        vec![source.path.clone()],
        &settings,
    )?;
    entry.unavailable = source
        .unavailable
        .as_ref()
        .map(ToString::to_string)
        .or(unprovisioned);
    Ok(entry)
}
