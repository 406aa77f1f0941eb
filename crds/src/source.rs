//! WebhookSource: one sender, its URL and its relation.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One sender of webhooks: the path it posts to, how it proves itself, and the schema in which its
/// events appear.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "WebhookSource",
    namespaced,
    doc = "One sender of webhooks: its path, how it proves itself, and the schema of its events."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSourceSpec {
    /// The WebhookCluster that serves this source.
    pub cluster_ref: ClusterRef,
    /// Request path. Default: `/webhooks/NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Schema of the source's relations. Default: the source's name with `_` for `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// How a request body becomes rows.
    #[serde(default)]
    pub body: Body,
    /// Request headers to store in the column `headers`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_headers: Option<IncludeHeaders>,
    /// Request headers to show in columns of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderColumn>,
    /// How a request proves that it comes from its sender.
    pub verification: Verification,
}

/// A WebhookCluster of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRef {
    /// The WebhookCluster's name.
    pub name: String,
}

/// How a request body becomes rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Body {
    /// What a body is.
    #[serde(default)]
    pub format: BodyFormat,
}

/// Body formats. Both accept several JSON values one after another (NDJSON), each a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BodyFormat {
    /// One JSON value is one row, an array too unless the preset says that arrays are batches.
    #[default]
    Json,
    /// Each element of a top-level array is a row.
    JsonArray,
}

/// Which request headers are stored. Names are compared without regard to case; `deny` beats
/// `allow`. Headers that carry credentials (`authorization`, `cookie`, `proxy-authorization`) are
/// stored only when `allow` names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncludeHeaders {
    /// Store every header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Store only these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Never store these; alone it means every other header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

/// A request header with a column of its own, after the columns of the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderColumn {
    /// The header's name, in any case.
    pub name: String,
    /// The column's name.
    pub column: String,
}

/// How a request proves that it comes from its sender: exactly one of `preset` and `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verification {
    /// A provider's scheme: `segment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Accept every request. Anyone who knows the URL can write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoVerification>,
    /// Refuse a batch whose signature covers only its first element.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Secrets that are valid now. A request is accepted when any of them verifies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SigningSecret>,
}

/// Says that no verification is wanted; it has no fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoVerification {}

/// A signing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningSecret {
    /// Where the secret is.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret's name.
    pub name: String,
    /// The key within it.
    pub key: String,
}
