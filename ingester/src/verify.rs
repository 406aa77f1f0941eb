//! Decides what a request's signature covers and whether it is valid.
//!
//! Pure: headers and bytes in, a verdict out. Never logs.
//! Invariants: a verdict depends on the bytes as received, before any parsing. Comparison takes the
//! same time wherever a signature differs, and every secret is tried, so that neither tells an
//! attacker how near a guess was.

use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha1::Sha1;
use trunkline_model::verification::{
    AuthScope, Coverage, HmacAlgorithm, HmacScheme, SignatureEncoding, Verification,
};

use crate::json::first_element;

/// Why a request does not prove its sender. The sender is not told which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unverified {
    /// No signature header.
    #[error("the request has no signature header; is the shared secret set at the sender?")]
    Missing,
    /// More than one signature header: an intermediary and we could each believe another one.
    #[error("the request has its signature header more than once")]
    Repeated,
    /// A signature that no sender of this scheme makes.
    #[error("the signature is not spelled as the scheme spells it")]
    Malformed,
    /// No secret makes this signature over this body.
    #[error("the signature matches none of the secrets; do sender and source have the same one?")]
    Mismatch,
}

/// What vouches for the rows of a verified request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was asked for.
    Unchecked,
    /// A signature covers this much.
    Signed(Coverage),
}

