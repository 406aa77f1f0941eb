//! Which events of a source are repeats that are not stored: what they are told apart by, and for how
//! long.
//!
//! Ingesters ask [`FUNCTION`] in the transaction of the commit which keys are new. It stands beside
//! [`crate::repeats`], which stores every row and hides repeats from readers.

use serde::{Deserialize, Serialize};

use crate::document::SourceSettings;

/// Takes keys that are not there or whose time is over, each until so many seconds from now, and
/// gives back those that it took. The keys are UUIDs in ascending order, none twice.
pub const FUNCTION: &str = "trunkline.unseen";

/// The longest window: what the table of keys has to hold grows with it.
pub const MAX_WINDOW_SECONDS: u32 = 7 * 24 * 3600;

/// The shortest window that a manifest may ask for.
pub const MIN_WINDOW_SECONDS: u32 = 60;

/// How the repeats of one source are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deduplication {
    /// What two repeats have in common.
    pub by: Identity,
    /// For how many seconds after it was stored an event has repeats; what is alike and comes later is
    /// another event.
    pub window_seconds: u32,
}

/// What two repeats have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Identity {
    /// The `messageId` of an event.
    MessageId,
    /// The value of a request header, for all events of the request.
    Header {
        /// The header's name in lower case.
        name: String,
    },
    /// The value at a place in an event.
    Path {
        /// Keys from the outside in. A number is also the place in an array, from 0.
        keys: Vec<String>,
    },
    /// The body of a request as it was received, decompressed.
    BodyHash,
}

/// Every construct that [`constructs`] can name.
pub(crate) const CONSTRUCTS: &[&str] = &["deduplication"];

/// What an ingester must know to take the requests of a source as it is meant. One that ignored it
/// would store repeats, and would take no key that keeps others from storing them.
pub(crate) fn constructs(settings: &SourceSettings) -> impl Iterator<Item = &'static str> {
    settings
        .deduplication
        .is_some()
        .then_some("deduplication")
        .into_iter()
}
