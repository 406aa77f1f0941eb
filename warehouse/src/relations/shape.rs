//! What ingesters have noted of events, one shape at a time.

use trunkline_model::naming::Call;

/// A row of `trunkline.shapes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Its key there, a UUID.
    pub(crate) id: String,
    /// The kind of call; None for one that this program does not know.
    pub(crate) call: Option<Call>,
    /// The name of a track event.
    pub(crate) event: Option<String>,
    /// Keys from the outside in; empty when the call (and event) as such was seen.
    pub(crate) path: Vec<String>,
    pub(crate) kind: Kind,
    /// When it was seen first, in microseconds since 1970.
    pub(crate) noted_at: i64,
}

/// What was found at a path. In the order in which they decide on a column when they were seen at
/// once: the one first that fits the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Seen,
    Text,
    Object,
    Array,
    Number,
    Boolean,
    Timestamp,
}

impl Kind {
    /// The kind that the catalog calls so. Its constraint allows no other.
    pub(crate) fn from_catalog(name: &str) -> Self {
        match name {
            "boolean" => Self::Boolean,
            "number" => Self::Number,
            "timestamp" => Self::Timestamp,
            "text" => Self::Text,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => Self::Seen,
        }
    }
}

/// The call that an event's `type` names.
pub(crate) fn call_of(kind: &str) -> Option<Call> {
    Some(match kind {
        "track" => Call::Track,
        "identify" => Call::Identify,
        "page" => Call::Page,
        "screen" => Call::Screen,
        "group" => Call::Group,
        "alias" => Call::Alias,
        "delete" => Call::Delete,
        _ => return None,
    })
}
