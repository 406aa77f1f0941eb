//! Segment's signatures: over the body, or over the first element of a batch.

use trunkline_model::presets::Preset;

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
    let secrets = secrets.iter().map(|secret| named(*secret)).collect();
    let preset = Preset::by_name("segment").unwrap();
    preset.verification(strict, Mode::Enforce, secrets)
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
    let failed = Verdict::Failed(Unverified::Missing);
    assert_eq!(failed.scope(0, true), AuthScope::Failed);
}
