//! What a source uses of this ingester.

use super::budget::Budget;
use super::large::Places;
use super::rate::RateMeter;

/// What a source uses now. It outlives the configurations that the source is in: a reload gives
/// nobody anything back.
#[derive(Debug)]
pub(crate) struct SourceUse {
    /// Bytes that its requests hold.
    pub(super) held: Budget,
    /// How often it has been posted to.
    pub(super) rate: RateMeter,
    /// Its places at the work on large bodies.
    pub(super) large: Places,
}

impl Default for SourceUse {
    fn default() -> Self {
        Self {
            held: Budget::default(),
            rate: RateMeter::default(),
            large: Places::of_source(),
        }
    }
}