impl Verdict {
    /// What vouches for the row at `position` of its request. `is_split` says whether elements of
    /// an array are rows; where the array is one row, its signed first element vouches only for a
    /// part of it.
    pub(crate) fn scope(self, position: usize, is_split: bool) -> AuthScope {
        match self {
            Self::Unchecked => AuthScope::None,
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
        Verification::Hmac(scheme) => verify_hmac(scheme, headers, body, now).map(Verdict::Signed),
    }
}

fn verify_hmac(
    scheme: &HmacScheme,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Coverage, Unverified> {
    let mut values = headers.get_all(&scheme.header).iter();
    let value = values.next().ok_or(Unverified::Missing)?;
    if values.next().is_some() {
        return Err(Unverified::Repeated);
    }
    let signature = match scheme.encoding {
        SignatureEncoding::Hex => hex::decode(value.as_bytes()),
    }
    .map_err(|_| Unverified::Malformed)?;
    for &coverage in &scheme.coverage {
        let signed = match coverage {
            Coverage::Body => Some(body),
            Coverage::FirstElement => first_element(body),
        };
        if signed.is_some_and(|signed| matches_a_secret(scheme, signed, &signature, now)) {
            return Ok(coverage);
        }
    }
    Err(Unverified::Mismatch)
}

fn matches_a_secret(scheme: &HmacScheme, signed: &[u8], signature: &[u8], now: i64) -> bool {
    let matches = |key: &[u8]| match scheme.algorithm {
        HmacAlgorithm::Sha1 => Hmac::<Sha1>::new_from_slice(key)
            .is_ok_and(|mac| mac.chain_update(signed).verify_slice(signature).is_ok()),
    };
    // `|` and not `||`: every secret is tried.
    scheme.secrets.iter().fold(false, |found, secret| {
        found | (matches(secret.value.expose()) & secret.is_valid_at(now))
    })
}

#[cfg(test)]
mod tests {
    use trunkline_model::presets::Preset;
    use trunkline_model::secret::SecretBytes;
    use trunkline_model::verification::NamedSecret;

    use super::*;

    /// What Segment posts: the signature is over the body of one event, and of a batch over its
    /// first element. Made with `openssl dgst -sha1 -hmac SECRET`.
    const SECRET: &str = "shared-secret";
    const EVENT: &str = r#"{"type":"track","event":"Order Completed"}"#;
    const SIGNATURE: &str = "2325314578f5479b12004ab26aa7fc811b459d7b";
    const BATCH_SIGNATURE: &str = "ad1489fd66f4236b7f4e6055312837d3342beb57";

    fn batch() -> String {
        format!("[{EVENT},{{\"type\":\"page\"}}]")
    }

    fn segment(strict: bool, secrets: &[&str]) -> Verification {
        let named = |secret: &&str| NamedSecret {
            name: "s/key".to_owned(),
            value: SecretBytes::new(*secret),
            expires_at: None,
        };
        let secrets = secrets.iter().map(named).collect();
        Verification::Hmac(Preset::by_name("segment").unwrap().scheme(strict, secrets))
    }

    fn check(
        verification: &Verification,
        signatures: &[&str],
        body: &str,
    ) -> Result<Verdict, Unverified> {
        let mut headers = HeaderMap::new();
        for signature in signatures {
            headers.append("x-signature", signature.parse().unwrap());
        }
        verify(verification, &headers, body.as_bytes(), 0)
    }

    #[test]
    fn a_signature_over_the_body_vouches_for_the_request() {
        let source = segment(false, &[SECRET]);
        let whole = Ok(Verdict::Signed(Coverage::Body));
        assert_eq!(check(&source, &[SIGNATURE], EVENT), whole);
        assert_eq!(check(&source, &[&SIGNATURE.to_uppercase()], EVENT), whole);
        assert_eq!(check(&source, &[BATCH_SIGNATURE], &batch()), whole);
        assert_eq!(
            check(&segment(true, &[SECRET]), &[BATCH_SIGNATURE], &batch()),
            whole
        );
    }

    #[test]
    fn a_secret_verifies_until_it_expires() {
        let Verification::Hmac(mut scheme) = segment(false, &[SECRET]) else {
            panic!("not an HMAC");
        };
        scheme.secrets[0].expires_at = Some(100);
        let source = Verification::Hmac(scheme);
        let headers =
            HeaderMap::from_iter([("x-signature".parse().unwrap(), SIGNATURE.parse().unwrap())]);
        let at = |now| verify(&source, &headers, EVENT.as_bytes(), now);
        assert!(at(99).is_ok());
        assert_eq!(at(100), Err(Unverified::Mismatch));
    }

    #[test]
    fn a_signature_over_the_first_element_is_enough_unless_strict() {
        let first = Ok(Verdict::Signed(Coverage::FirstElement));
        assert_eq!(
            check(&segment(false, &[SECRET]), &[SIGNATURE], &batch()),
            first
        );
        let spaced = format!(" [\n{EVENT} , 1 ]\n");
        assert_eq!(
            check(&segment(false, &[SECRET]), &[SIGNATURE], &spaced),
            first
        );
        let refused = Err(Unverified::Mismatch);
        assert_eq!(
            check(&segment(true, &[SECRET]), &[SIGNATURE], &batch()),
            refused
        );
    }

    #[test]
    fn any_of_the_secrets_is_enough() {
        let whole = Ok(Verdict::Signed(Coverage::Body));
        for secrets in [["other", SECRET], [SECRET, "other"]] {
            assert_eq!(check(&segment(false, &secrets), &[SIGNATURE], EVENT), whole);
        }
        let refused = Err(Unverified::Mismatch);
        assert_eq!(
            check(&segment(false, &["other", "more"]), &[SIGNATURE], EVENT),
            refused
        );
    }

    #[test]
    fn what_proves_nothing_is_refused() {
        let tampered = EVENT.replace("Order", "order");
        let behind = batch().replace(EVENT, &format!("{{}},{EVENT}"));
        let half = &SIGNATURE[..20];
        let long = format!("{SIGNATURE}00");
        let cases: [(&[&str], &str, Unverified); 9] = [
            (&[], EVENT, Unverified::Missing),
            (&[SIGNATURE, SIGNATURE], EVENT, Unverified::Repeated),
            (&[""], EVENT, Unverified::Mismatch),
            (&["xyz"], EVENT, Unverified::Malformed),
            (&[half], EVENT, Unverified::Mismatch),
            (&[&long], EVENT, Unverified::Mismatch),
            (&[SIGNATURE], &tampered, Unverified::Mismatch),
            (&[SIGNATURE], &behind, Unverified::Mismatch),
            (&[SIGNATURE], "", Unverified::Mismatch),
        ];
        for (signatures, body, reason) in cases {
            let verdict = check(&segment(false, &[SECRET]), signatures, body);
            assert_eq!(verdict, Err(reason), "{signatures:?} {body}");
        }
    }

    #[test]
    fn nothing_is_checked_when_nothing_is_asked_for() {
        assert_eq!(
            check(&Verification::None, &[], EVENT),
            Ok(Verdict::Unchecked)
        );
    }

    #[test]
    fn only_the_signed_element_counts_as_signed() {
        let first = Verdict::Signed(Coverage::FirstElement);
        assert_eq!(first.scope(0, true), AuthScope::Element);
        assert_eq!(first.scope(1, true), AuthScope::Batch);
        assert_eq!(first.scope(0, false), AuthScope::Batch);
        assert_eq!(
            Verdict::Signed(Coverage::Body).scope(7, true),
            AuthScope::Request
        );
        assert_eq!(Verdict::Unchecked.scope(0, true), AuthScope::None);
    }
}
