//! The `messageId`s of a seed.

use super::random::{spread, uuid};

/// The bits of a UUID's second half that are free to choose.
const UUID_LOW_BITS: u64 = (1 << 62) - 1;

/// Gives one `messageId` after the other, each once.
#[derive(Debug)]
pub(super) struct MessageIds {
    /// The first half of each: what tells the seeds apart.
    run: u64,
    /// How many were given; the second half tells them apart.
    sequence: u64,
}

impl MessageIds {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            run: spread(seed),
            sequence: 0,
        }
    }

    /// Goes on as if so many had been given.
    pub(super) fn skip_to(&mut self, given: u64) {
        self.sequence = given;
    }

    /// How many were given.
    pub(super) fn given(&self) -> u64 {
        self.sequence
    }

    pub(super) fn next_id(&mut self) -> String {
        // An odd factor gives each number below 2^62 another one, so no two are ever equal, and
        // neighbours look as different as real ones do.
        let scattered = (self.sequence + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) & UUID_LOW_BITS;
        self.sequence += 1;
        uuid(self.run, scattered)
    }

    /// What all of a seed begin with, and hardly any of another: the first half.
    pub(super) fn prefix(seed: u64) -> String {
        let id = uuid(spread(seed), 0);
        id.chars().take("01234567-0123-0123".len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_of_a_seed_has_its_prefix_and_comes_once() {
        let mut ids = MessageIds::new(7);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let id = ids.next_id();
            assert!(id.starts_with(&MessageIds::prefix(7)), "{id}");
            assert!(!id.starts_with(&MessageIds::prefix(8)), "{id}");
            assert!(seen.insert(id));
        }
    }
}
