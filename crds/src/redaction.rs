//! What of the bodies of a WebhookSource is taken out before anything is stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verification::SecretKeyRef;

/// The most paths of a source.
pub const MAX_REDACTED_PATHS: usize = 100;
/// The most keys of a path.
pub const MAX_REDACTED_KEYS: usize = 10;

/// A place in a JSON body, and what becomes of the value there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedactedPath {
    /// Keys of an event, from the outside in: `[context, traits, email]`. A number is also the place
    /// in an array, from 0; `*` is every key and every place.
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 255)))]
    pub path: Vec<String>,
    /// What becomes of the value.
    pub action: RedactAction,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RedactAction {
    /// It is taken out with its key; in an array, `null` takes its place.
    Drop,
    /// A hash of it, made with the key of `redactKey`, takes its place: 32 hexadecimal digits, the
    /// same for equal values.
    Hash,
}

/// The key of the hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedactKey {
    /// Where the key is.
    pub secret_key_ref: SecretKeyRef,
}
