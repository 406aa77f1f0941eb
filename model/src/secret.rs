//! Secret values, which never print.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a secret: a signing key or a database URL.
///
/// `Debug` prints an ellipsis, there is no `Display`, and the only serialised form is the hex text
/// inside the configuration document, which itself lives in Kubernetes Secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes over the bytes exactly as they are: nothing is trimmed or decoded.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The secret itself. Callers pass it to a MAC or a connection and to nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text, when it is UTF-8.
    #[must_use]
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The hex error would print the offending character of a secret; a fixed text does not.
        hex::decode(text)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("secret is not hex"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_and_survives_the_document() {
        let secret = SecretBytes::new(b"p\x00\xffw".to_vec());
        assert_eq!(format!("{secret:?}"), "…");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<SecretBytes>(&json).unwrap(), secret);
    }

    #[test]
    fn a_damaged_secret_is_refused_without_quoting_it() {
        let error = serde_json::from_str::<SecretBytes>("\"hunter2\"").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
