//! Notices a key that occurs twice in one object, where jsonb keeps the last value only.
//!
//! Keys are compared by a 64-bit hash; a collision costs a copy of the bytes as sent, nothing else.

use super::hash::{self, hash};

/// Keys of an object up to which a suspect one is compared with each before it; the keys of a
/// larger object are sorted once it is complete, so that time stays n log n.
const COMPARED: usize = 32;

/// The keys of all open objects, as hashes.
#[derive(Debug)]
pub(super) struct Keys {
    seed: u64,
    /// For each open object `start` and `seen` of the object around it, then its keys' hashes.
    stack: Vec<u64>,
    /// Where the innermost open object's hashes begin.
    start: usize,
    /// One bit for each hash of the innermost open object, by the hash's last six bits: a key whose
    /// bit is clear is new, which settles most keys without looking at the others.
    seen: u64,
    has_duplicate: bool,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            seed: hash::seed(),
            stack: Vec::with_capacity(64),
            start: 0,
            seen: 0,
            has_duplicate: false,
        }
    }

    /// Forgets every object, as before a new element.
    pub(super) fn clear(&mut self) {
        self.stack.clear();
        self.start = 0;
        self.seen = 0;
        self.has_duplicate = false;
    }

    /// Whether an object had a key twice; of a large object, known only once it is complete.
    pub(super) fn has_duplicate(&self) -> bool {
        self.has_duplicate
    }

    /// An object opens.
    #[inline]
    pub(super) fn open(&mut self) {
        self.stack.push(self.start as u64);
        self.stack.push(self.seen);
        self.start = self.stack.len();
        self.seen = 0;
    }

    /// A key of the innermost open object: the bytes of `text` from `start` to `end`. Returns its
    /// hash.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8], start: usize, end: usize) -> u64 {
        let hash = hash(self.seed, text, start, end);
        let bit = 1 << (hash % 64);
        if self.seen & bit != 0 {
            self.compare(hash);
        }
        self.seen |= bit;
        self.stack.push(hash);
        hash
    }

    /// The innermost open object is complete.
    #[inline]
    pub(super) fn close(&mut self) {
        if self.stack.len() - self.start > COMPARED {
            self.sort();
        }
        self.stack.truncate(self.start);
        self.seen = self.stack.pop().unwrap_or_default();
        self.start = self.stack.pop().unwrap_or_default() as usize;
    }

    fn compare(&mut self, hash: u64) {
        if let Some(hashes) = self.stack.get(self.start..)
            && hashes.len() < COMPARED
        {
            self.has_duplicate |= hashes.contains(&hash);
        }
    }

    #[cold]
    fn sort(&mut self) {
        if let Some(hashes) = self.stack.get_mut(self.start..) {
            hashes.sort_unstable();
            self.has_duplicate |= hashes.windows(2).any(|pair| pair.first() == pair.last());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_duplicate(keys: &[String]) -> bool {
        let mut seen = Keys::new();
        seen.open();
        for key in keys {
            seen.push(key.as_bytes(), 0, key.len());
        }
        seen.close();
        seen.has_duplicate()
    }

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("key{number}")).collect()
    }

    #[test]
    fn a_key_is_found_again_in_an_object_of_any_size() {
        for count in [1, 2, 3, 8, 20, 31, 32, 33, 34, 64, 65, 1_000, 10_000] {
            let keys = numbered(count);
            assert!(!has_duplicate(&keys), "{count}");
            for again in [0, count / 2, count - 1] {
                let mut keys = keys.clone();
                keys.push(format!("key{again}"));
                assert!(has_duplicate(&keys), "{count} and {again} again");
                keys.swap(0, count);
                assert!(has_duplicate(&keys), "{count} and {again} again, moved");
            }
        }
    }

    #[test]
    fn keys_that_differ_in_one_byte_or_in_length_differ() {
        for length in 0..40 {
            let key = "k".repeat(length);
            assert!(!has_duplicate(&[key.clone(), format!("{key}k")]));
            for position in 0..length {
                let mut other = key.clone();
                other.replace_range(position..=position, "K");
                assert!(!has_duplicate(&[key.clone(), other]));
            }
            assert!(has_duplicate(&[key.clone(), key]));
        }
    }

    #[test]
    fn keys_of_different_objects_do_not_meet() {
        let mut keys = Keys::new();
        keys.open();
        keys.push(b"a", 0, 1);
        keys.open();
        keys.push(b"a", 0, 1);
        keys.push(b"b", 0, 1);
        keys.close();
        keys.push(b"b", 0, 1);
        keys.open();
        keys.push(b"b", 0, 1);
        keys.close();
        assert!(!keys.has_duplicate());
        keys.push(b"a", 0, 1);
        assert!(keys.has_duplicate());
        keys.clear();
        assert!(!keys.has_duplicate());
    }
}
