//! How a request proves that it comes from its sender.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a request proves that it comes from its sender: exactly one of `preset`, `hmac`,
/// `sharedSecret` and `none`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new(
        "[has(self.preset), has(self.hmac), has(self.sharedSecret), has(self.none)]\
         .filter(is, is).size() == 1"
    ).message(
        "verification needs exactly one of preset, hmac, sharedSecret and none; write preset: \
         segment, or none: {} to accept every request"
    ),
    validation = Rule::new(
        "has(self.none) || (has(self.secrets) && self.secrets.size() > 0)"
    ).message(
        "verification.secrets is empty; list 1 to 10, each secretKeyRef: {name, key}"
    ),
    validation = Rule::new(
        "!has(self.none) || !((has(self.secrets) && self.secrets.size() > 0) || \
         (has(self.strict) && self.strict) || (has(self.mode) && self.mode == 'ReportOnly'))"
    ).message(
        "strict, secrets and mode: ReportOnly have no meaning beside none; remove them or name a \
         preset"
    ),
    validation = Rule::new(
        "!has(self.sharedSecret) || !has(self.strict) || !self.strict"
    ).message(
        "strict has no meaning beside sharedSecret, which signs nothing; remove it or use hmac"
    )
)]
pub struct Verification {
    /// A provider's scheme, such as `segment`, `github` or `stripe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub preset: Option<String>,
    /// A signature that is an HMAC in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hmac: Option<HmacVerification>,
    /// A secret that is sent as it is, in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_secret: Option<SharedSecretVerification>,
    /// Accept every request. Anyone who knows the URL can write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoVerification>,
    /// What becomes of a request that fails.
    #[serde(default)]
    pub mode: VerificationMode,
    /// Refuse a batch whose signature covers only its first element.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Secrets that are valid now. A request is accepted when any of them verifies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub secrets: Vec<SigningSecret>,
}

/// What becomes of a request that fails verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationMode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is stored with the `auth_scope` `failed`, counted and logged.
    ReportOnly,
}

/// A signature that is an HMAC in a header.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.key) == (self.format != 'Plain')").message(
        "hmac.key goes with format KeyValue or List, which need it; name the key of the signature, \
         or remove it"
    ),
    validation = Rule::new("!has(self.prefix) || self.format == 'Plain'").message(
        "hmac.prefix goes with format Plain alone; remove it"
    ),
    validation = Rule::new("self.signed.contains('{body}')").message(
        "hmac.signed does not hold {body}; write one like {timestamp}.{body}"
    ),
    validation = Rule::new(
        "!self.signed.contains('{timestamp}') || has(self.timestamp)"
    ).message(
        "hmac.signed holds {timestamp} and hmac.timestamp is not there; say which header or key \
         has it"
    ),
    validation = Rule::new(
        "!has(self.timestamp) || !has(self.timestamp.key) || self.format == 'KeyValue'"
    ).message(
        "hmac.timestamp.key goes with format KeyValue alone; use hmac.timestamp.header"
    )
)]
pub struct HmacVerification {
    /// The header that holds the signature.
    #[schemars(length(min = 1, max = 256))]
    pub header: String,
    /// How the header holds it.
    #[serde(default)]
    pub format: SignatureFormat,
    /// With `Plain`, what stands before the signature and has to: `sha256=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub prefix: Option<String>,
    /// With `KeyValue` the name of the signature's pair, with `List` the version to accept: `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub key: Option<String>,
    /// The hash function.
    #[serde(default)]
    pub algorithm: HmacAlgorithm,
    /// How the signature is spelled.
    #[serde(default)]
    pub encoding: SignatureEncoding,
    /// What is signed: a text with the placeholders `{body}` (once), `{timestamp}` and
    /// `{header:NAME}`.
    #[serde(default = "default_signed")]
    #[schemars(length(min = 1, max = 1024))]
    pub signed: String,
    /// Where the time of the signature is, and how old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<SignatureTimestamp>,
    /// How the value of a Secret spells the key.
    #[serde(default)]
    pub secret_encoding: SecretEncoding,
    /// How much of the body is signed.
    #[serde(default)]
    pub coverage: SignatureCoverage,
}

fn default_signed() -> String {
    "{body}".to_owned()
}

/// How a header holds one or more signatures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureFormat {
    /// The whole value is the signature, after `prefix`.
    #[default]
    Plain,
    /// Pairs `name=value`, separated by commas; each whose name is `key` is a signature.
    KeyValue,
    /// Entries `version,signature`, separated by spaces; those of other versions are skipped.
    List,
}

/// Hash functions of an HMAC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HmacAlgorithm {
    /// HMAC-SHA1.
    Sha1,
    /// HMAC-SHA256.
    #[default]
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

/// Spellings of a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureEncoding {
    /// Hexadecimal, either case.
    #[default]
    Hex,
    /// Base64, with padding or without.
    Base64,
}

/// Spellings of the key in a Secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretEncoding {
    /// The value is the key.
    #[default]
    Raw,
    /// The value is base64 of the key.
    Base64,
    /// The value is hexadecimal of the key.
    Hex,
    /// The value is base64 of the key, with or without `whsec_` before it.
    Whsec,
}

/// How much of a body is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureCoverage {
    /// The whole body.
    #[default]
    Body,
    /// The whole body, or of an array the first element alone, as Segment does it.
    BodyOrFirstElement,
}

/// Where the time of a signature is, and how old it may be.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.header) != has(self.key)").message(
        "timestamp needs exactly one of header and key; write the header that holds it, or the \
         name of its pair in the signature's header"
    )
)]
pub struct SignatureTimestamp {
    /// The header that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub header: Option<String>,
    /// With `KeyValue`, the name of its pair in the signature's header: `t`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub key: Option<String>,
    /// How it is written.
    #[serde(default)]
    pub unit: TimestampUnit,
    /// How far from now it may be, before and after: `5m`, `90s`, `0s` to check nothing.
    #[serde(default = "default_tolerance")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new("self.matches('^([0-9]{1,9}[hms])+$')").message(
            "tolerance is not a duration; write one like 5m, 90s or 0s"
        )
    )]
    pub tolerance: String,
}

fn default_tolerance() -> String {
    "5m".to_owned()
}

/// How the time of a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimestampUnit {
    /// Seconds since 1970.
    #[default]
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
    /// Date and time of RFC 3339, such as `2026-01-02T03:04:05Z`.
    #[serde(rename = "RFC3339")]
    Rfc3339,
}

/// A secret that is sent as it is: exactly one of `header` and `basic`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.header) != has(self.basic)").message(
        "sharedSecret needs exactly one of header and basic; write the header that holds the \
         secret, or basic: {username}"
    ),
    validation = Rule::new("!has(self.prefix) || has(self.header)").message(
        "sharedSecret.prefix goes with header alone; remove it"
    )
)]
pub struct SharedSecretVerification {
    /// The header that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub header: Option<String>,
    /// With `header`, what stands before the secret and has to: `Bearer ` with its space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub prefix: Option<String>,
    /// HTTP Basic: the password is one of the secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicVerification>,
}

/// HTTP Basic authentication.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicVerification {
    /// The user's name, without a colon.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(
        validation = Rule::new("!self.contains(':')").message(
            "username holds a colon, which ends it in HTTP Basic; choose another name"
        )
    )]
    pub username: String,
}

/// Says that no verification is wanted; it has no fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoVerification {}

/// A signing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningSecret {
    /// Where the secret is.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key within it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
