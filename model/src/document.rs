//! The configuration document: what the control plane tells the ingesters.
//!
//! It travels as files of one directory (in Kubernetes the projected Secrets of a WebhookCluster).
//! Each file is a [`Document`] of its own, as JSON, gzipped or not; together they make one
//! [`Configuration`].
//!
//! Invariants:
//! - Additive. A reader ignores fields that it does not know; a construct that must not be ignored
//!   is named in `requires`, and a reader that does not know it refuses that one source and serves
//!   the others.
//! - The hash names the bytes of all files, so that whoever wrote them can ask an ingester whether
//!   it serves them. It is keyed, because secrets are part of what it is made over.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::database::{Certificates, DatabaseLogin};
use crate::deduplication::{self, Deduplication};
use crate::headers::{HeaderColumn, HeaderSelection};
use crate::limits::RateLimit;
use crate::names::{ClusterName, SourceName};
use crate::redaction::{self, Redaction};
use crate::request::{self, HttpPolicy};
use crate::secret::SecretBytes;
use crate::verification::{self, Verification};

pub use crate::request::BodyFormat;

/// The version of the document's form. It rises only when a reader of the version before would
/// misunderstand the rest; additions do not raise it.
pub const VERSION: u32 = 1;

/// Constructs that [`SourceEntry::requires`] may name and this version knows.
pub const KNOWN_CONSTRUCTS: &[&[&str]] = &[
    request::CONSTRUCTS,
    redaction::CONSTRUCTS,
    deduplication::CONSTRUCTS,
    verification::CONSTRUCTS,
];

/// Digits of a revision: 64 bits tell two states of one source apart.
const REVISION_DIGITS: usize = 16;

/// Bound on a file after decompression. Far above what fits into a Kubernetes Secret.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// One file of the directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Settings of the whole cluster; exactly one file of the directory has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterSettings>,
    /// Sources, in any number of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceEntry>,
}

/// What holds for every source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSettings {
    /// The WebhookCluster.
    pub name: ClusterName,
    /// Random bytes that key the [`ConfigurationHash`].
    pub hash_key: SecretBytes,
    /// PostgreSQL as the ingest role, as a connection URL.
    pub database_url: SecretBytes,
    /// The certificates that belong to the URL. Whoever writes some writes an `sslmode` into the
    /// URL, so that a reader which knows no certificates refuses it.
    #[serde(default, skip_serializing_if = "Certificates::is_empty")]
    pub database_certificates: Certificates,
    /// What a pod may use.
    pub limits: Limits,
}

impl ClusterSettings {
    /// How ingesters log in to PostgreSQL.
    #[must_use]
    pub fn database_login(&self) -> DatabaseLogin {
        DatabaseLogin {
            url: self.database_url.clone(),
            certificates: self.database_certificates.clone(),
        }
    }
}

/// Bounds of one ingester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Largest request body, in bytes, after decompression.
    pub max_body_bytes: usize,
    /// Bytes of requests held at once, from the first byte of a body to its commit.
    pub bytes_in_flight: usize,
    /// Connections that write small deliveries.
    pub writers: usize,
    /// Connections that senders may have open at once; by default what the ingester's memory has room
    /// for, which it tells from `bytes_in_flight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
}

/// A source as it is written: the envelope that every version understands, and the settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceEntry {
    /// The WebhookSource.
    pub source: SourceName,
    /// `metadata.generation` of its manifest.
    pub generation: i64,
    /// Exact request paths.
    pub paths: Vec<String>,
    /// Names this entry, whatever in it has changed: see [`SourceEntry::with_revision`]. An ingester that
    /// serves the entry tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Constructs that a reader must know to serve this source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Why the source is answered with 503 although its paths are known: a secret is gone, for
    /// instance. For the owner; senders never see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// [`SourceSettings`], unread until the envelope has said that they can be.
    pub settings: Box<RawValue>,
}

impl SourceEntry {
    /// Packs a source for travel.
    ///
    /// # Errors
    /// Only when serde_json fails to serialise, which the types rule out.
    pub fn new(
        source: SourceName,
        generation: i64,
        paths: Vec<String>,
        settings: &SourceSettings,
    ) -> Result<Self, DocumentError> {
        let requires = request::constructs(settings)
            .chain(redaction::constructs(settings))
            .chain(deduplication::constructs(settings))
            .chain(verification::constructs(&settings.verification))
            .map(str::to_owned)
            .collect();
        let settings = serde_json::value::to_raw_value(settings).map_err(DocumentError::Encode)?;
        Ok(Self {
            source,
            generation,
            paths,
            revision: None,
            requires,
            unavailable: None,
            settings,
        })
    }

