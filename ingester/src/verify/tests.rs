use std::collections::BTreeSet;

use trunkline_model::presets::{PRESETS, Preset, PresetScheme};
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{
    HmacAlgorithm, HmacScheme, Mode, NamedSecret, SharedSecretCarrier, SharedSecretScheme,
    SignatureEncoding, SignatureFormat, SignedPart, TimestampLocation, TimestampScheme,
    TimestampUnit, Unsigned,
};

use super::vectors::{BODY, NOW, SECRET as PROVIDER_SECRET, SHA256_HEX, VECTORS, Vector};
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

fn named(secret: impl Into<Vec<u8>>) -> NamedSecret {
    NamedSecret {
        name: "s/key".to_owned(),
        value: SecretBytes::new(secret),
        expires_at: None,
    }
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

impl Vector {
    fn preset(&self) -> &'static Preset {
        Preset::by_name(self.preset).unwrap()
    }

    fn verification(&self) -> Verification {
        let preset = self.preset();
        let value = SecretBytes::new(self.secret);
        let key = preset.secret_encoding().decode(&value).unwrap();
        preset.verification(false, Mode::Enforce, vec![named(key.expose())])
    }
}

fn header_map<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: hyper::header::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

fn of_vector(vector: &Vector) -> HeaderMap {
    header_map(vector.headers.iter().copied())
}

#[test]
fn every_preset_takes_what_its_provider_sends() {
    let presets: BTreeSet<_> = PRESETS.iter().map(|preset| preset.name).collect();
    let vectors: BTreeSet<_> = VECTORS.iter().map(|vector| vector.preset).collect();
    assert_eq!(presets, vectors);
    for vector in VECTORS {
        let (name, source) = (vector.preset, vector.verification());
        let headers = of_vector(vector);
        let check = |body: &str, now| verify(&source, &headers, body.as_bytes(), now);
        let whole = Ok(Verdict::Signed(Coverage::Body));
        assert_eq!(check(vector.body, vector.now), whole, "{name}");

        let is_signed = matches!(vector.preset().scheme, PresetScheme::Hmac(_));
        let tampered = check(&format!("{} ", vector.body), vector.now);
        let expected = if is_signed {
            Err(Unverified::Mismatch)
        } else {
            whole
        };
        assert_eq!(tampered, expected, "{name}");

        for (index, _) in vector.headers.iter().enumerate() {
            let mut less = vector.headers.to_vec();
            less.remove(index);
            let less = verify(
                &source,
                &header_map(less),
                vector.body.as_bytes(),
                vector.now,
            );
            assert!(less.is_err(), "{name} without {:?}", vector.headers[index]);
            let more = vector.headers.iter().chain([&vector.headers[index]]);
            let more = header_map(more.copied());
            let twice = verify(&source, &more, vector.body.as_bytes(), vector.now);
            assert_eq!(twice, Err(Unverified::Repeated), "{name}");
        }
    }
}

#[test]
fn a_preset_with_a_time_holds_it_to_five_minutes_both_ways() {
    let mut timed = 0;
    for vector in VECTORS {
        let (source, headers) = (vector.verification(), of_vector(vector));
        let at = |offset| {
            verify(
                &source,
                &headers,
                vector.body.as_bytes(),
                vector.now + offset,
            )
        };
        let (late, early) = (at(301), at(-301));
        let is_timed = matches!(&source, Verification::Hmac(scheme) if scheme.timestamp.is_some());
        timed += usize::from(is_timed);
        let whole = Ok(Verdict::Signed(Coverage::Body));
        assert_eq!((at(300), at(-300)), (whole, whole), "{}", vector.preset);
        let expected = if is_timed {
            (
                Err(Unverified::TimestampTooOld),
                Err(Unverified::TimestampInFuture),
            )
        } else {
            (whole, whole)
        };
        assert_eq!((late, early), expected, "{}", vector.preset);
    }
    assert_eq!(timed, 9, "presets with a time");
}

#[test]
fn the_signer_makes_what_the_provider_makes() {
    for vector in VECTORS {
        let find = |wanted: &str| vector.headers.iter().find(|header| header.0 == wanted);
        let id = find("webhook-id").or(find("svix-id")).map_or("", |id| id.1);
        let signed = vector.verification().sign(Unsigned {
            body: vector.body.as_bytes(),
            first_element: vector.body.as_bytes(),
            headers: &[],
            id,
            now: vector.now,
        });
        for (name, value) in signed.unwrap() {
            let theirs = find(&name).unwrap().1;
            // Two vectors have more signatures in their header than a signer makes.
            assert!(
                theirs.contains(&value),
                "{}: {name}: {value}",
                vector.preset
            );
        }
    }
}

/// A generic scheme over [`BODY`].
fn generic(change: impl FnOnce(&mut HmacScheme)) -> Verification {
    let mut scheme = HmacScheme {
        header: "x-signature".to_owned(),
        format: SignatureFormat::default(),
        algorithm: HmacAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        signed: vec![SignedPart::Body],
        timestamp: None,
        coverage: vec![Coverage::Body],
        secrets: vec![named(PROVIDER_SECRET)],
        mode: Mode::Enforce,
    };
    change(&mut scheme);
    Verification::Hmac(scheme)
}

