//! Senders of several kinds at the front door: what is taken, what is refused, what vouches for a
//! row. Signatures are computed here, by none of the code under test.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use trunkline_model::presets::{PRESETS, Preset, PresetScheme};
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{
    HmacAlgorithm, Mode, NamedSecret, SecretEncoding, SharedSecretCarrier, SharedSecretScheme,
    SignatureEncoding, SignatureFormat, SignedPart, TimestampLocation, Verification,
};
use trunkline_tests::{Answer, SourceDraft, Station};

const SECRET: &str = "a secret that no log may hold";
const BODY: &str = r#"{"messageId":"m-1","type":"track"}"#;
const REFUSED: (u16, &str) = (400, "failed to validate the request");

fn draft(name: &str, verification: Verification) -> SourceDraft {
    let mut draft = SourceDraft::unverified(name);
    draft.settings.verification = verification;
    draft
}

fn secrets() -> Vec<NamedSecret> {
    vec![NamedSecret {
        name: "own/secret".to_owned(),
        value: SecretBytes::new(SECRET),
        expires_at: None,
    }]
}

fn preset(name: &str, mode: Mode) -> Verification {
    let preset = Preset::by_name(name).unwrap();
    preset.verification(false, mode, secrets())
}

fn shared(carrier: SharedSecretCarrier) -> Verification {
    Verification::SharedSecret(SharedSecretScheme {
        carrier,
        secrets: secrets(),
        mode: Mode::Enforce,
    })
}

fn sign(signed: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.chain_update(signed).finalize().into_bytes().to_vec()
}

fn hex_of(signed: &str) -> String {
    hex::encode(sign(signed))
}

fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    elapsed.as_secs().try_into().unwrap()
}

async fn post(station: &Station, name: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let path = format!("/webhooks/default/{name}");
    let mut client = station.ingester.client();
    client.post(&path, headers, body.to_owned()).await.unwrap()
}

/// Takes what is signed and refuses the same with another body.
async fn accepted(station: &Station, name: &str, headers: &[(&str, &str)]) {
    let answer = post(station, name, headers, BODY).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    refused(station, name, headers, &BODY.replace("m-1", "m-2")).await;
}

async fn refused(station: &Station, name: &str, headers: &[(&str, &str)], body: &str) {
    let answer = post(station, name, headers, body).await;
    let told = (answer.status, answer.text.trim());
    assert_eq!(told, REFUSED, "{name} {headers:?}");
}

async fn refusals(station: &Station, name: &str, reason: &str) -> f64 {
    let label = format!("source=\"default/{name}\",reason=\"{reason}\"");
    let metric = "trunkline_ingester_refusals_total";
    station.ingester.metric(metric, &label).await
}

