//! Signatures that are an HMAC.

use hyper::HeaderMap;
use trunkline_model::verification::{
    Coverage, HmacScheme, KeyedHash, SignatureFormat, SignedPart, TimestampLocation,
    TimestampScheme,
};

use super::{Unverified, single};
use crate::json::first_element;

/// Bound on the signatures of one request. Senders have two while they rotate a secret; each is one
/// more comparison for every secret.
const MAX_SIGNATURES: usize = 16;

pub(super) fn verify(
    scheme: &HmacScheme,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Coverage, Unverified> {
    let value = single(headers, &scheme.header)?.ok_or(Unverified::Missing)?;
    let signatures = signatures(scheme, value)?;
    let timestamp = match &scheme.timestamp {
        Some(timestamp) => Some(find(timestamp, headers, value)?),
        None => None,
    };
    let parts = parts(scheme, headers, timestamp)?;
    let coverage = scheme.coverage.iter().copied().find(|coverage| {
        let signed = match coverage {
            Coverage::Body => Some(body),
            Coverage::FirstElement => first_element(body),
        };
        signed.is_some_and(|signed| matches_a_secret(scheme, &parts, signed, &signatures, now))
    });
    let coverage = coverage.ok_or(Unverified::Mismatch)?;
    // Last, so that the owner reads of a clock only where the secret is right.
    if let (Some(scheme), Some(timestamp)) = (&scheme.timestamp, timestamp) {
        check_time(scheme, timestamp, now)?;
    }
    Ok(coverage)
}

/// Every signature of the header, decoded.
fn signatures(scheme: &HmacScheme, value: &[u8]) -> Result<Vec<Vec<u8>>, Unverified> {
    let spelled: Vec<&[u8]> = match &scheme.format {
        SignatureFormat::Plain { prefix } => {
            value.strip_prefix(prefix.as_bytes()).into_iter().collect()
        }
        SignatureFormat::KeyValue { key } => of_key(value, key).collect(),
        SignatureFormat::List { key } => value
            .split(u8::is_ascii_whitespace)
            .filter_map(|entry| split_once(entry, b','))
            .filter(|(version, _)| *version == key.as_bytes())
            .map(|(_, signature)| signature)
            .collect(),
    };
    if spelled.len() > MAX_SIGNATURES {
        return Err(Unverified::Malformed);
    }
    let decoded = spelled.iter().map(|text| scheme.encoding.decode(text));
    // One that is not spelled well does not spoil the others.
    let signatures: Vec<_> = decoded.flatten().collect();
    if signatures.is_empty() {
        return Err(Unverified::Malformed);
    }
    Ok(signatures)
}

/// The values of a name in pairs `name=value`, separated by commas, with or without spaces.
fn of_key<'a>(value: &'a [u8], key: &str) -> impl Iterator<Item = &'a [u8]> {
    value
        .split(|byte| *byte == b',')
        .filter_map(|pair| split_once(pair, b'='))
        .filter(move |(name, _)| name.trim_ascii() == key.as_bytes())
        .map(|(_, value)| value.trim_ascii())
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..position)?, text.get(position + 1..)?))
}

/// The timestamp as the request writes it.
fn find<'a>(
    scheme: &TimestampScheme,
    headers: &'a HeaderMap,
    signature: &'a [u8],
) -> Result<&'a [u8], Unverified> {
    let found = match &scheme.location {
        TimestampLocation::Header(name) => single(headers, name)?,
        TimestampLocation::Key(key) => {
            let mut values = of_key(signature, key);
            let value = values.next();
            if values.next().is_some() {
                return Err(Unverified::Repeated);
            }
            value
        }
    };
    found.ok_or(Unverified::TimestampMissing)
}

/// What is signed, the body left open.
fn parts<'a>(
    scheme: &'a HmacScheme,
    headers: &'a HeaderMap,
    timestamp: Option<&'a [u8]>,
) -> Result<Vec<Option<&'a [u8]>>, Unverified> {
    let part = |part: &'a SignedPart| match part {
        SignedPart::Body => Ok(None),
        SignedPart::Literal(text) => Ok(Some(text.as_bytes())),
        SignedPart::Timestamp => timestamp.map(Some).ok_or(Unverified::TimestampMissing),
        SignedPart::Header(name) => single(headers, name)?
            .map(Some)
            .ok_or(Unverified::SignedHeaderMissing),
    };
    scheme.signed.iter().map(part).collect()
}

fn matches_a_secret(
    scheme: &HmacScheme,
    parts: &[Option<&[u8]>],
    body: &[u8],
    signatures: &[Vec<u8>],
    now: i64,
) -> bool {
    let matches = |key: &[u8]| {
        let Some(mut hash) = KeyedHash::new(scheme.algorithm, key) else {
            return false;
        };
        for part in parts {
            hash.update(part.unwrap_or(body));
        }
        let signatures = signatures.iter();
        signatures.fold(false, |found, signature| found | hash.is(signature))
    };
    // `|` and not `||`: every secret is tried, and every signature.
    scheme.secrets.iter().fold(false, |found, secret| {
        found | (matches(secret.value.expose()) & secret.is_valid_at(now))
    })
}

fn check_time(scheme: &TimestampScheme, timestamp: &[u8], now: i64) -> Result<(), Unverified> {
    let tolerance = scheme.tolerance_seconds;
    if tolerance == 0 {
        return Ok(());
    }
    let signed_at = scheme.unit.read(timestamp);
    let signed_at = signed_at.ok_or(Unverified::TimestampMalformed)?;
    if now.saturating_sub(signed_at) > tolerance {
        return Err(Unverified::TimestampTooOld);
    }
    if signed_at.saturating_sub(now) > tolerance {
        return Err(Unverified::TimestampInFuture);
    }
    Ok(())
}
