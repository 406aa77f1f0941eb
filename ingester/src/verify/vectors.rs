//! Known-good requests of every preset, none of them made by this program.
//!
//! Those of `github`, `slack`, `standard-webhooks` and `svix` are the examples of the providers'
//! documentation. The others are made with openssl, where `$S` is [`SECRET`] and `$B` is [`BODY`]:
//!
//! ```text
//! hex()    { openssl dgst "-$1" -hmac "$S" -r | cut -d ' ' -f 1; }
//! base64() { openssl dgst "-$1" -hmac "$S" -binary | openssl base64 -A; }
//! ```

/// A request, and when it came in.
pub(super) struct Vector {
    pub(super) preset: &'static str,
    /// The value of the Secret.
    pub(super) secret: &'static str,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    /// Seconds since 1970.
    pub(super) now: i64,
}

pub(super) const SECRET: &str = "a-secret-of-the-provider";
pub(super) const BODY: &str = r#"{"event":"paid","amount":1}"#;
/// 2023-11-14T22:13:20Z.
pub(super) const NOW: i64 = 1_700_000_000;

/// `printf %s "$B" | hex sha1`
const SHA1_HEX: &str = "523130c283c1f19b32ed2e83b58728e1f975877f";
/// `printf %s "$B" | hex sha256`
pub(super) const SHA256_HEX: &str =
    "ac4d61787b4fac1f90c57f4cf40891a1cb730ac3ba96ef593d271822bff9e256";

const fn vector(preset: &'static str, headers: &'static [(&'static str, &'static str)]) -> Vector {
    Vector {
        preset,
        secret: SECRET,
        headers,
        body: BODY,
        now: NOW,
    }
}

pub(super) const VECTORS: &[Vector] = &[
    vector("segment", &[("x-signature", SHA1_HEX)]),
    // docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation".
    Vector {
        preset: "github",
        secret: "It's a Secret to Everybody",
        headers: &[(
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        )],
        body: "Hello, World!",
        now: NOW,
    },
    // printf '1700000000.%s' "$B" | hex sha256
    vector(
        "stripe",
        &[(
            "stripe-signature",
            "t=1700000000,v1=b69082eefeda051459e4fd12c99904daeef7cf9e10feb13b408a4cb7dcf75b8e",
        )],
    ),
    // printf %s "$B" | base64 sha256
    vector(
        "shopify",
        &[(
            "x-shopify-hmac-sha256",
            "rE1heHtPrB+QxX9M9AiRoctzCsO6lu9ZPScYIr/54lY=",
        )],
    ),
    // docs.slack.dev, "Verifying requests from Slack".
    Vector {
        preset: "slack",
        secret: "8f742231b10e8888abcd99yyyzzz85a5",
        headers: &[
            ("x-slack-request-timestamp", "1531420618"),
            (
                "x-slack-signature",
                "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            ),
        ],
        body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&\
               channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&\
               command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2F\
               commands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
               trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        now: 1_531_420_618,
    },
    // printf '2023-11-14T22:13:20Z%s' "$B" | base64 sha256
    vector(
        "zendesk",
        &[
            (
                "x-zendesk-webhook-signature-timestamp",
                "2023-11-14T22:13:20Z",
            ),
            (
                "x-zendesk-webhook-signature",
                "dpPIt1avK0peKfU48dki1rL9uKkY23FITPmiyFDeRGA=",
            ),
        ],
    ),
    vector("linear", &[("linear-signature", SHA256_HEX)]),
    // printf 'v0:1700000000:%s' "$B" | hex sha256
    vector(
        "zoom",
        &[
            ("x-zm-request-timestamp", "1700000000"),
            (
                "x-zm-signature",
                "v0=958e3ae44d86261b13363173b67b6766a2d69920e7a84f9d6792df507b3ae039",
            ),
        ],
    ),
    vector(
        "typeform",
        &[(
            "typeform-signature",
            "sha256=rE1heHtPrB+QxX9M9AiRoctzCsO6lu9ZPScYIr/54lY=",
        )],
    ),
    vector("vercel", &[("x-vercel-signature", SHA1_HEX)]),
    vector(
        "intercom",
        &[(
            "x-hub-signature",
            "sha1=523130c283c1f19b32ed2e83b58728e1f975877f",
        )],
    ),
    vector(
        "bitbucket",
        &[(
            "x-hub-signature",
            "sha256=ac4d61787b4fac1f90c57f4cf40891a1cb730ac3ba96ef593d271822bff9e256",
        )],
    ),
    // Two, as during a rotation; the first is of a secret that nobody has.
    vector(
        "pagerduty",
        &[(
            "x-pagerduty-signature",
            "v1=0000000000000000000000000000000000000000000000000000000000000000,\
             v1=ac4d61787b4fac1f90c57f4cf40891a1cb730ac3ba96ef593d271822bff9e256",
        )],
    ),
    vector("sentry", &[("sentry-hook-signature", SHA256_HEX)]),
    // An empty body: printf '' | hex sha256
    Vector {
        body: "",
        ..vector(
            "sentry",
            &[(
                "sentry-hook-signature",
                "189f04bcf60576b914ed27076b44c80490443fd86c7a41d325c5bb4a893d315d",
            )],
        )
    },
    vector(
        "calendly",
        &[(
            "calendly-webhook-signature",
            "t=1700000000,v1=b69082eefeda051459e4fd12c99904daeef7cf9e10feb13b408a4cb7dcf75b8e",
        )],
    ),
    vector(
        "customerio",
        &[
            ("x-cio-timestamp", "1700000000"),
            (
                "x-cio-signature",
                "958e3ae44d86261b13363173b67b6766a2d69920e7a84f9d6792df507b3ae039",
            ),
        ],
    ),
    vector(
        "buildkite",
        &[(
            "x-buildkite-signature",
            "timestamp=1700000000,\
             signature=b69082eefeda051459e4fd12c99904daeef7cf9e10feb13b408a4cb7dcf75b8e",
        )],
    ),
    // The example of svix's documentation, "Verifying webhooks manually", in both spellings.
    Vector {
        preset: "standard-webhooks",
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers: &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ],
        body: r#"{"test": 2432232314}"#,
        now: 1_614_265_330,
    },
    Vector {
        preset: "svix",
        secret: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers: &[
            ("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("svix-timestamp", "1614265330"),
            (
                "svix-signature",
                "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v2,x \
                 v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhq==",
            ),
        ],
        body: r#"{"test": 2432232314}"#,
        now: 1_614_265_330,
    },
    vector("gitlab", &[("x-gitlab-token", SECRET)]),
    vector("okta", &[("authorization", SECRET)]),
];
