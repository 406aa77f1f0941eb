//! The rows.
//!
//! Source of each: the provider's own code or documentation, named beside it. A row without one is
//! from second-hand documentation, and [`Preset::is_experimental`].

use std::borrow::Cow;

use super::{DEFAULT_TOLERANCE_SECONDS, HmacPreset, Preset, PresetScheme};
use crate::verification::{
    Coverage, HmacAlgorithm, SecretEncoding, SharedSecretCarrier, SignatureEncoding,
    SignatureFormat, SignedPart, TimestampLocation, TimestampScheme, TimestampUnit,
};

pub(super) fn table() -> Vec<Preset> {
    vec![
        // segmentio/action-destinations, webhook/index.ts: HMAC-SHA1 in hex over
        // `JSON.stringify(payload)`, in a batch over `payload[0]` alone. Pull request #3989 would sign
        // the whole array, so both are accepted.
        Preset {
            splits_arrays: true,
            ..signature(
                "segment",
                HmacPreset {
                    algorithm: HmacAlgorithm::Sha1,
                    coverage: &[Coverage::Body, Coverage::FirstElement],
                    ..sha256_hex("x-signature")
                },
            )
        },
        // docs.github.com, "Validating webhook deliveries".
        signature(
            "github",
            HmacPreset {
                format: prefix("sha256="),
                ..sha256_hex("x-hub-signature-256")
            },
        ),
        // stripe/stripe-node, src/Webhooks.ts. Its library refuses old signatures only; here those from
        // the future are refused as well. Signatures of the scheme v0 are for tests and are skipped.
        signature(
            "stripe",
            HmacPreset {
                format: key_value("v1"),
                signed: TIMESTAMP_DOT_BODY,
                timestamp: timestamp_key("t"),
                ..sha256_hex("stripe-signature")
            },
        ),
        // Shopify's library for Node, its validation of webhooks.
        signature(
            "shopify",
            HmacPreset {
                encoding: SignatureEncoding::Base64,
                ..sha256_hex("x-shopify-hmac-sha256")
            },
        ),
        // slackapi/bolt-js, verification of requests.
        signature(
            "slack",
            HmacPreset {
                format: prefix("v0="),
                signed: V0_TIMESTAMP_BODY,
                timestamp: timestamp_header("x-slack-request-timestamp", TimestampUnit::Seconds),
                ..sha256_hex("x-slack-signature")
            },
        ),
        // developer.zendesk.com, "Verifying webhook authenticity".
        signature(
            "zendesk",
            HmacPreset {
                encoding: SignatureEncoding::Base64,
                signed: &[SignedPart::Timestamp, SignedPart::Body],
                timestamp: timestamp_header(
                    "x-zendesk-webhook-signature-timestamp",
                    TimestampUnit::Rfc3339,
                ),
                ..sha256_hex("x-zendesk-webhook-signature")
            },
        ),
        // Linear's SDK (linear/linear), webhooks. Its timestamp is a field of the body, which is not
        // parsed before it is verified, and so is not checked.
        signature("linear", sha256_hex("linear-signature")),
        // zoom/webhook-sample.
        signature(
            "zoom",
            HmacPreset {
                format: prefix("v0="),
                signed: V0_TIMESTAMP_BODY,
                timestamp: timestamp_header("x-zm-request-timestamp", TimestampUnit::Seconds),
                ..sha256_hex("x-zm-signature")
            },
        ),
        experimental(signature(
            "typeform",
            HmacPreset {
                format: prefix("sha256="),
                encoding: SignatureEncoding::Base64,
                ..sha256_hex("typeform-signature")
            },
        )),
        experimental(signature(
            "vercel",
            HmacPreset {
                algorithm: HmacAlgorithm::Sha1,
                ..sha256_hex("x-vercel-signature")
            },
        )),
        experimental(signature(
            "intercom",
            HmacPreset {
                format: prefix("sha1="),
                algorithm: HmacAlgorithm::Sha1,
                ..sha256_hex("x-hub-signature")
            },
        )),
        experimental(signature(
            "bitbucket",
            HmacPreset {
                format: prefix("sha256="),
                ..sha256_hex("x-hub-signature")
            },
        )),
        experimental(signature(
            "pagerduty",
            HmacPreset {
                format: key_value("v1"),
                ..sha256_hex("x-pagerduty-signature")
            },
        )),
        // getsentry/sentry, where it builds the signature. Its timestamp is not signed.
        signature("sentry", sha256_hex("sentry-hook-signature")),
        experimental(signature(
            "calendly",
            HmacPreset {
                format: key_value("v1"),
                signed: TIMESTAMP_DOT_BODY,
                timestamp: timestamp_key("t"),
                ..sha256_hex("calendly-webhook-signature")
            },
        )),
        experimental(signature(
            "customerio",
            HmacPreset {
                signed: V0_TIMESTAMP_BODY,
                timestamp: timestamp_header("x-cio-timestamp", TimestampUnit::Seconds),
                ..sha256_hex("x-cio-signature")
            },
        )),
        // buildkite/docs, webhooks, signature.
        signature(
            "buildkite",
            HmacPreset {
                format: key_value("signature"),
                signed: TIMESTAMP_DOT_BODY,
                timestamp: timestamp_key("timestamp"),
                ..sha256_hex("x-buildkite-signature")
            },
        ),
        // standard-webhooks/standard-webhooks, its specification. Asymmetric signatures (v1a)
        // are skipped.
        signature(
            "standard-webhooks",
            HmacPreset {
                signed: &[
                    SignedPart::Header(Cow::Borrowed("webhook-id")),
                    DOT,
                    SignedPart::Timestamp,
                    DOT,
                    SignedPart::Body,
                ],
                timestamp: timestamp_header("webhook-timestamp", TimestampUnit::Seconds),
                ..standard_webhooks("webhook-signature")
            },
        ),
        // svix/svix-webhooks, its libraries. Clerk and Resend send through it.
        signature(
            "svix",
            HmacPreset {
                signed: &[
                    SignedPart::Header(Cow::Borrowed("svix-id")),
                    DOT,
                    SignedPart::Timestamp,
                    DOT,
                    SignedPart::Body,
                ],
                timestamp: timestamp_header("svix-timestamp", TimestampUnit::Seconds),
                ..standard_webhooks("svix-signature")
            },
        ),
        // docs.gitlab.com, "Webhooks", "Validate payloads by using a secret token".
        shared("gitlab", "x-gitlab-token"),
        // developer.okta.com, "Event hooks": the authentication field and secret of the hook.
        shared("okta", "authorization"),
    ]
}

