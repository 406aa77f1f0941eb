//! Schemes and their secrets.

use super::*;

/// A source whose only secret has this value.
fn with_secret(verification: &str, value: &str) -> Result<Source, Problems> {
    let spec = format!(
        "clusterRef: {{name: main}}, verification: {{{verification}, secrets: [{{secretKeyRef: \
         {{name: own, key: k}}}}]}}"
    );
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: own}}\nstringData: {{k: {value:?}}}\n"
    );
    let outcome = validated(&[source("segment", &spec), secret]);
    outcome.sources.into_values().next().unwrap()
}

#[test]
fn a_secret_is_decoded_as_its_scheme_spells_it() {
    for (verification, value, key) in [
        ("preset: github", "whsec_c2VjcmV0", "whsec_c2VjcmV0"),
        ("preset: stripe", "whsec_c2VjcmV0", "whsec_c2VjcmV0"),
        ("preset: svix", "whsec_c2VjcmV0", "secret"),
        ("preset: standard-webhooks", "c2VjcmV0", "secret"),
        ("hmac: {header: a, secretEncoding: Hex}", "736563", "sec"),
        ("sharedSecret: {header: a}", "c2VjcmV0", "c2VjcmV0"),
    ] {
        let source = with_secret(verification, value).unwrap();
        let secrets = source.verification.secrets().unwrap();
        assert_eq!(secrets[0].value.expose(), key.as_bytes(), "{verification}");
        assert_eq!(secrets[0].name, "own/k");
        assert_eq!(source.unavailable, None);
    }
}

#[test]
fn a_secret_that_does_not_decode_is_named_without_its_value() {
    let source = with_secret("preset: svix", "not base64!").unwrap();
    let unavailable = source.unavailable.unwrap();
    assert_eq!(unavailable.reason, UnavailableReason::SecretMalformed);
    let text = unavailable.problem.to_string();
    assert!(
        text.contains("secrets[0].secretKeyRef.key: the key \"k\" of the Secret \"own\""),
        "{text}"
    );
    assert!(!text.contains("not base64!"), "{text}");
}

#[test]
fn the_generic_scheme_can_say_what_a_preset_says() {
    let pairs = [
        (
            "preset: github",
            "hmac: {header: X-Hub-Signature-256, prefix: sha256=}",
        ),
        (
            "preset: segment",
            "hmac: {header: X-Signature, algorithm: SHA1, coverage: BodyOrFirstElement}",
        ),
        (
            "preset: segment, strict: true",
            "strict: true, hmac: {header: X-Signature, algorithm: SHA1, \
             coverage: BodyOrFirstElement}",
        ),
        (
            "preset: stripe, mode: ReportOnly",
            "mode: ReportOnly, hmac: {header: Stripe-Signature, format: KeyValue, key: v1, \
             signed: '{timestamp}.{body}', timestamp: {key: t}}",
        ),
        (
            "preset: zendesk",
            "hmac: {header: X-Zendesk-Webhook-Signature, encoding: Base64, \
             signed: '{timestamp}{body}', timestamp: {header: \
             X-Zendesk-Webhook-Signature-Timestamp, unit: RFC3339}}",
        ),
        (
            "preset: standard-webhooks",
            "hmac: {header: Webhook-Signature, format: List, key: v1, encoding: Base64, signed: \
             '{header:Webhook-Id}.{timestamp}.{body}', timestamp: {header: Webhook-Timestamp}, \
             secretEncoding: Whsec}",
        ),
        ("preset: gitlab", "sharedSecret: {header: X-Gitlab-Token}"),
    ];
    for (preset, generic) in pairs {
        let value = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0";
        let of = |verification| with_secret(verification, value).unwrap().verification;
        assert_eq!(of(preset), of(generic), "{generic}");
    }
}

/// Each is refused by the schema as well; `trunkline dev` and `render` have no schema.
#[test]
fn a_wrong_scheme_is_refused_with_field_and_fix() {
    for (verification, expected) in [
        ("hmac: {header: 'a b'}", "hmac.header: \"a b\" is not"),
        ("hmac: {header: a, key: v1}", "hmac.key: goes with"),
        ("hmac: {header: a, format: List}", "hmac.key: goes with"),
        (
            "hmac: {header: a, format: List, key: b, prefix: c}",
            "hmac.prefix: goes with format Plain",
        ),
        ("hmac: {header: a, signed: x}", "hmac.signed: has {body} 0"),
        (
            "hmac: {header: a, signed: '{header:b c}{body}'}",
            "hmac.signed: \"b c\" is not",
        ),
        (
            "hmac: {header: a, signed: '{timestamp}{body}'}",
            "hmac.timestamp: is not there",
        ),
        (
            "hmac: {header: a, timestamp: {}}",
            "hmac.timestamp: needs exactly one",
        ),
        (
            "hmac: {header: a, timestamp: {key: t}}",
            "hmac.timestamp.key: goes with",
        ),
        (
            "hmac: {header: a, timestamp: {header: 'b c'}}",
            "hmac.timestamp.header: \"b c\" is not",
        ),
        (
            "hmac: {header: a, timestamp: {header: b, tolerance: 25h}}",
            "hmac.timestamp.tolerance: \"25h\"",
        ),
        (
            "hmac: {header: a, timestamp: {header: b, tolerance: 0s}}",
            "hmac.timestamp: has no effect",
        ),
        ("sharedSecret: {}", "sharedSecret: needs exactly one"),
        ("sharedSecret: {header: 'a b'}", "sharedSecret.header"),
        (
            "sharedSecret: {basic: {username: 'a:b'}}",
            "sharedSecret.basic.username",
        ),
        (
            "sharedSecret: {basic: {username: a}, prefix: b}",
            "sharedSecret.prefix",
        ),
        (
            "sharedSecret: {header: a}, strict: true",
            "verification.strict: has no meaning",
        ),
        ("preset: okta, strict: true", "verification.strict"),
    ] {
        let problems = with_secret(verification, "long-enough-for-anyone");
        let problems = problems.unwrap_err().to_string();
        assert!(problems.contains(expected), "{verification}: {problems}");
    }
}
