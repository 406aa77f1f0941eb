//! WebhookSource: one sender, its URL and its relation.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::deduplication::Deduplicate;
use crate::redaction::{RedactKey, RedactedPath};
use crate::verification::Verification;
use crate::views::View;
use crate::warehouse::SourceWarehouse;

/// One sender of webhooks: the path it posts to, how it proves itself, and the schema in which its
/// events appear.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "trunkline.dev",
    version = "v1alpha1",
    kind = "WebhookSource",
    namespaced,
    status = "WebhookSourceStatus",
    shortname = "whs",
    category = "trunkline",
    doc = "One sender of webhooks: its path, how it proves itself, and the schema of its events.",
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
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(
        name = "Relation",
        type_ = "string",
        json_path = ".status.relation",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "has(self.path) == has(oldSelf.path) && (!has(self.path) || self.path == oldSelf.path)"
    ).message(
        "path is immutable, since an edit would turn a live URL into 404; create another source \
         with the new path"
    ),
    validation = Rule::new(
        "has(self.schema) == has(oldSelf.schema) && \
         (!has(self.schema) || self.schema == oldSelf.schema)"
    ).message(
        "schema is immutable, since rows would be in two places; create another source with the \
         new schema"
    ),
    validation = Rule::new("self.storage == oldSelf.storage").message(
        "storage is immutable, since rows would be in two places; create another source with the \
         new storage"
    ),
    validation = Rule::new(
        "self.storage == 'Dedicated' || (has(self.retention) == has(oldSelf.retention) && \
         (!has(self.retention) || self.retention == oldSelf.retention))"
    ).message(
        "retention is immutable with storage: Shared, since it is that of all sources that share \
         the partitions; create another source with the new retention"
    ),
    validation = Rule::new(
        "self.storage == 'Dedicated' || (has(self.partitionBy) == has(oldSelf.partitionBy) && \
         (!has(self.partitionBy) || self.partitionBy == oldSelf.partitionBy))"
    ).message(
        "partitionBy is immutable with storage: Shared, since it is that of all sources that share \
         the partitions; create another source with the new partitionBy"
    ),
    validation = Rule::new(
        "!has(self.indexes) || self.indexes.size() == 0 || self.storage == 'Dedicated'"
    ).message(
        "indexes are of partitions that are this source's alone; remove them, or create another \
         source with storage: Dedicated"
    ),
    validation = Rule::new(
        "!has(self.indexes) || self.indexes.size() == 0 || \
         !(self.body.format in ['Text', 'Bytes'])"
    ).message(
        "indexes are made of what is in JSON; set body.format to Json, JsonArray or Form, or remove \
         indexes"
    ),
    validation = Rule::new(
        "!has(self.warehouse) || self.warehouse.layout == 'none' || \
         self.body.format in ['Json', 'JsonArray']"
    ).message(
        "warehouse.layout needs bodies of JSON; set body.format to Json or JsonArray, or layout to \
         none"
    ),
    validation = Rule::new(
        "!has(self.redact) || self.redact.size() == 0 || !(self.body.format in ['Text', 'Bytes'])"
    ).message(
        "redact needs bodies of JSON; set body.format to Json, JsonArray or Form, or remove redact"
    ),
    validation = Rule::new(
        "!has(self.redact) || has(self.redactKey) || \
         !self.redact.exists(place, place.action == 'Hash')"
    ).message(
        "redact has the action Hash, which needs a key; set redactKey to secretKeyRef: {name, key}, \
         or use Drop"
    ),
    validation = Rule::new(
        "!has(self.deduplicate) || self.deduplicate.by in ['Header', 'BodyHash'] || \
         !(self.body.format in ['Text', 'Bytes'])"
    ).message(
        "deduplicate.by MessageId and Path need bodies of JSON; set body.format to Json, JsonArray \
         or Form, or by to Header or BodyHash"
    )
)]
pub struct WebhookSourceSpec {
    /// The WebhookCluster that serves this source. Immutable.
    #[x_kube(
        validation = Rule::new("self == oldSelf").message(
            "clusterRef is immutable, since another cluster has another URL and another database; \
             create another source"
        )
    )]
    pub cluster_ref: ClusterRef,
    /// Request path. Immutable. Default: `/webhooks/NAMESPACE/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024))]
    #[x_kube(
        validation = Rule::new(
            "self.matches('^(/[!$%&\\'()*+,./0-9:;=@A-Z_a-z~\\\\[\\\\]-]+)$') && !self.contains('//') && \
             !self.endsWith('/') && !self.matches('/[.][.]?(/|$)')"
        ).message(
            "path is not a request path; write one like /webhooks/team/segment: ASCII, starting \
             with /, without empty segments, ., .., ? or #"
        )
    )]
    pub path: Option<String>,
    /// Schema of the source's relations. Immutable. Default: the source's name with `_` for `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z_][a-z0-9_]*$')").message(
            "schema is not a schema name; use lower-case letters, digits and underscores, not \
             starting with a digit"
        )
    )]
    pub schema: Option<String>,
    /// How a request body becomes rows.
    #[serde(default)]
    pub body: Body,
    /// Methods that carry events. Any other is answered with 405.
    #[serde(default = "default_methods")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Vec<RequestMethod>,
    /// Pages of browsers that may post, by cross-origin resource sharing. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How often senders may post. Default: as often as there is room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<SourceLimits>,
    /// Request headers to store in the column `headers`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_headers: Option<IncludeHeaders>,
    /// Request headers to show in columns of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(
        validation = Rule::new(
            "self.all(header, self.exists_one(other, other.column == header.column))"
        ).message(
            "headers has a column twice; give each header a column of its own"
        )
    )]
    pub headers: Vec<HeaderColumn>,
    /// What is taken out of the bodies of its events before anything is stored. It concerns what
    /// arrives from then on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub redact: Vec<RedactedPath>,
    /// The key of the hashes that `redact` makes. Without its Secret, the source answers 503. With
    /// another key, equal values have other hashes from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact_key: Option<RedactKey>,
    /// Do not store events that repeat one which is stored. A repeat is answered with 200. Default:
    /// every event is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<Deduplicate>,
    /// How a request proves that it comes from its sender.
    pub verification: Verification,
    /// How long the value that an edit of a Secret replaced stays valid, since the sender signs
    /// with it until it is told the new one: `24h`, `90m`, `0s` to revoke at once. A Secret or a
    /// key that is deleted revokes at once in any case.
    #[serde(default = "default_rotation_grace")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$')").message(
            "rotationGrace is not a duration; write one like 24h, 90m or 0s"
        )
    )]
    pub rotation_grace: String,
    /// Existing PostgreSQL roles that may read this source, besides the cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub readers: Vec<String>,
    /// How long rows stay after they were received, in whole days or weeks: `90d`, `12w`. They go a
    /// partition at a time, once all of it is older, and a shorter time drops what is older at once.
    /// Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    #[x_kube(
        validation = Rule::new("self.matches('^([1-9][0-9]{0,3}d|[1-9][0-9]{0,2}w)$')").message(
            "retention is not a time in whole days or weeks; write one like 90d or 12w, at most \
             9999d or 999w, or leave it out to keep rows for ever"
        )
    )]
    pub retention: Option<String>,
    /// How long a time (UTC) each partition of the rows holds. A change takes effect behind the
    /// partitions that are there already. Default: `Day` with a retention of at most 90 days, else
    /// `Month`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<PartitionBy>,
    /// Whether the rows have partitions of their own, or share them with those of other sources of
    /// the cluster that have the same `retention` and `partitionBy`. Immutable, and so are these two
    /// with `Shared`.
    #[serde(default)]
    pub storage: Storage,
    /// What each of its partitions is indexed by, besides the time. Each index makes some conditions of
    /// readers fast, and costs every sender. A change takes effect on all partitions, one after the
    /// other. Only with storage `Dedicated`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub indexes: Vec<PartitionIndex>,
    /// Relations for analysts, made of the fields of the events. Default: none beside `events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<SourceWarehouse>,
    /// Views over the source's events, in its schema, readable by its readers. What is wrong with one
    /// is said in the condition `ViewsReady`, and the source is served all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub views: Vec<View>,
    /// What becomes of the rows when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Answer every request with 503, so that senders keep their events and retry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

