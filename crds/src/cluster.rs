//! WebhookCluster: where requests are served and which database they go to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{CaSecretRef, PodMetadata, SecretRef, Tls};

/// The names of hosts and of most objects (RFC 1123 subdomains).
pub(crate) const IS_DNS_NAME: &str =
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";

/// Where webhooks are received and which PostgreSQL they are written to.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "WebhookCluster",
    namespaced,
    status = "WebhookClusterStatus",
    shortname = "whc",
    category = "trunkline",
    doc = "Where webhooks are received and which PostgreSQL they are written to.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.size"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Sources", type_ = "integer", json_path = ".status.sources"),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 52").message(
        "metadata.name is longer than 52 characters; choose a shorter one, since names of other \
         objects are made of it"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookClusterSpec {
    /// How much one ingester may use: CPU, memory for requests in flight, writer connections.
    #[serde(default)]
    pub size: ClusterSize,
    /// Number of ingester pods. With one alone, a node that goes takes the URL with it.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
    /// CPU and memory of an ingester, in place of those of `size`. An ingester sizes the memory of
    /// its requests by its memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resources_schema")]
    pub resources: Option<ResourceRequirements>,
    /// The ingesters' image. Default: as `updatePolicy` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$')").message(
            "image is not an image; write one like ghcr.io/trunkline/trunkline-ingester:0.1.0"
        )
    )]
    pub image: Option<String>,
    /// Which image ingesters run when `image` names none.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// The database that receives the events.
    pub database: Database,
    /// How senders reach the ingesters. Without it, the URL is that of a Service within the
    /// Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// TLS between whoever connects to the ingesters and them. Without it they speak plain HTTP, and
    /// TLS ends at the edge in front of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Environment variables of the ingesters, such as those of OpenTelemetry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".to_owned()]),
        validation = Rule::new("self.all(it, !(it.name in ['POD_UID', 'HOSTNAME']))").message(
            "env has POD_UID or HOSTNAME, by which an ingester knows its pod; remove it"
        )
    )]
    pub env: Vec<EnvVar>,
    /// Labels and annotations of the ingesters' pods, beside the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_metadata: Option<PodMetadata>,
    /// Labels that a node must have to run ingesters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not keep ingesters away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Which nodes ingesters run on, and beside which pods. In any case they are spread over zones
    /// and nodes where that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// The PriorityClass of the ingesters' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets of the cluster's namespace with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<SecretRef>,
    /// Change nothing for this cluster and its sources, in Kubernetes or in the database, until
    /// this is false again. Ingesters go on as they are, and the status goes on telling about them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

fn default_replicas() -> i32 {
    2
}

/// Of `ResourceRequirements`, what an ingester's container may have: a claim would need a pod that
/// has it. Quantities have the pattern that controller-gen writes, without the minus, so that a
/// wrong one is refused here and not when the Deployment is applied.
fn resources_schema(_: &mut SchemaGenerator) -> Schema {
    let quantities = |description: &str| {
        json!({
            "description": description,
            "type": "object",
            "maxProperties": 16,
            "additionalProperties": {
                "description": "A quantity, like 500m or 256Mi.",
                "pattern": r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
                "x-kubernetes-int-or-string": true,
            },
        })
    };
    json_schema!({
        "type": "object",
        "properties": {
            "limits": quantities("The most that an ingester may use."),
            "requests": quantities("What is set aside for it. Default: its limits."),
        },
    })
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

/// Which image ingesters run when the spec names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    /// The one that they run already, so that an upgrade of the operator restarts no pod; at first
    /// the operator's own version.
    #[default]
    Pinned,
    /// Always the operator's own version.
    Follow,
}

/// The database that receives the events.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "has(self.ingestSecretRef) == (has(self.roles) && self.roles == 'Provided')"
    ).message(
        "ingestSecretRef belongs to roles: Provided; set both or neither"
    )
)]
pub struct Database {
    /// Secret of the cluster's namespace that holds the owner's connection: `uri`, or `host`,
    /// `port`, `user`, `password` and `dbname` (the shape that CloudNativePG writes). Further keys:
    /// `sslmode`, `channel_binding` and `target_session_attrs` as libpq has them; `ca.crt`, the
    /// authority of the server's certificate; `tls.crt` and `tls.key`, a client certificate.
    pub secret_ref: SecretRef,
    /// The authority of the server's certificate, as CloudNativePG writes it into the Secret
    /// `<cluster>-ca`. With it, the connection is verified (`sslmode=verify-full`) unless the
    /// connection's own `sslmode` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
    /// Who makes the roles. Default: `Managed` where the owner may create roles, else `Owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<DatabaseRoles>,
    /// With `roles: Provided`, the Secret of the ingesters' connection, in the same shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingest_secret_ref: Option<SecretRef>,
    /// Existing PostgreSQL roles that may read every source of this cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub readers: Vec<String>,
}

/// Who makes the PostgreSQL roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatabaseRoles {
    /// The operator: a login for the ingesters and a reader group for each source. The owner needs
    /// CREATEROLE.
    Managed,
    /// An administrator: ingesters log in as `ingestSecretRef` says, and are granted what they
    /// need.
    Provided,
    /// Nobody: ingesters log in as the owner.
    Owner,
}

/// How senders reach the ingesters from outside.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.ingress)").message(
        "exposure says no way in; add ingress: {} for the cluster's default IngressClass"
    )
)]
pub struct Exposure {
    /// The host name in the URL, without scheme and port.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new(IS_DNS_NAME).message(
            "host is not a host name; write one like hooks.example.com, without scheme and port"
        )
    )]
    pub host: String,
    /// Through an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
}

/// An Ingress for the host.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ingress {
    /// IngressClass. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new(IS_DNS_NAME).message(
            "className is not the name of an IngressClass; write one like nginx"
        )
    )]
    pub class_name: Option<String>,
    /// Annotations, for the controller of the class and for cert-manager.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Secret of the certificate. With it the URL is `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new(IS_DNS_NAME).message(
            "tlsSecretName is not the name of a Secret; write one like hooks-tls"
        )
    )]
    pub tls_secret_name: Option<String>,
}

/// What the operator has found.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookClusterStatus {
    /// The `metadata.generation` that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling`, `Stalled` and `Suspended` only while true; `DatabaseReady`,
    /// `PodsReady`, `ConfigurationServed` say more, and with `spec.tls` `CertificateReady`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// The base of the sources' URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The image that the ingesters are to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Ingester pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Ingester pods that take requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Label selector of the ingester pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// WebhookSources that refer to this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<i32>,
    /// The roles that are in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<DatabaseRoles>,
    /// The annotation `trunkline.dev/requestedAt` that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
