//! Which events of a WebhookSource are repeats that are not stored.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most keys of the path.
pub const MAX_DEDUPLICATE_KEYS: usize = 10;

/// What makes an event a repeat of one that is stored. What has nothing to be told apart by (no such
/// header, nothing at the path, `null`, an empty text) is never a repeat.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.header) == (self.by == 'Header')").message(
        "deduplicate.header goes with by: Header, which needs it; write one like \
         X-GitHub-Delivery, or remove it"
    ),
    validation = Rule::new("has(self.path) == (self.by == 'Path')").message(
        "deduplicate.path goes with by: Path, which needs it; write one like [data, id], or remove \
         it"
    )
)]
pub struct Deduplicate {
    /// What repeats have in common.
    pub by: DeduplicateBy,
    /// With `Header`, the header's name, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub header: Option<String>,
    /// With `Path`, keys of an event, from the outside in: `[data, id]`. A number is also the place in
    /// an array, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 255)))]
    pub path: Option<Vec<String>>,
    /// How long after an event was stored its repeats are not: `24h`, `90m`; at least `1m`, at most
    /// `168h`. What is alike and comes later is another event. Repeats do not make it longer.
    #[serde(default = "default_window")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$')").message(
            "window is not a duration; write one like 24h, 90m or 60s"
        )
    )]
    pub window: String,
}

fn default_window() -> String {
    "24h".to_owned()
}

/// What repeats have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeduplicateBy {
    /// The `messageId` of the event.
    MessageId,
    /// The value of a request header. All events of a request are repeats, or none.
    Header,
    /// The value at a path in the event.
    Path,
    /// The body of the request, byte for byte. Two events that are alike are then one.
    BodyHash,
}
