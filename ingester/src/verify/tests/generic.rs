//! The generic scheme, and shared secrets.

use trunkline_model::verification::{
    HmacAlgorithm, HmacScheme, SharedSecretCarrier, SharedSecretScheme, SignatureEncoding,
    SignatureFormat, SignedPart, TimestampLocation, TimestampScheme, TimestampUnit,
};

use super::*;

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
        secrets: vec![named(SECRET)],
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
