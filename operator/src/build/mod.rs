//! Translates the validated model into what is applied.
//!
//! Pure: no I/O, no clock. Equal input gives equal output, byte for byte, so that what has not
//! changed is not written.

mod configuration;
mod rotation;
mod sizes;

pub use configuration::{
    CLUSTER_FILE, EntryInputs, SOURCE_FILES, configuration, entry, source_file, source_file_index,
};
pub use rotation::next_expiry;
pub use sizes::limits;
