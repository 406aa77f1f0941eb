//! The configuration files of a cluster's ingesters.
//!
//! Each source lies in the file that its name picks, so that a change rewrites one file of a fixed
//! number: adding a source never changes what a pod mounts, and no file grows past what a
//! Kubernetes Secret holds.

use trunkline_model::document::{
    ClusterSettings, Document, DocumentError, Files, SourceEntry, SourceSettings, VERSION, encode,
};
use trunkline_model::names::SourceName;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::WarehouseLayout;

use super::rotation::retain_replaced;
use crate::validate::Source;

/// The file with the settings of the cluster.
pub const CLUSTER_FILE: &str = "cluster.json.gz";

/// Number of files with sources. Some twenty thousand sources fill the 1 MiB of each. It is part
/// of the pod template: another number rolls the pods.
pub const SOURCE_FILES: usize = 16;

/// The name of one file with sources.
#[must_use]
pub fn source_file(index: usize) -> String {
    format!("sources-{index:02}.json.gz")
}

/// The file that a source lies in, 0 to [`SOURCE_FILES`] - 1.
#[must_use]
pub fn source_file_index(source: &SourceName) -> usize {
    // FNV-1a: the same for every version and every machine, which std's hasher does not promise.
    let hash = source
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    usize::try_from(hash % SOURCE_FILES as u64).unwrap_or(0)
}

/// Makes the files. Entries may come in any order.
///
/// # Errors
/// Only when encoding fails on memory.
pub fn configuration(
    cluster: ClusterSettings,
    mut entries: Vec<SourceEntry>,
) -> Result<Files, DocumentError> {
    entries.sort_by(|one, other| one.source.cmp(&other.source));
    let mut files: Vec<Vec<SourceEntry>> = vec![Vec::new(); SOURCE_FILES];
    for entry in entries {
        files[source_file_index(&entry.source)].push(entry);
    }
    let cluster = Document {
        version: VERSION,
        cluster: Some(cluster),
        sources: Vec::new(),
    };
    let mut encoded = Files::from([(CLUSTER_FILE.to_owned(), encode(&cluster)?)]);
    for (index, sources) in files.into_iter().enumerate() {
        let document = Document {
            version: VERSION,
            cluster: None,
            sources,
        };
        encoded.insert(source_file(index), encode(&document)?);
    }
    Ok(encoded)
}

/// What the entry of a source is made of besides its manifest.
#[derive(Debug)]
pub struct EntryInputs<'a> {
    /// Its partition, or why it has none; a source without is known and answers 503.
    pub bucket: Result<i32, String>,
    /// What is served of it now, for the secrets that have been replaced since.
    pub previous: Option<&'a SourceEntry>,
    /// Seconds since 1970.
    pub now: i64,
    /// Keys the entry's revision.
    pub hash_key: &'a SecretBytes,
}

/// Makes the entry of a source.
///
/// # Errors
/// Only when encoding fails, which the types rule out.
pub fn entry(source: &Source, inputs: EntryInputs<'_>) -> Result<SourceEntry, DocumentError> {
    let mut verification = source.verification.clone();
    if let Some(secrets) = verification.secrets_mut() {
        let grace = source.rotation_grace_seconds;
        retain_replaced(secrets, inputs.previous, grace, inputs.now);
    }
    let (bucket, unprovisioned) = match inputs.bucket {
        Ok(bucket) => (bucket, None),
        Err(reason) => (0, Some(reason)),
    };
    let settings = SourceSettings {
        bucket,
        body: source.body,
        split_arrays: source.split_arrays,
        include_headers: source.include_headers.clone(),
        header_columns: source.header_columns.clone(),
        http: source.http.clone(),
        rate_limit: source.rate_limit,
        notes_shapes: source.layout != WarehouseLayout::None,
        redaction: source.redaction.clone(),
        deduplication: source.deduplication.clone(),
        verification,
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
        .map(|unavailable| unavailable.problem.to_string())
        .or(unprovisioned);
    entry.with_revision(inputs.hash_key)
}
