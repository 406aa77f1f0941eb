//! Hashes of keys and of what is made of them.
//!
//! Invariant: the seed is the process's own and never leaves it, so that a sender cannot aim for a
//! collision.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("keys"));

/// The process's seed.
pub(crate) fn seed() -> u64 {
    *SEED
}

/// A hash of the bytes of `text` from `start` to `end`, none of which is zero.
///
/// A multiply-and-fold hash, as in foldhash and wyhash; their crates see the key alone, and so
/// branch on its length where this loads past its end.
#[inline]
pub(crate) fn hash(seed: u64, text: &[u8], mut start: usize, end: usize) -> u64 {
    let mut hash = seed;
    loop {
        let word = load(text, start);
        let Some(bits_left @ 0..64) = end.checked_sub(start).map(|bytes| bytes * 8) else {
            hash = fold(hash ^ word);
            start += 8;
            continue;
        };
        // No text has a zero byte, so the zeros of the padding tell its length.
        return fold(hash ^ (word & !(u64::MAX << bits_left)));
    }
}

/// Multiplies by an odd constant (the golden ratio's bits) and folds the product's halves.
#[inline]
pub(crate) fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9E37_79B9_7F4A_7C15;
    product as u64 ^ (product >> 64) as u64
}

/// Eight bytes from `offset`, zeros past the end of `text`.
#[inline]
fn load(text: &[u8], offset: usize) -> u64 {
    let rest = text.get(offset..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => rest
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_key_alone() {
        for length in 0..20 {
            let key = "k".repeat(length);
            let alone = hash(1, key.as_bytes(), 0, length);
            for before in 0..10 {
                for after in ["", "\"", "\":1}", "\":\"kkkkkkkkkkkkkkk\""] {
                    let text = format!("{}{key}{after}", "\"".repeat(before));
                    let within = hash(1, text.as_bytes(), before, before + length);
                    assert_eq!(within, alone, "{text}");
                }
            }
        }
    }
}
