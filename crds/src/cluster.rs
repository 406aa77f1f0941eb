//! WebhookCluster: where requests are served and which database they go to.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where webhooks are received and which PostgreSQL they are written to.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "WebhookCluster",
    namespaced,
    doc = "Where webhooks are received and which PostgreSQL they are written to."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookClusterSpec {
    /// How much one ingester may use: memory for requests in flight and writer connections.
    #[serde(default)]
    pub size: ClusterSize,
    /// The database that receives the events.
    pub database: Database,
}

/// Sizes of an ingester.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ClusterSize {
    /// For a single quiet source.
    #[serde(rename = "3xsmall")]
    XxxSmall,
    /// Twice `3xsmall`.
    #[serde(rename = "2xsmall")]
    XxSmall,
    /// Twice `2xsmall`.
    #[serde(rename = "xsmall")]
    XSmall,
    /// The default.
    #[default]
    #[serde(rename = "small")]
    Small,
    /// Twice `small`.
    #[serde(rename = "medium")]
    Medium,
    /// Twice `medium`.
    #[serde(rename = "large")]
    Large,
    /// Twice `large`.
    #[serde(rename = "xlarge")]
    XLarge,
    /// Twice `xlarge`.
    #[serde(rename = "2xlarge")]
    XxLarge,
    /// Twice `2xlarge`.
    #[serde(rename = "3xlarge")]
    XxxLarge,
    /// Twice `3xlarge`.
    #[serde(rename = "4xlarge")]
    XxxxLarge,
}

/// The database that receives the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Database {
    /// Secret of the cluster's namespace that holds the owner's connection: `uri`, or `host`,
    /// `port`, `user`, `password` and `dbname` (the shape that CloudNativePG writes).
    pub secret_ref: SecretRef,
}

/// A Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// The Secret's name.
    pub name: String,
}