    /// Fills in the revision from all else. It is keyed as the hash is, and for the same reason.
    ///
    /// # Errors
    /// Only when serde_json fails to serialise, which the types rule out.
    pub fn with_revision(mut self, key: &SecretBytes) -> Result<Self, DocumentError> {
        self.revision = None;
        let bytes = serde_json::to_vec(&self).map_err(DocumentError::Encode)?;
        let mut revision = keyed(key, [bytes.as_slice()]);
        revision.truncate(REVISION_DIGITS);
        self.revision = Some(revision);
        Ok(self)
    }
}

/// What an ingester needs to serve a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSettings {
    /// The partition that its rows go to.
    pub bucket: i32,
    /// How a body becomes rows.
    pub body: BodyFormat,
    /// Whether each element of a top-level array is a row of its own.
    pub split_arrays: bool,
    /// Headers stored with each row.
    #[serde(default)]
    pub include_headers: HeaderSelection,
    /// Headers with columns of their own.
    #[serde(default)]
    pub header_columns: Vec<HeaderColumn>,
    /// Which requests are for it at all.
    #[serde(default, skip_serializing_if = "HttpPolicy::is_default")]
    pub http: HttpPolicy,
    /// How often it may be posted to, at each ingester; none is as often as there is room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Whether its ingesters note in `trunkline.shapes` which calls, event names and properties they
    /// see. One that does not know the field serves the source all the same, and notes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notes_shapes: bool,
    /// What of a body is taken out before anything is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redaction: Option<Redaction>,
    /// Which of its events are repeats that are not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// How a request proves its sender.
    pub verification: Verification,
}

/// A source as an ingester knows it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The WebhookSource.
    pub name: SourceName,
    /// `metadata.generation` of its manifest.
    pub generation: i64,
    /// Exact request paths.
    pub paths: Vec<String>,
    /// Names the entry that this was read from, when its writer did.
    pub revision: Option<String>,
    /// Which requests are for it at all; [`HttpPolicy::unknown`] when nothing can be read of it.
    pub http: HttpPolicy,
    /// What serves it, or why nothing does, for its owner.
    pub settings: Result<SourceSettings, String>,
}

/// All files together.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Names the bytes that this was read from.
    pub hash: ConfigurationHash,
    /// What holds for every source.
    pub cluster: ClusterSettings,
    /// Every source, by name.
    pub sources: Vec<Source>,
}

/// Names the content of a configuration directory, as 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigurationHash(String);

impl ConfigurationHash {
    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a directory is not a configuration. The last good one stays in use.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not a document.
    #[error("configuration file {file:?} is not a document")]
    Malformed {
        /// The file's name.
        file: String,
        /// What is wrong with it; serde_json quotes no string values in it.
        source: serde_json::Error,
    },
    /// Not readable after decompression.
    #[error("configuration file {file:?} does not decompress")]
    Decompress {
        /// The file's name.
        file: String,
        /// The decompressor's error.
        source: std::io::Error,
    },
    /// Written by a version that this one would misunderstand.
    #[error("configuration file {file:?} has version {version}; this version reads {VERSION}")]
    Version {
        /// The file's name.
        file: String,
        /// Its version.
        version: u32,
    },
    /// No file has cluster settings.
    #[error("no configuration file has cluster settings")]
    NoCluster,
    /// Two files have cluster settings.
    #[error("configuration files {first:?} and {second:?} both have cluster settings")]
    TwoClusters {
        /// One file.
        first: String,
        /// The other file.
        second: String,
    },
    /// Two sources answer to one path.
    #[error("sources {first} and {second} both have the path {path:?}")]
    SharedPath {
        /// The path.
        path: String,
        /// One source.
        first: SourceName,
        /// The other source.
        second: SourceName,
    },
    /// Cannot be written.
    #[error("document cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// Cannot be compressed.
    #[error("document cannot be compressed")]
    Compress(#[source] std::io::Error),
}

/// Files of a directory: name and bytes, in order of their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Writes a document as the bytes of one file. Equal documents give equal bytes.
///
/// # Errors
/// Only when serde_json or the compressor fails on memory.
pub fn encode(document: &Document) -> Result<Vec<u8>, DocumentError> {
    let json = serde_json::to_vec(document).map_err(DocumentError::Encode)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&json).map_err(DocumentError::Compress)?;
    encoder.finish().map_err(DocumentError::Compress)
}

