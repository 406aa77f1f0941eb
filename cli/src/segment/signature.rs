//! `X-Signature`, as Segment computes it.

use trunkline_model::verification::{HmacAlgorithm, KeyedHash, SignatureEncoding};

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-signature";

/// HMAC-SHA1 of `signed` under the shared secret, in lower-case hex.
///
/// Segment signs the body of a single event, and of a batch the first element alone: its exact
/// bytes within the array, without the brackets and the elements after it.
#[must_use]
pub fn sign(secret: &[u8], signed: &[u8]) -> String {
    // HMAC takes keys of any length, so there always is one.
    let Some(mut hash) = KeyedHash::new(HmacAlgorithm::Sha1, secret) else {
        return String::new();
    };
    hash.update(signed);
    SignatureEncoding::Hex.encode(&hash.finish())
}

#[cfg(test)]
mod tests {
    use super::sign;

    /// RFC 2202, test cases 1, 2 and 6 (a key longer than a block).
    #[test]
    fn signatures_agree_with_the_rfc() {
        for (key, data, expected) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            assert_eq!(sign(key, data), expected);
        }
    }
}