impl WebhookSourceSpec {
    /// The names of the Secrets that it refers to, some perhaps several times.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        let signing = self
            .verification
            .secrets
            .iter()
            .map(|it| &it.secret_key_ref);
        let redacting = self.redact_key.iter().map(|it| &it.secret_key_ref);
        signing.chain(redacting).map(|it| it.name.as_str())
    }
}

fn default_methods() -> Vec<RequestMethod> {
    vec![RequestMethod::Post]
}

fn default_rotation_grace() -> String {
    "24h".to_owned()
}

/// What becomes of the rows of a source that is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay, with their schema. A source of the same namespace, name and schema takes them
    /// up again.
    #[default]
    Retain,
    /// They are dropped, with their schema.
    Delete,
}

/// Where the rows of a source are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Storage {
    /// In partitions of their own, which read fastest. A database carries some hundreds of such
    /// sources.
    #[default]
    Dedicated,
    /// In partitions that many small sources share. Readers see no difference, except that conditions
    /// on `body` use no index.
    Shared,
}

/// How long a time one partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartitionBy {
    /// One hour, for very many events and a short retention.
    Hour,
    /// One day.
    Day,
    /// One month of the calendar.
    Month,
}

/// What a partition can be indexed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PartitionIndex {
    /// `messageId`, to find one event.
    MessageId,
    /// `userId`, to find the events of one user, and the user.
    UserId,
    /// `anonymousId`, to find the events of one visitor.
    AnonymousId,
    /// The name of the event, and within a name the time: to find rare events, and to count events
    /// and people.
    Event,
    /// The whole JSON, to find events that hold some, by the operator `@>`.
    Body,
}

