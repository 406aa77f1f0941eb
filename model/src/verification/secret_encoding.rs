//! How the value of a Secret spells the key of a signature.

use base64::Engine;

use super::hash::BASE64;
use crate::secret::SecretBytes;

/// How the value of a Secret spells the key of a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SecretEncoding {
    /// The value is the key.
    #[default]
    Raw,
    /// The value is base64 of the key.
    Base64,
    /// The value is hexadecimal of the key, either case.
    Hex,
    /// The value is base64 of the key, after `whsec_` or not: Standard Webhooks, "Secret".
    Whsec,
}

/// A value is not spelled as its encoding wants. Nothing of it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is not {expected}")]
pub struct UndecodableSecret {
    expected: &'static str,
}

impl SecretEncoding {
    /// The key.
    ///
    /// # Errors
    /// [`UndecodableSecret`] when the value is spelled otherwise. A newline at the end counts.
    pub fn decode(self, value: &SecretBytes) -> Result<SecretBytes, UndecodableSecret> {
        let text = value.expose();
        let (decoded, expected) = match self {
            Self::Raw => return Ok(value.clone()),
            Self::Base64 => (BASE64.decode(text).ok(), "base64"),
            Self::Hex => (hex::decode(text).ok(), "hexadecimal"),
            Self::Whsec => (
                BASE64
                    .decode(text.strip_prefix(b"whsec_").unwrap_or(text))
                    .ok(),
                "whsec_ and base64 after it",
            ),
        };
        decoded
            .map(SecretBytes::new)
            .ok_or(UndecodableSecret { expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_decoded_or_refused_without_a_word_of_it() {
        for (encoding, text, key) in [
            (SecretEncoding::Raw, "whsec_Zm9v\n", Some("whsec_Zm9v\n")),
            (SecretEncoding::Base64, "Zm9v", Some("foo")),
            (SecretEncoding::Base64, "Zm9v\n", None),
            (SecretEncoding::Base64, "whsec_Zm9v", None),
            (SecretEncoding::Hex, "666F6f", Some("foo")),
            (SecretEncoding::Hex, "666", None),
            (SecretEncoding::Whsec, "whsec_Zm9v", Some("foo")),
            (SecretEncoding::Whsec, "Zm9v", Some("foo")),
            (SecretEncoding::Whsec, "whpk_Zm9v", None),
        ] {
            let decoded = encoding.decode(&SecretBytes::new(text));
            match key {
                Some(key) => assert_eq!(decoded.unwrap().expose(), key.as_bytes()),
                None => {
                    let error = decoded.unwrap_err().to_string();
                    assert!(!error.contains("Zm9v"), "{error}");
                }
            }
        }
    }
}
