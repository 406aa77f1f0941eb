//! What to send, where to, and how fast.

use std::num::NonZeroUsize;

use trunkline_model::verification::Verification;

use crate::http::Target;

/// Everything that a run of [`super::Sender`] needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to post.
    pub target: Target,
    /// What the source verifies, with the secrets that sign; requests are made to pass it.
    pub verification: Verification,
    /// How many events.
    pub count: u64,
    /// Events per second over all connections, above 0; none: as fast as they are answered.
    pub rate: Option<f64>,
    /// How many requests may be under way at once, each on a connection of its own.
    pub concurrency: NonZeroUsize,
    /// Of all requests, the part that goes over a connection opened for it alone, 0 to 1.
    pub new_connections: f64,
    /// Events per request, as a JSON array; none: one event per request, as an object.
    pub batch: Option<NonZeroUsize>,
    /// What the events look like.
    pub content: Content,
    /// Which events; see [`crate::segment::EventGenerator`].
    pub seed: u64,
}

/// What events look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// As those of a shop; see [`crate::segment::EventGenerator`].
    #[default]
    Shop,
    /// So that nobody takes them for real ones; see [`crate::segment::ProbeEvents`].
    Probe,
}
