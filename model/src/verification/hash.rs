//! Keyed hashes, for those who sign and those who verify.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{HmacAlgorithm, SignatureEncoding};

/// Writes padding, and reads base64 with and without.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An HMAC that is fed part after part, so that what is signed is never copied into one piece.
#[derive(Clone)]
pub struct KeyedHash(Inner);

#[derive(Clone)]
enum Inner {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash(…)")
    }
}

impl KeyedHash {
    /// Starts with a key of any length.
    ///
    /// `None` never comes back: HMAC takes keys of any length, though its type does not say so.
    #[must_use]
    pub fn new(algorithm: HmacAlgorithm, key: &[u8]) -> Option<Self> {
        let inner = match algorithm {
            HmacAlgorithm::Sha1 => Inner::Sha1(Hmac::new_from_slice(key).ok()?),
            HmacAlgorithm::Sha256 => Inner::Sha256(Hmac::new_from_slice(key).ok()?),
            HmacAlgorithm::Sha512 => Inner::Sha512(Hmac::new_from_slice(key).ok()?),
        };
        Some(Self(inner))
    }

    /// Adds the next part.
    pub fn update(&mut self, part: &[u8]) {
        match &mut self.0 {
            Inner::Sha1(mac) => mac.update(part),
            Inner::Sha256(mac) => mac.update(part),
            Inner::Sha512(mac) => mac.update(part),
        }
    }

    /// The signature.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.0 {
            Inner::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Inner::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Inner::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }

    /// Whether this is the signature. The time does not depend on where the two differ.
    #[must_use]
    pub fn is(&self, signature: &[u8]) -> bool {
        match self.0.clone() {
            Inner::Sha1(mac) => mac.verify_slice(signature).is_ok(),
            Inner::Sha256(mac) => mac.verify_slice(signature).is_ok(),
            Inner::Sha512(mac) => mac.verify_slice(signature).is_ok(),
        }
    }
}

impl SignatureEncoding {
    /// The bytes that a text spells.
    #[must_use]
    pub fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => hex::decode(text).ok(),
            Self::Base64 => BASE64.decode(text).ok(),
        }
    }

    /// The text that spells these bytes.
    #[must_use]
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(algorithm: HmacAlgorithm, key: &[u8], data: &[u8]) -> String {
        let mut hash = KeyedHash::new(algorithm, key).unwrap();
        let (one, other) = data.split_at(data.len() / 2);
        hash.update(one);
        hash.update(other);
        hex::encode(hash.finish())
    }

    /// RFC 2202 (cases 1, 2 and 6) and RFC 4231 (cases 2 and 6; a key longer than a block).
    #[test]
    fn hashes_agree_with_the_rfcs() {
        let jefe = (&b"Jefe"[..], &b"what do ya want for nothing?"[..]);
        let long = &b"Test Using Larger Than Block-Size Key - Hash Key First"[..];
        for (algorithm, key, data, expected) in [
            (
                HmacAlgorithm::Sha1,
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                HmacAlgorithm::Sha1,
                jefe.0,
                jefe.1,
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                HmacAlgorithm::Sha1,
                &[0xaa; 80],
                long,
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
            (
                HmacAlgorithm::Sha256,
                jefe.0,
                jefe.1,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                HmacAlgorithm::Sha256,
                &[0xaa; 131],
                long,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                HmacAlgorithm::Sha512,
                jefe.0,
                jefe.1,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            assert_eq!(hex_of(algorithm, key, data), expected);
        }
    }

    #[test]
    fn only_the_whole_signature_is_the_signature() {
        let mut hash = KeyedHash::new(HmacAlgorithm::Sha256, b"key").unwrap();
        hash.update(b"data");
        let signature = hash.clone().finish();
        assert!(hash.is(&signature));
        for wrong in [&signature[..31], &[], &[&signature[..], &[0]].concat()] {
            assert!(!hash.is(wrong));
        }
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, bytes) in [
            ("Zm8=", Some(b"fo".to_vec())),
            ("Zm8", Some(b"fo".to_vec())),
            ("Zm9v", Some(b"foo".to_vec())),
            ("Zm8*", None),
            ("Zm8 ", None),
        ] {
            assert_eq!(SignatureEncoding::Base64.decode(text.as_bytes()), bytes);
        }
        assert_eq!(SignatureEncoding::Base64.encode(b"fo"), "Zm8=");
    }
}