const DOT: SignedPart = SignedPart::Literal(Cow::Borrowed("."));
const TIMESTAMP_DOT_BODY: &[SignedPart] = &[SignedPart::Timestamp, DOT, SignedPart::Body];
const V0_TIMESTAMP_BODY: &[SignedPart] = &[
    SignedPart::Literal(Cow::Borrowed("v0:")),
    SignedPart::Timestamp,
    SignedPart::Literal(Cow::Borrowed(":")),
    SignedPart::Body,
];

fn signature(name: &'static str, preset: HmacPreset) -> Preset {
    Preset {
        name,
        is_experimental: false,
        splits_arrays: false,
        scheme: PresetScheme::Hmac(preset),
    }
}

fn shared(name: &'static str, header: &'static str) -> Preset {
    Preset {
        name,
        is_experimental: false,
        splits_arrays: false,
        scheme: PresetScheme::SharedSecret(SharedSecretCarrier::Header {
            name: Cow::Borrowed(header),
            prefix: Cow::Borrowed(""),
        }),
    }
}

fn experimental(preset: Preset) -> Preset {
    Preset {
        is_experimental: true,
        ..preset
    }
}

fn sha256_hex(header: &'static str) -> HmacPreset {
    HmacPreset {
        header,
        format: prefix(""),
        algorithm: HmacAlgorithm::Sha256,
        encoding: SignatureEncoding::Hex,
        signed: &[SignedPart::Body],
        timestamp: None,
        secret_encoding: SecretEncoding::Raw,
        coverage: &[Coverage::Body],
    }
}

fn standard_webhooks(header: &'static str) -> HmacPreset {
    HmacPreset {
        format: SignatureFormat::List {
            key: Cow::Borrowed("v1"),
        },
        encoding: SignatureEncoding::Base64,
        secret_encoding: SecretEncoding::Whsec,
        ..sha256_hex(header)
    }
}

fn prefix(prefix: &'static str) -> SignatureFormat {
    SignatureFormat::Plain {
        prefix: Cow::Borrowed(prefix),
    }
}

fn key_value(key: &'static str) -> SignatureFormat {
    SignatureFormat::KeyValue {
        key: Cow::Borrowed(key),
    }
}

fn timestamp_header(name: &'static str, unit: TimestampUnit) -> Option<TimestampScheme> {
    Some(TimestampScheme {
        location: TimestampLocation::Header(Cow::Borrowed(name)),
        unit,
        tolerance_seconds: DEFAULT_TOLERANCE_SECONDS,
    })
}

fn timestamp_key(name: &'static str) -> Option<TimestampScheme> {
    Some(TimestampScheme {
        location: TimestampLocation::Key(Cow::Borrowed(name)),
        unit: TimestampUnit::Seconds,
        tolerance_seconds: DEFAULT_TOLERANCE_SECONDS,
    })
}
