//! API types of the group `trunkline.dev`, the only source of truth for manifests: a field's name,
//! type, bounds, default and description are written here and nowhere else. The YAML of the custom
//! resource definitions is generated from them, beside them.
//!
//! Invariant: nothing here decides. A value that deserialises is only well-formed; what it means
//! and whether it can be served is said by the operator's validation.

// The schema's derive repeats each struct where nothing can reach it.
#![allow(unreachable_pub, reason = "of generated items")]
#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a type"
)]

mod cluster;
mod deduplication;
mod definitions;
mod pods;
mod redaction;
mod reference;
mod source;
mod verification;
mod views;
mod warehouse;

pub use cluster::{
    ClusterSize, Database, DatabaseRoles, Exposure, Ingress, UpdatePolicy, WebhookCluster,
    WebhookClusterSpec, WebhookClusterStatus,
};
pub use deduplication::{Deduplicate, DeduplicateBy, MAX_DEDUPLICATE_KEYS};
pub use definitions::{GENERATED_FOLDERS, definitions, definitions_yaml};
pub use pods::{PodMetadata, Tls};
pub use redaction::{MAX_REDACTED_KEYS, MAX_REDACTED_PATHS, RedactAction, RedactKey, RedactedPath};
pub use reference::{CaSecretRef, SecretRef};
pub use source::{
    Body, BodyFormat, ClusterRef, Cors, DeletionPolicy, HeaderColumn, IncludeHeaders, MAX_RATE,
    PartitionBy, PartitionIndex, RequestMethod, SourceLimits, Storage, WebhookSource,
    WebhookSourceSpec, WebhookSourceStatus,
};
pub use verification::{
    BasicVerification, HmacAlgorithm, HmacVerification, NoVerification, SecretEncoding,
    SecretKeyRef, SharedSecretVerification, SignatureCoverage, SignatureEncoding, SignatureFormat,
    SignatureTimestamp, SigningSecret, TimestampUnit, Verification, VerificationMode,
};
pub use views::{
    MAX_VIEW_COLUMNS, MAX_VIEW_KEYS, MAX_VIEW_VALUES, MAX_VIEWS, SortDirection, View, ViewColumn,
    ViewFilter, ViewOrder, ViewType, ViewValue,
};
pub use warehouse::{ColumnOverride, ColumnType, MAX_OVERRIDES, SourceWarehouse, WarehouseLayout};

/// The API group.
pub const GROUP: &str = "trunkline.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
/// Annotation that asks for a reconciliation now. Any new value does; `status` repeats the value
/// that was acted on.
pub const REQUESTED_AT: &str = "trunkline.dev/requestedAt";
