//! Decides what a request's signature covers and whether it is valid.
//!
//! Pure: headers, bytes and a clock value in, a verdict out. Never logs.
//! Invariants: a verdict depends on the bytes as received, before any parsing. Comparison takes the
//! same time wherever a signature or a secret differs, and every secret is tried, so that neither
//! tells an attacker how near a guess was.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hmac;
mod shared_secret;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use hyper::HeaderMap;
use trunkline_model::verification::{AuthScope, Coverage, Verification};

/// Why a request does not prove its sender. The sender is not told which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unverified {
    /// No signature header.
    #[error("the request has no signature header; is the shared secret set at the sender?")]
    Missing,
    /// A header that verification reads is there more than once, or a timestamp within it: an
    /// intermediary and we could each believe another one.
    #[error("the request has a header that verification reads, or its timestamp, more than once")]
    Repeated,
    /// A signature that no sender of this scheme makes.
    #[error("the signature is not spelled as the scheme spells it")]
    Malformed,
    /// No secret makes this signature over this body.
    #[error("the signature matches none of the secrets; do sender and source have the same one?")]
    Mismatch,
    /// Another header is signed, and not there.
    #[error("the request has not every header that its signature is made over")]
    SignedHeaderMissing,
    /// No timestamp.
    #[error("the request has no timestamp where the scheme has it")]
    TimestampMissing,
    /// A timestamp in another form.
    #[error("the timestamp is not written as the scheme writes it")]
    TimestampMalformed,
    /// The signature is valid, and too old.
    #[error(
        "the signature is valid and its timestamp too old: a replay, a slow sender, or a wrong \
         clock"
    )]
    TimestampTooOld,
    /// The signature is valid, and from the future.
    #[error("the signature is valid and its timestamp in the future: whose clock is wrong?")]
    TimestampInFuture,
    /// No header with the shared secret.
    #[error("the request has no header with the secret; is it set at the sender?")]
    SecretMissing,
    /// The header is there in another form.
    #[error("the header with the secret does not begin, or is not encoded, as the source says")]
    SecretMalformed,
    /// None of the secrets.
    #[error("what the request presents is none of the secrets, or another user's name")]
    SecretMismatch,
}

impl Unverified {
    /// A short, fixed name for metrics and logs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Repeated => "signature_repeated",
            Self::Malformed => "signature_malformed",
            Self::Mismatch => "signature_mismatch",
            Self::SignedHeaderMissing => "signed_header_missing",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampMalformed => "timestamp_malformed",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::SecretMissing => "secret_missing",
            Self::SecretMalformed => "secret_malformed",
            Self::SecretMismatch => "secret_mismatch",
        }
    }
}

/// What vouches for the rows of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was asked for.
    Unchecked,
    /// A signature covers this much. A shared secret vouches for the whole request.
    Signed(Coverage),
    /// Nothing, and the source stores it nevertheless.
    Failed(Unverified),
}

impl Verdict {
    /// Why nothing vouches for it although its source asks for verification.
    pub(crate) fn failure(self) -> Option<Unverified> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Unchecked | Self::Signed(_) => None,
        }
    }

    /// What vouches for the row at `position` of its request. `is_split` says whether elements of
    /// an array are rows; where the array is one row, its signed first element vouches only for a
    /// part of it.
    pub(crate) fn scope(self, position: usize, is_split: bool) -> AuthScope {
        match self {
            Self::Unchecked => AuthScope::None,
            Self::Failed(_) => AuthScope::Failed,
            Self::Signed(Coverage::Body) => AuthScope::Request,
            Self::Signed(Coverage::FirstElement) if position == 0 && is_split => AuthScope::Element,
            Self::Signed(Coverage::FirstElement) => AuthScope::Batch,
        }
    }
}

/// Checks a request as its source asks for, at `now` in seconds since 1970.
pub(crate) fn verify(
    verification: &Verification,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Verdict, Unverified> {
    match verification {
        Verification::None => Ok(Verdict::Unchecked),
        Verification::Hmac(scheme) => hmac::verify(scheme, headers, body, now).map(Verdict::Signed),
        Verification::SharedSecret(scheme) => {
            shared_secret::verify(scheme, headers, now)?;
            Ok(Verdict::Signed(Coverage::Body))
        }
    }
}

/// The value of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Unverified> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.as_bytes());
    match values.next() {
        Some(_) => Err(Unverified::Repeated),
        None => Ok(value),
    }
}