fn check_generic(source: &Verification, headers: &[(&str, &str)]) -> Result<Verdict, Unverified> {
    let headers = header_map(headers.iter().copied());
    verify(source, &headers, BODY.as_bytes(), NOW)
}

#[test]
fn a_header_is_read_as_its_format_says() {
    let key = |key: &'static str| SignatureFormat::KeyValue { key: key.into() };
    let list = |key: &'static str| SignatureFormat::List { key: key.into() };
    let prefix = |prefix: &'static str| SignatureFormat::Plain {
        prefix: prefix.into(),
    };
    let whole = Ok(Verdict::Signed(Coverage::Body));
    let (mismatch, malformed) = (Err(Unverified::Mismatch), Err(Unverified::Malformed));
    let s = SHA256_HEX;
    let zeros = "0".repeat(64);
    let many = |count| vec![format!("v1={zeros}"); count].join(",");
    let cases = [
        (prefix("sha256="), format!("sha256={s}"), whole),
        (prefix("sha256="), s.to_owned(), malformed),
        (prefix("sha256="), format!("SHA256={s}"), malformed),
        (prefix("sha256="), "sha256=".to_owned(), mismatch),
        (key("v1"), format!("t=1,v1={s}"), whole),
        (key("v1"), format!("t = 1 , v1 = {s} ,v0=x"), whole),
        (key("v1"), format!("v1={zeros},v1={s}"), whole),
        (key("v1"), format!("v1=odd,v1={s}"), whole),
        (key("v1"), format!("v0={s}"), malformed),
        (key("v1"), s.to_owned(), malformed),
        (key("v1"), "v1=odd".to_owned(), malformed),
        (key("v1"), format!("{},v1={s}", many(15)), whole),
        (key("v1"), format!("{},v1={s}", many(16)), malformed),
        (list("v1"), format!("v1,{s}"), whole),
        (list("v1"), format!("v1a,x  v1,{zeros} v1,{s}"), whole),
        (list("v1"), format!("v1a,{s}"), malformed),
        (list("v1"), format!("v1, {s}"), mismatch),
    ];
    for (format, value, expected) in cases {
        let source = generic(|scheme| scheme.format = format);
        let verdict = check_generic(&source, &[("x-signature", &value)]);
        assert_eq!(verdict, expected, "{value}");
    }
}

#[test]
fn every_hash_and_spelling_is_known() {
    // printf %s "$B" | hex sha512, and the values of the vectors.
    let sha512 = "65f8294e32f7a457ec41e2308ea662494a0168b9c14424e882aef5a7cc2177e5\
                  a1e2032abc57b5cae3b6888422664533cf2aa64af5d8462762adc947cbec514f";
    for (algorithm, encoding, value) in [
        (
            HmacAlgorithm::Sha1,
            SignatureEncoding::Hex,
            "523130C283c1f19b32ed2e83b58728e1f975877f",
        ),
        (
            HmacAlgorithm::Sha256,
            SignatureEncoding::Base64,
            "rE1heHtPrB+QxX9M9AiRoctzCsO6lu9ZPScYIr/54lY",
        ),
        (HmacAlgorithm::Sha512, SignatureEncoding::Hex, sha512),
    ] {
        let source = generic(|scheme| {
            scheme.algorithm = algorithm;
            scheme.encoding = encoding;
        });
        let verdict = check_generic(&source, &[("x-signature", value)]);
        assert_eq!(verdict, Ok(Verdict::Signed(Coverage::Body)));
    }
}

#[test]
fn what_is_signed_besides_the_body_has_to_be_there_once() {
    // printf 'msg_1.1700000000.%s' "$B" | hex sha256, as base64.
    let signature = (
        "x-signature",
        "vNW0EdUVrzfdAinnUhqNxnUyvpcdmtV0V1kRWimIt7c=",
    );
    let (id, time) = (("x-id", "msg_1"), ("x-time", "1700000000"));
    let source = |unit, tolerance_seconds| {
        generic(|scheme| {
            scheme.encoding = SignatureEncoding::Base64;
            scheme.signed = vec![
                SignedPart::Header("x-id".into()),
                SignedPart::Literal(".".into()),
                SignedPart::Timestamp,
                SignedPart::Literal(".".into()),
                SignedPart::Body,
            ];
            scheme.timestamp = Some(TimestampScheme {
                location: TimestampLocation::Header("x-time".into()),
                unit,
                tolerance_seconds,
            });
        })
    };
    let seconds = source(TimestampUnit::Seconds, 60);
    let whole = Ok(Verdict::Signed(Coverage::Body));
    for (headers, expected) in [
        (vec![id, time, signature], whole),
        (vec![time, signature], Err(Unverified::SignedHeaderMissing)),
        (vec![id, signature], Err(Unverified::TimestampMissing)),
        (vec![id, time], Err(Unverified::Missing)),
        (vec![id, id, time, signature], Err(Unverified::Repeated)),
        (vec![id, time, time, signature], Err(Unverified::Repeated)),
        (
            vec![("x-id", "msg_2"), time, signature],
            Err(Unverified::Mismatch),
        ),
        (
            vec![id, ("x-time", "1700000001"), signature],
            Err(Unverified::Mismatch),
        ),
    ] {
        assert_eq!(check_generic(&seconds, &headers), expected, "{headers:?}");
    }
    let all = [id, time, signature];
    let in_words = source(TimestampUnit::Rfc3339, 60);
    assert_eq!(
        check_generic(&in_words, &all),
        Err(Unverified::TimestampMalformed)
    );
    // Without a tolerance the timestamp is signed content and nothing more.
    assert_eq!(
        check_generic(&source(TimestampUnit::Rfc3339, 0), &all),
        whole
    );
}

