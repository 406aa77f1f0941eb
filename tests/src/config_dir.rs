//! [`ConfigDir`]: a configuration directory as a kubelet writes it.

use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use trunkline_model::database::Certificates;
use trunkline_model::document::{
    BodyFormat, ClusterSettings, Document, Files, Limits, SourceEntry, SourceSettings, VERSION,
    encode, hash,
};
use trunkline_model::headers::HeaderSelection;
use trunkline_model::names::{ClusterName, SourceName};
use trunkline_model::presets::Preset;
use trunkline_model::request::HttpPolicy;
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{Mode, NamedSecret, Verification};
use trunkline_warehouse::{DesiredSource, WarehouseLayout};

/// A source before it is packed for travel.
#[derive(Debug, Clone)]
pub struct SourceDraft {
    /// Its name; its path and schema are the defaults.
    pub name: SourceName,
    /// `metadata.generation`.
    pub generation: i64,
    /// Everything else.
    pub settings: SourceSettings,
}

impl SourceDraft {
    /// A source of Segment's that accepts these secrets.
    #[must_use]
    pub fn segment(name: &str, secrets: &[&str]) -> Self {
        let mut draft = Self::unverified(name);
        draft.settings.split_arrays = true;
        draft.verify(false, secrets);
        draft
    }

    /// A source that verifies nothing and keeps arrays whole.
    #[must_use]
    pub fn unverified(name: &str) -> Self {
        Self {
            name: SourceName::new("default", name).unwrap(),
            generation: 1,
            settings: SourceSettings {
                bucket: 0,
                body: BodyFormat::Json,
                split_arrays: false,
                include_headers: HeaderSelection::default(),
                header_columns: Vec::new(),
                http: HttpPolicy::default(),
                rate_limit: None,
                notes_shapes: false,
                redaction: None,
                deduplication: None,
                verification: Verification::None,
            },
        }
    }

    /// Asks for Segment's signature under one of these secrets.
    pub fn verify(&mut self, strict: bool, secrets: &[&str]) {
        let named = |secret: &&str| NamedSecret {
            name: "segment-webhook/secret".to_owned(),
            value: SecretBytes::new(secret.as_bytes().to_vec()),
            expires_at: None,
        };
        let preset = Preset::by_name("segment").unwrap();
        let secrets = secrets.iter().map(named).collect();
        self.settings.verification = preset.verification(strict, Mode::Enforce, secrets);
    }

    /// Where to post.
    #[must_use]
    pub fn path(&self) -> String {
        self.name.default_path()
    }

    /// What is wanted for it in the database of `cluster`.
    #[must_use]
    pub fn desired(&self, cluster: &ClusterName) -> DesiredSource {
        DesiredSource {
            name: self.name.clone(),
            schema: self.name.default_schema(cluster).unwrap(),
            url: None,
            body: self.settings.body,
            header_columns: self.settings.header_columns.clone(),
            readers: Vec::new(),
            retention_days: None,
            partition_by: None,
            storage: None,
            indexes: None,
            layout: self
                .settings
                .notes_shapes
                .then_some(WarehouseLayout::Segment),
            shaping: None,
            views: None,
        }
    }

    fn entry(&self) -> SourceEntry {
        let paths = vec![self.path()];
        SourceEntry::new(self.name.clone(), self.generation, paths, &self.settings).unwrap()
    }
}

/// A directory whose files change all at once, by the swap of the link `..data`.
#[derive(Debug)]
pub struct ConfigDir {
    folder: TempDir,
    cluster: ClusterSettings,
    writes: u32,
}

impl ConfigDir {
    /// An empty directory for ingesters that write to this database.
    #[must_use]
    pub fn new(database_url: &str) -> Self {
        let cluster = ClusterSettings {
            name: Self::cluster(),
            hash_key: SecretBytes::new(b"of the tests".to_vec()),
            database_url: SecretBytes::new(database_url.as_bytes().to_vec()),
            database_certificates: Certificates::default(),
            limits: Limits {
                max_body_bytes: 6 << 20,
                bytes_in_flight: 256 << 20,
                writers: 2,
                max_connections: None,
            },
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            cluster,
            writes: 0,
        }
    }

    /// The cluster of every test.
    #[must_use]
    pub fn cluster() -> ClusterName {
        ClusterName::new("default", "main").unwrap()
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves the ingesters to another database with the next [`ConfigDir::write`].
    pub fn move_to(&mut self, database_url: &str) {
        self.cluster.database_url = SecretBytes::new(database_url.as_bytes().to_vec());
    }

    /// The certificates of the database, in force with the next [`ConfigDir::write`].
    pub fn certificates(&mut self) -> &mut Certificates {
        &mut self.cluster.database_certificates
    }

    /// Bounds of the ingester, in force with the next [`ConfigDir::write`].
    pub fn limits(&mut self) -> &mut Limits {
        &mut self.cluster.limits
    }

    /// Replaces the content and returns the hash by which `/config` names it.
    pub fn write(&mut self, sources: &[SourceDraft]) -> String {
        let document = |cluster, sources| Document {
            version: VERSION,
            cluster,
            sources,
        };
        let entries = sources.iter().map(SourceDraft::entry).collect();
        let files = Files::from([
            (
                "cluster.json.gz".to_owned(),
                encode(&document(Some(self.cluster.clone()), Vec::new())).unwrap(),
            ),
            (
                "sources-0.json.gz".to_owned(),
                encode(&document(None, entries)).unwrap(),
            ),
        ]);
        self.swap(&files);
        hash(&files, &self.cluster.hash_key).as_str().to_owned()
    }

    /// What kubelet's AtomicWriter does: a new folder, a link to it renamed over `..data`, the old
    /// folder removed.
    pub fn swap(&mut self, files: &Files) {
        self.writes += 1;
        let here = self.folder.path();
        let fresh = format!("..{}", self.writes);
        std::fs::create_dir(here.join(&fresh)).unwrap();
        for (name, bytes) in files {
            std::fs::write(here.join(&fresh).join(name), bytes).unwrap();
        }
        symlink(&fresh, here.join("..data_tmp")).unwrap();
        std::fs::rename(here.join("..data_tmp"), here.join("..data")).unwrap();
        for name in files.keys() {
            if !here.join(name).is_symlink() {
                symlink(Path::new("..data").join(name), here.join(name)).unwrap();
            }
        }
        if self.writes > 1 {
            std::fs::remove_dir_all(here.join(format!("..{}", self.writes - 1))).unwrap();
        }
    }
}
