//! What Twilio Segment's "Webhooks (Actions)" destination sends, made up from a seed.
//!
//! Events of every type of the Segment Spec, in the form in which they leave Segment: compact JSON
//! as `JSON.stringify` writes it, keys in alphabetical order, one object per request or an array of
//! them when batching is on. Source of every form: segment.com/docs/connections/spec and the open
//! source of the destination (segmentio/action-destinations).
//!
//! Pure: a seed and a time in, bytes out. Invariant: the same seed gives the same `messageId`s, and
//! the same seed and time the same bytes.

mod catalog;
mod context;
mod envelope;
mod generator;
mod message_ids;
mod probe;
mod properties;
mod random;
mod signature;

pub use generator::EventGenerator;
pub use probe::{PROBE_EVENT, ProbeEvents};
pub use signature::{SIGNATURE_HEADER, sign};

/// The calls of the Segment Spec, and `delete`, which Segment forwards for erasure requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// What someone did.
    Track,
    /// Who someone is.
    Identify,
    /// A web page was seen.
    Page,
    /// A screen of an app was seen.
    Screen,
    /// Which account someone belongs to.
    Group,
    /// Two identities are one person.
    Alias,
    /// Someone wants to be forgotten.
    Delete,
}

impl EventType {
    /// Every type, in the order of the Spec.
    pub const ALL: [Self; 7] = [
        Self::Track,
        Self::Identify,
        Self::Page,
        Self::Screen,
        Self::Group,
        Self::Alias,
        Self::Delete,
    ];

    /// The value of the field `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Identify => "identify",
            Self::Page => "page",
            Self::Screen => "screen",
            Self::Group => "group",
            Self::Alias => "alias",
            Self::Delete => "delete",
        }
    }
}

/// One event, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The field `messageId`, unique within a seed.
    pub message_id: String,
    /// The field `type`.
    pub r#type: EventType,
    /// The whole event: the body of a request that holds this event alone.
    pub json: String,
}

/// The headers of every request of Segment's, except those of the connection and the signature.
/// Measured with the library that Segment sends with; none of them depends on the event.
pub const HEADERS: [(&str, &str); 4] = [
    ("user-agent", "Segment (Actions)"),
    ("content-type", "application/json"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip,deflate"),
];
