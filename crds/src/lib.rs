//! API types of the group `trunkline.dev`, the only source of truth for manifests: a field's name,
//! type, default and description are written here and nowhere else.
//!
//! Invariant: nothing here decides. A value that deserialises is only well-formed; what it means
//! and whether it can be served is said by the operator's validation.

mod cluster;
mod source;

pub use cluster::{ClusterSize, Database, SecretRef, WebhookCluster, WebhookClusterSpec};
pub use source::{
    Body, BodyFormat, ClusterRef, HeaderColumn, IncludeHeaders, NoVerification, SecretKeyRef,
    SigningSecret, Verification, WebhookSource, WebhookSourceSpec,
};

/// The API group.
pub const GROUP: &str = "trunkline.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