/// What the operator has found.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSourceStatus {
    /// The `metadata.generation` that the rest of the status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always: every pod that takes requests serves this source, this generation, and the
    /// database takes its writes. `Reconciling` and `Stalled` only while true; `SecretsResolved`,
    /// `RelationReady`, `ConfigurationServed`, `DatabaseReady` say more. `ViewsReady`, of a source
    /// that declares views, may be `False` beside `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// Where the sender posts. It appears with the first `Ready` and stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The relation that analysts read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// Why most of the requests that were refused in the last hour were, in a word of
    /// `trunkline.rejections`. It changes only when another reason is twice as frequent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_refusal: Option<String>,
    /// The annotation `trunkline.dev/requestedAt` that was acted on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A WebhookCluster of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterRef {
    /// The WebhookCluster's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How a request body becomes rows.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Body {
    /// What a body is. It can change only among `Json`, `JsonArray` and `Form`.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(
            "self == oldSelf || !(self in ['Text', 'Bytes'] || oldSelf in ['Text', 'Bytes'])"
        ).message(
            "body.format cannot change from or to Text or Bytes, since the column body would \
             change its type under its readers; create another source"
        )
    )]
    pub format: BodyFormat,
}

/// Body formats. `Json` and `JsonArray` accept several JSON values one after another (NDJSON), each
/// a row; under the others a body is one row. A Content-Type is not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BodyFormat {
    /// One JSON value is one row, an array too unless the preset says that arrays are batches.
    #[default]
    Json,
    /// Each element of a top-level array is a row.
    JsonArray,
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Bytes,
    /// `application/x-www-form-urlencoded`: a JSON object of the fields, a field that is there
    /// several times as an array.
    Form,
}

/// Methods that can carry events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RequestMethod {
    /// POST, as nearly every sender.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
}

/// Which pages of browsers may post to the source and read its answers. It protects nothing: any
/// other program can still post.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins, each scheme, host and perhaps port: `https://app.example.com`. `*` is every origin.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 512)))]
    #[x_kube(
        validation = Rule::new(
            "self.all(origin, origin == '*' || \
             origin.matches('^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\\\\[[0-9a-f:]+\\\\])(:[0-9]{1,5})?$'))"
        ).message(
            "cors.origins has what is no origin; write * or one like https://app.example.com: \
             lower case, without a path"
        )
    )]
    pub origins: Vec<String>,
}

/// The largest rate and burst of a source: far above what one ingester takes.
pub const MAX_RATE: u32 = 1_000_000;

/// How often senders may post, at each pod for itself: pods share nothing, and so all of them together
/// take up to `replicas` times as much. What comes more often is answered with 429 and `Retry-After`,
/// on which senders come again. Only requests that would be stored count, so that nobody without
/// the secret can use the limit up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceLimits {
    /// Requests a second in the long run, at each pod.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: i64,
    /// Requests that may come at once after a quiet time. Default: those of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i64>,
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
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub allow: Vec<String>,
    /// Never store these; alone it means every other header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub deny: Vec<String>,
}

/// A request header with a column of its own, after the columns of the body.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderColumn {
    /// The header's name, in any case.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The column's name: lower-case letters, digits and underscores, not starting with a digit.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z_][a-z0-9_]*$')").message(
            "column is not a column name; use lower-case letters, digits and underscores, not \
             starting with a digit"
        )
    )]
    pub column: String,
    /// Make the column `bytea` with the value's bytes, for a value that need not be text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bytes: bool,
}