async fn scopes(station: &Station, schema: &str) -> Vec<(String, String)> {
    let sql = format!("SELECT auth_scope, message_id FROM {schema}.events ORDER BY received_at");
    let rows = station.database.rows(&sql, &[]).await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn row(scope: &str, message_id: &str) -> (String, String) {
    (scope.to_owned(), message_id.to_owned())
}

#[tokio::test]
async fn signed_requests_are_taken_and_others_are_not() {
    let station = Station::with(
        ["github", "stripe", "slack", "standard-webhooks"]
            .map(|name| draft(name, preset(name, Mode::Enforce)))
            .to_vec(),
    )
    .await;

    let github = format!("sha256={}", hex_of(BODY));
    accepted(&station, "github", &[("X-Hub-Signature-256", &github)]).await;
    refused(&station, "github", &[], BODY).await;
    refused(
        &station,
        "github",
        &[("X-Hub-Signature-256", &github[7..])],
        BODY,
    )
    .await;

    let stripe = |time: i64| format!("t={time},v1={}", hex_of(&format!("{time}.{BODY}")));
    accepted(
        &station,
        "stripe",
        &[("Stripe-Signature", &stripe(now() - 200))],
    )
    .await;
    for time in [now() - 330, now() + 330] {
        refused(
            &station,
            "stripe",
            &[("Stripe-Signature", &stripe(time))],
            BODY,
        )
        .await;
    }
    assert_eq!(refusals(&station, "stripe", "timestamp_too_old").await, 1.0);
    assert_eq!(
        refusals(&station, "stripe", "timestamp_in_future").await,
        1.0
    );
    assert_eq!(
        refusals(&station, "stripe", "signature_mismatch").await,
        1.0
    );

    let time = now().to_string();
    let slack = format!("v0={}", hex_of(&format!("v0:{time}:{BODY}")));
    let both = [
        ("X-Slack-Signature", slack.as_str()),
        ("X-Slack-Request-Timestamp", time.as_str()),
    ];
    accepted(&station, "slack", &both).await;
    refused(&station, "slack", &both[..1], BODY).await;
    assert_eq!(refusals(&station, "slack", "timestamp_missing").await, 1.0);

    let signature = STANDARD.encode(sign(&format!("msg_1.{time}.{BODY}")));
    let list = format!("v1a,AAAA v1,{signature}");
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", time.as_str()),
        ("webhook-signature", list.as_str()),
    ];
    accepted(&station, "standard-webhooks", &headers).await;
    refused(&station, "standard-webhooks", &headers[1..], BODY).await;
    let other = [("webhook-id", "msg_2"), headers[1], headers[2]];
    refused(&station, "standard-webhooks", &other, BODY).await;

    for schema in ["github", "stripe", "slack", "standard_webhooks"] {
        assert_eq!(scopes(&station, schema).await, [row("request", "m-1")]);
    }
    let log = station.ingester.log();
    for secret in [SECRET, &slack, &signature, "m-1"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn a_shared_secret_is_taken_and_another_is_not() {
    let bearer = SharedSecretCarrier::Header {
        name: "authorization".into(),
        prefix: "Bearer ".into(),
    };
    let basic = SharedSecretCarrier::Basic {
        username: "segment".into(),
    };
    let station = Station::with(vec![
        draft("bearer", shared(bearer)),
        draft("basic", shared(basic)),
    ])
    .await;
    let bearer = format!("Bearer {SECRET}");
    let basic = format!("Basic {}", STANDARD.encode(format!("segment:{SECRET}")));
    for (name, other, value) in [("bearer", "basic", &bearer), ("basic", "bearer", &basic)] {
        let headers = [("Authorization", value.as_str())];
        let answer = post(&station, name, &headers, BODY).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        refused(&station, other, &headers, BODY).await;
        refused(&station, name, &[], BODY).await;
        refused(&station, name, &[headers[0], headers[0]], BODY).await;
        assert_eq!(scopes(&station, name).await, [row("request", "m-1")]);
        assert_eq!(refusals(&station, name, "secret_missing").await, 1.0);
        assert_eq!(refusals(&station, other, "secret_malformed").await, 1.0);
        assert!(!station.ingester.log().contains(value));
    }
}

#[tokio::test]
async fn what_would_be_refused_is_stored_and_told_where_only_a_report_is_wanted() {
    let station = Station::with(vec![draft("live", preset("github", Mode::ReportOnly))]).await;
    let signature = format!("sha256={}", hex_of(BODY));
    let signed = [("X-Hub-Signature-256", signature.as_str())];
    let tampered = BODY.replace("m-1", "m-2");
    let unsigned = BODY.replace("m-1", "m-3");
    for (headers, body) in [(&signed[..], BODY), (&signed, &tampered), (&[], &unsigned)] {
        let answer = post(&station, "live", headers, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(
        scopes(&station, "live").await,
        [
            row("request", "m-1"),
            row("failed", "m-2"),
            row("failed", "m-3")
        ]
    );
    for reason in ["signature_missing", "signature_mismatch"] {
        let label = format!("source=\"default/live\",reason=\"{reason}\"");
        let metric = "trunkline_ingester_unverified_requests_total";
        assert_eq!(station.ingester.metric(metric, &label).await, 1.0);
    }
    let log = station.ingester.log();
    assert!(log.contains("mode: Enforce would refuse"), "{log}");
}

#[tokio::test]
async fn without_a_secret_a_report_is_503_as_well() {
    let mut verification = preset("github", Mode::ReportOnly);
    verification.secrets_mut().unwrap().clear();
    let station = Station::with(vec![
        draft("live", verification),
        SourceDraft::unverified("open"),
    ])
    .await;
    assert_eq!(post(&station, "live", &[], BODY).await.status, 503);
    assert_eq!(post(&station, "open", &[], BODY).await.status, 200);
}

/// A preset's row of the table in docs/verification.md.
fn documented(preset: &Preset) -> String {
    let experimental = if preset.is_experimental {
        ", *experimental*"
    } else {
        ""
    };
    let name = format!("`{}`{experimental}", preset.name);
    let scheme = match &preset.scheme {
        PresetScheme::Hmac(scheme) => scheme,
        PresetScheme::SharedSecret(carrier) => {
            return format!(
                "| {name} | `{}` | the secret itself | | | | raw |",
                carrier.header()
            );
        }
    };
    let holds = match &scheme.format {
        SignatureFormat::Plain { prefix } => format!("{prefix}SIGNATURE"),
        SignatureFormat::KeyValue { key } => format!("{key}=SIGNATURE"),
        SignatureFormat::List { key } => format!("{key},SIGNATURE"),
    };
    let hash = match scheme.algorithm {
        HmacAlgorithm::Sha1 => "SHA1",
        HmacAlgorithm::Sha256 => "SHA256",
        HmacAlgorithm::Sha512 => "SHA512",
    };
    let encoding = match scheme.encoding {
        SignatureEncoding::Hex => "hex",
        SignatureEncoding::Base64 => "base64",
    };
    let signed: String = scheme
        .signed
        .iter()
        .map(|part| match part {
            SignedPart::Body => "{body}".to_owned(),
            SignedPart::Timestamp => "{timestamp}".to_owned(),
            SignedPart::Header(name) => format!("{{header:{name}}}"),
            SignedPart::Literal(text) => text.clone().into_owned(),
        })
        .collect();
    let coverage = if scheme.coverage.len() > 1 {
        ", or the first element"
    } else {
        ""
    };
    let time = scheme
        .timestamp
        .as_ref()
        .map(|timestamp| match &timestamp.location {
            TimestampLocation::Header(name) => format!("`{name}` "),
            TimestampLocation::Key(key) => format!("`{key}=` "),
        });
    let secret = match scheme.secret_encoding {
        SecretEncoding::Raw => "raw",
        SecretEncoding::Base64 => "base64",
        SecretEncoding::Hex => "hex",
        SecretEncoding::Whsec => "whsec",
    };
    format!(
        "| {name} | `{}` | `{holds}` | {hash}, {encoding} | `{signed}`{coverage} | {}| {secret} |",
        scheme.header,
        time.unwrap_or_default(),
    )
}

#[test]
fn the_documentation_lists_every_preset_as_it_is() {
    let page = trunkline_tests::repository().join("docs/verification.md");
    let page = std::fs::read_to_string(page).unwrap();
    let written: Vec<_> = page
        .lines()
        .skip_while(|line| !line.starts_with("| Preset |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected: Vec<_> = PRESETS.iter().map(documented).collect();
    assert_eq!(
        written,
        expected,
        "the table should be:\n{}",
        expected.join("\n")
    );
}
