//! What a platform asks of the ingesters' pods.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations of the ingesters' pods, beside the operator's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodMetadata {
    /// Labels. Those of `app.kubernetes.io/` and `trunkline.dev/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Those of `trunkline.dev/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// TLS in the ingesters.
#[derive(kube::KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Secret of the cluster's namespace, of the type `kubernetes.io/tls`, as cert-manager writes
    /// it: `tls.crt`, the certificate with those that lead to an authority after it, and `tls.key`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new(crate::cluster::IS_DNS_NAME).message(
            "secretName is not the name of a Secret; write one like hooks-tls"
        )
    )]
    pub secret_name: String,
}
