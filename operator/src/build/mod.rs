//! Translates the validated model into what is applied.
//!
//! Pure: no I/O, no clock. Equal input gives equal output, byte for byte, so that what has not
//! changed is not written.

mod configuration;
mod desired;
mod objects;
mod rotation;
mod sizes;

pub use configuration::{
    CLUSTER_FILE, EntryInputs, SOURCE_FILES, configuration, entry, source_file, source_file_index,
};
pub use desired::desired_source;
pub(crate) use desired::readers;
pub use objects::{
    ADMIN_PORT, CLUSTER_LABEL, CONFIGURATION_ANNOTATION, HTTP, HTTPS, Listening, MANAGED_BY,
    ObjectInputs, Objects, base_url, configuration_secrets, object_name, objects, selector_labels,
    service_host, shard_names,
};
pub use rotation::next_expiry;
pub use sizes::{LEAST_MEMORY_MIB, limits, memory};

/// The image that ingesters run when nothing else says which: of this version.
pub const INGESTER_IMAGE: &str = concat!(
    "ghcr.io/trunkline/trunkline-ingester:",
    env!("CARGO_PKG_VERSION")
);
