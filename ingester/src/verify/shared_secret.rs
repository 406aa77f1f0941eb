//! Secrets that are sent as they are.

use hyper::HeaderMap;
use trunkline_model::verification::{
    HmacAlgorithm, KeyedHash, SharedSecretCarrier, SharedSecretScheme, SignatureEncoding,
};

use super::{Unverified, single};

/// The scheme's name in `Authorization`, in any case: RFC 7617, section 2.
const BASIC: &[u8] = b"basic";

pub(super) fn verify(
    scheme: &SharedSecretScheme,
    headers: &HeaderMap,
    now: i64,
) -> Result<(), Unverified> {
    let value = single(headers, scheme.carrier.header())?.ok_or(Unverified::SecretMissing)?;
    let presented = match &scheme.carrier {
        SharedSecretCarrier::Header { prefix, .. } => {
            value.strip_prefix(prefix.as_bytes()).map(<[u8]>::to_vec)
        }
        SharedSecretCarrier::Basic { .. } => credentials(value),
    }
    .ok_or(Unverified::SecretMalformed)?;
    // `|` and not `||`: every secret is tried.
    let is_known = scheme.secrets.iter().fold(false, |found, secret| {
        let secret_value = secret.value.expose();
        let is_equal = match &scheme.carrier {
            SharedSecretCarrier::Header { .. } => is_equal(&presented, &[secret_value]),
            SharedSecretCarrier::Basic { username } => {
                is_equal(&presented, &[username.as_bytes(), b":", secret_value])
            }
        };
        found | (is_equal & secret.is_valid_at(now))
    });
    is_known.then_some(()).ok_or(Unverified::SecretMismatch)
}

/// `user:password` of an `Authorization` header.
fn credentials(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(BASIC.len())?;
    if !scheme.eq_ignore_ascii_case(BASIC) || !rest.starts_with(b" ") {
        return None;
    }
    SignatureEncoding::Base64.decode(rest.trim_ascii())
}

/// Compares hashes, which have one length, so that the time tells neither where two texts differ
/// nor how long the secret is.
fn is_equal(presented: &[u8], expected: &[&[u8]]) -> bool {
    let hash = |parts: &[&[u8]]| {
        let mut hash = KeyedHash::new(HmacAlgorithm::Sha256, &[])?;
        parts.iter().for_each(|part| hash.update(part));
        Some(hash)
    };
    match (hash(&[presented]), hash(expected)) {
        (Some(presented), Some(expected)) => expected.is(&presented.finish()),
        _ => false,
    }
}
