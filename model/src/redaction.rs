//! What of a body is taken out before anything is stored: values by their paths, dropped or replaced
//! by a keyed hash.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::document::SourceSettings;
use crate::secret::SecretBytes;

/// A step of a path that stands for every key of an object and every element of an array.
pub const ANY: &str = "*";

/// The most paths of a source: an ingester keeps one bit for each, in a word.
pub const MAX_PATHS: usize = 100;

/// Bytes of the keyed hash that are kept: 128 bits, so that no two values of a source meet.
const HASH_BYTES: usize = 16;

/// What is redacted in the bodies of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redaction {
    /// Where, and how. At most [`MAX_PATHS`].
    pub paths: Vec<RedactedPath>,
    /// Keys the hashes; none where no action needs it, or while it is not available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretBytes>,
}

impl Redaction {
    /// Whether a key is needed and there is none, so that nothing can be stored.
    #[must_use]
    pub fn lacks_key(&self) -> bool {
        self.key.is_none() && self.paths.iter().any(|it| it.action == RedactAction::Hash)
    }
}

/// A place in a body, and what becomes of what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactedPath {
    /// Keys from the outside in. A number is also the place in an array, from 0; [`ANY`] is every
    /// key and every place.
    pub path: Vec<String>,
    /// What becomes of it.
    pub action: RedactAction,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedactAction {
    /// It goes, with its key; of an array, `null` takes its place.
    Drop,
    /// A string takes its place: see [`Hasher`].
    Hash,
}

/// Every construct that [`constructs`] can name.
pub(crate) const CONSTRUCTS: &[&str] = &["redaction"];

/// What an ingester must know to take the requests of a source as it is meant. One that ignored a
/// redaction would store what must not be stored.
pub(crate) fn constructs(settings: &SourceSettings) -> impl Iterator<Item = &'static str> {
    settings
        .redaction
        .is_some()
        .then_some("redaction")
        .into_iter()
}

/// Makes the hashes of one key: HMAC-SHA256, its first 16 bytes, as 32 hex digits.
#[derive(Clone)]
pub struct Hasher(Hmac<Sha256>);

impl Hasher {
    /// A hasher with this key. None only if HMAC took no key of its length, and it takes any.
    #[must_use]
    pub fn new(key: &SecretBytes) -> Option<Self> {
        Hmac::new_from_slice(key.expose()).ok().map(Self)
    }

    /// The hash of a value: of a string its text, of anything else its JSON.
    #[must_use]
    pub fn hash(&self, value: &[u8]) -> String {
        let code = self.0.clone().chain_update(value).finalize().into_bytes();
        hex::encode(code.get(..HASH_BYTES).unwrap_or_default())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s ada | openssl dgst -sha256 -hmac key -r | cut -c 1-32`
    #[test]
    fn a_hash_is_what_openssl_makes() {
        let hasher = Hasher::new(&SecretBytes::new("key")).unwrap();
        assert_eq!(hasher.hash(b"ada"), "708a727d2475357eaacc4f88c80d7eec");
        assert_eq!(format!("{hasher:?}"), "Hasher(…)");
    }

    #[test]
    fn only_hashes_need_a_key() {
        let path = |action| RedactedPath {
            path: vec!["a".to_owned()],
            action,
        };
        let mut redaction = Redaction {
            paths: vec![path(RedactAction::Drop)],
            key: None,
        };
        assert!(!redaction.lacks_key());
        redaction.paths.push(path(RedactAction::Hash));
        assert!(redaction.lacks_key());
        redaction.key = Some(SecretBytes::new("key"));
        assert!(!redaction.lacks_key());
    }
}