/// Reads all files of a directory.
///
/// # Errors
/// [`DocumentError`] when the files together are not one configuration. A single source that this
/// version cannot serve is no error: its `settings` say why.
pub fn decode(files: &Files) -> Result<Configuration, DocumentError> {
    let mut cluster: Option<(&str, ClusterSettings)> = None;
    let mut sources = Vec::new();
    for (file, bytes) in files {
        let document = decode_document(file, bytes)?;
        if let Some(settings) = document.cluster {
            if let Some((first, _)) = cluster {
                return Err(DocumentError::TwoClusters {
                    first: first.to_owned(),
                    second: file.clone(),
                });
            }
            cluster = Some((file, settings));
        }
        sources.extend(document.sources.into_iter().map(read_source));
    }
    let (_, cluster) = cluster.ok_or(DocumentError::NoCluster)?;
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    refuse_shared_paths(&sources)?;
    Ok(Configuration {
        hash: hash(files, &cluster.hash_key),
        cluster,
        sources,
    })
}

/// The hash that [`decode`] gives to these files.
#[must_use]
pub fn hash(files: &Files, key: &SecretBytes) -> ConfigurationHash {
    let parts = files
        .iter()
        .flat_map(|(name, bytes)| [name.as_bytes(), bytes.as_slice()]);
    ConfigurationHash(keyed(key, parts))
}

/// HMAC-SHA256 over parts, each with its length before it, as hex digits.
fn keyed<'a>(key: &SecretBytes, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    // HMAC takes a key of any length; `new_from_slice` cannot fail for it.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        return String::new();
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    hex::encode(mac.finalize().into_bytes())
}

/// Reads one file of a directory.
///
/// # Errors
/// [`DocumentError`] when it is not a document of this version.
pub fn decode_document(file: &str, bytes: &[u8]) -> Result<Document, DocumentError> {
    let mut plain = Vec::new();
    let json = if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes)
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut plain)
            .map_err(|source| DocumentError::Decompress {
                file: file.to_owned(),
                source,
            })?;
        plain.as_slice()
    } else {
        bytes
    };
    let document: Document =
        serde_json::from_slice(json).map_err(|source| DocumentError::Malformed {
            file: file.to_owned(),
            source,
        })?;
    if document.version != VERSION {
        return Err(DocumentError::Version {
            file: file.to_owned(),
            version: document.version,
        });
    }
    Ok(document)
}

fn read_source(entry: SourceEntry) -> Source {
    let unknown = entry.requires.iter().find(|name| {
        !KNOWN_CONSTRUCTS
            .iter()
            .any(|known| known.contains(&name.as_str()))
    });
    let settings = serde_json::from_str::<SourceSettings>(entry.settings.get());
    let http = settings
        .as_ref()
        .map_or_else(|_| HttpPolicy::unknown(), |settings| settings.http.clone());
    let settings = match (entry.unavailable, unknown) {
        (Some(reason), _) => Err(reason),
        (None, Some(construct)) => Err(format!(
            "this ingester's version does not know {construct:?}; upgrade its image"
        )),
        // The error could quote a value, so only its place is kept.
        (None, None) => settings.map_err(|error| {
            format!(
                "this ingester's version does not understand the settings (column {}); \
                 upgrade its image",
                error.column()
            )
        }),
    };
    Source {
        name: entry.source,
        generation: entry.generation,
        paths: entry.paths,
        revision: entry.revision,
        http,
        settings,
    }
}

fn refuse_shared_paths(sources: &[Source]) -> Result<(), DocumentError> {
    let mut owners: BTreeMap<&str, &SourceName> = BTreeMap::new();
    for source in sources {
        for path in &source.paths {
            match owners.insert(path, &source.name) {
                Some(first) if *first != source.name => {
                    return Err(DocumentError::SharedPath {
                        path: path.clone(),
                        first: first.clone(),
                        second: source.name.clone(),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}
