//! What an ingester and a source may use.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Bytes of requests that an ingester with so much memory may hold at once. The other three
/// sevenths are for the process, its connections, and what the allocator cannot use.
#[must_use]
pub const fn bytes_in_flight(memory: u64) -> u64 {
    memory / 7 * 4
}

/// How often a source may be posted to, at each ingester for itself: they share nothing, so that a
/// source's senders may reach as many times this as there are pods.
///
/// It is in no [`crate::document::SourceEntry::requires`]: an ingester that does not know it takes
/// every request, as it did before, and loses none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Requests a second in the long run.
    pub requests_per_second: NonZeroU32,
    /// Requests that may come at once after a quiet time.
    pub burst: NonZeroU32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_the_memory_is_for_requests() {
        assert_eq!(bytes_in_flight(448 << 20), 256 << 20);
        assert_eq!(bytes_in_flight(6), 0);
        assert!(bytes_in_flight(u64::MAX) > u64::MAX / 2);
    }
}