#[test]
fn a_timestamp_within_the_signature_is_there_once() {
    let source = generic(|scheme| {
        scheme.format = SignatureFormat::KeyValue { key: "v1".into() };
        scheme.timestamp = Some(TimestampScheme {
            location: TimestampLocation::Key("t".into()),
            unit: TimestampUnit::Seconds,
            tolerance_seconds: 60,
        });
    });
    let whole = Ok(Verdict::Signed(Coverage::Body));
    for (pairs, expected) in [
        ("t=1700000000", whole),
        ("t=1700000000,t=1700000000", Err(Unverified::Repeated)),
        ("u=1700000000", Err(Unverified::TimestampMissing)),
        ("t=soon", Err(Unverified::TimestampMalformed)),
        ("t=1699999000", Err(Unverified::TimestampTooOld)),
        ("t=1700000999", Err(Unverified::TimestampInFuture)),
    ] {
        let value = format!("{pairs},v1={SHA256_HEX}");
        let verdict = check_generic(&source, &[("x-signature", &value)]);
        assert_eq!(verdict, expected, "{pairs}");
    }
}

fn shared(carrier: SharedSecretCarrier, secrets: Vec<NamedSecret>) -> Verification {
    Verification::SharedSecret(SharedSecretScheme {
        carrier,
        secrets,
        mode: Mode::Enforce,
    })
}

#[test]
fn a_shared_secret_is_compared_whole() {
    let bearer = SharedSecretCarrier::Header {
        name: "authorization".into(),
        prefix: "Bearer ".into(),
    };
    let basic = SharedSecretCarrier::Basic {
        username: "segment".into(),
    };
    let whole = Ok(Verdict::Signed(Coverage::Body));
    let (mismatch, malformed) = (
        Err(Unverified::SecretMismatch),
        Err(Unverified::SecretMalformed),
    );
    // The second is `printf %s segment:one | openssl base64`, and so on.
    for (carrier, value, expected) in [
        (&bearer, "Bearer one", whole),
        (&bearer, "Bearer two", whole),
        (&bearer, "Bearer on", mismatch),
        (&bearer, "Bearer onee", mismatch),
        (&bearer, "Bearer ", mismatch),
        (&bearer, "one", malformed),
        (&bearer, "Bearer three", mismatch),
        (&basic, "Basic c2VnbWVudDpvbmU=", whole),
        (&basic, "bAsIc  c2VnbWVudDp0d28=", whole),
        (&basic, "Basic c2VnbWVudDp0aHJlZQ==", mismatch),
        (&basic, "Basic b3RoZXI6b25l", mismatch),
        (&basic, "Basic segment:one", malformed),
        (&basic, "Basicc2VnbWVudDpvbmU=", malformed),
        (&basic, "Bearer one", malformed),
        (&basic, "é", malformed),
    ] {
        let mut three = named("three");
        three.expires_at = Some(NOW);
        let source = shared(carrier.clone(), vec![named("one"), named("two"), three]);
        let verdict = check_generic(&source, &[("authorization", value)]);
        assert_eq!(verdict, expected, "{value}");
    }
    let source = shared(bearer, vec![named("one")]);
    assert_eq!(check_generic(&source, &[]), Err(Unverified::SecretMissing));
    let twice = [("authorization", "Bearer one"); 2];
    assert_eq!(check_generic(&source, &twice), Err(Unverified::Repeated));
}

#[test]
fn what_is_signed_here_is_verified_here() {
    for preset in PRESETS.iter() {
        let source = preset.verification(false, Mode::Enforce, vec![named("one"), named("two")]);
        let batch = format!("[{BODY},{BODY}]");
        let signed = source.sign(Unsigned {
            body: batch.as_bytes(),
            first_element: BODY.as_bytes(),
            headers: &[],
            id: "delivery-1",
            now: NOW,
        });
        let signed = signed.unwrap();
        let headers = signed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let verdict = verify(&source, &header_map(headers), batch.as_bytes(), NOW + 1);
        let coverage = if preset.splits_arrays {
            Coverage::FirstElement
        } else {
            Coverage::Body
        };
        assert_eq!(verdict, Ok(Verdict::Signed(coverage)), "{}", preset.name);
    }
}
