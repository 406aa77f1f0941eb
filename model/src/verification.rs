//! Verification schemes as data: what an ingester has to compute, never who the sender is.
//!
//! The control plane resolves a preset to one of these, so that an ingester of an older version
//! serves a preset that it has never heard of.

mod hash;
mod secret_encoding;
mod sign;
mod template;
mod timestamp;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::secret::SecretBytes;

pub use hash::KeyedHash;
pub use secret_encoding::{SecretEncoding, UndecodableSecret};
pub use sign::{SignError, Unsigned};
pub use template::{SignedPart, TemplateError, parse_template};
pub use timestamp::TimestampUnit;

/// How a request proves that it comes from its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verification {
    /// Nothing is checked: the manifest says `none: {}`.
    None,
    /// A keyed hash over the body, in a header.
    Hmac(HmacScheme),
    /// A secret that is sent as it is, in a header.
    SharedSecret(SharedSecretScheme),
}

impl Verification {
    /// The secrets that are valid now; none for a source that asks for no verification.
    #[must_use]
    pub fn secrets(&self) -> Option<&[NamedSecret]> {
        match self {
            Self::None => None,
            Self::Hmac(scheme) => Some(&scheme.secrets),
            Self::SharedSecret(scheme) => Some(&scheme.secrets),
        }
    }

    /// The same, to be changed.
    pub fn secrets_mut(&mut self) -> Option<&mut Vec<NamedSecret>> {
        match self {
            Self::None => None,
            Self::Hmac(scheme) => Some(&mut scheme.secrets),
            Self::SharedSecret(scheme) => Some(&mut scheme.secrets),
        }
    }

    /// What becomes of a request that fails.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::None => Mode::Enforce,
            Self::Hmac(scheme) => scheme.mode,
            Self::SharedSecret(scheme) => scheme.mode,
        }
    }

    /// The header that proves the sender, in lower case.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Hmac(scheme) => Some(&scheme.header),
            Self::SharedSecret(scheme) => Some(scheme.carrier.header()),
        }
    }
}

/// Constructs of this module that [`crate::document::SourceEntry::requires`] may name. A reader
/// that ignored the first three would refuse everything; one that ignored the last would refuse
/// what is meant to be stored.
pub const CONSTRUCTS: &[&str] = &[FORMAT, SIGNED, TIMESTAMP, REPORT_ONLY];

const FORMAT: &str = "verification.format";
const SIGNED: &str = "verification.signed";
const TIMESTAMP: &str = "verification.timestamp";
const REPORT_ONLY: &str = "verification.reportOnly";

/// The constructs that a reader must know to verify so. What a reader of another version cannot
/// even parse (a variant, a hash function) needs no name here.
pub(crate) fn constructs(
    verification: &Verification,
) -> impl Iterator<Item = &'static str> + use<> {
    let (format, signed, timestamp) = match verification {
        Verification::Hmac(scheme) => (
            !scheme.format.is_whole_value(),
            !is_body_alone(&scheme.signed),
            scheme.timestamp.is_some(),
        ),
        Verification::None | Verification::SharedSecret(_) => (false, false, false),
    };
    [
        (format, FORMAT),
        (signed, SIGNED),
        (timestamp, TIMESTAMP),
        (verification.mode() == Mode::ReportOnly, REPORT_ONLY),
    ]
    .into_iter()
    .filter_map(|(is_used, name)| is_used.then_some(name))
}

/// What becomes of a request that fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is stored as [`AuthScope::Failed`] and counted.
    ReportOnly,
}

impl Mode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A signature that is an HMAC in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HmacScheme {
    /// The header that holds the signature, in lower case.
    pub header: String,
    /// How the header holds it.
    #[serde(default, skip_serializing_if = "SignatureFormat::is_whole_value")]
    pub format: SignatureFormat,
    /// The hash function.
    pub algorithm: HmacAlgorithm,
    /// How the header spells the signature.
    pub encoding: SignatureEncoding,
    /// What is signed, part after part.
    #[serde(default = "body_alone", skip_serializing_if = "is_body_alone_vec")]
    pub signed: Vec<SignedPart>,
    /// Where the time of the signature is, and how old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<TimestampScheme>,
    /// What may stand for the body in `signed`, in the order in which to try.
    pub coverage: Vec<Coverage>,
    /// The secrets that are valid now. All of them are tried. Empty means that the source cannot
    /// be served.
    pub secrets: Vec<NamedSecret>,
    /// What becomes of a request that fails.
    #[serde(default, skip_serializing_if = "Mode::is_default")]
    pub mode: Mode,
}

fn body_alone() -> Vec<SignedPart> {
    vec![SignedPart::Body]
}

fn is_body_alone(signed: &[SignedPart]) -> bool {
    signed == [SignedPart::Body]
}

#[allow(clippy::ptr_arg, reason = "serde passes the field's own type")]
fn is_body_alone_vec(signed: &Vec<SignedPart>) -> bool {
    is_body_alone(signed)
}

/// How a header holds one or more signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignatureFormat {
    /// The whole value is one signature, after a prefix that must be there.
    Plain {
        /// The prefix, such as `sha256=`; it may be empty.
        prefix: Cow<'static, str>,
    },
    /// Pairs `name=value`, separated by commas. Every value of this name is a signature.
    KeyValue {
        /// The name.
        key: Cow<'static, str>,
    },
    /// Entries `version,signature`, separated by spaces. Those of other versions are skipped.
    List {
        /// The version.
        key: Cow<'static, str>,
    },
}

impl Default for SignatureFormat {
    fn default() -> Self {
        Self::Plain {
            prefix: Cow::Borrowed(""),
        }
    }
}

impl SignatureFormat {
    fn is_whole_value(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the time of a signature is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimestampScheme {
    /// Where it is.
    pub location: TimestampLocation,
    /// How it is written.
    pub unit: TimestampUnit,
    /// How far from now it may be, in seconds, before and after; 0: it is not checked.
    pub tolerance_seconds: i64,
}

/// Where the time of a signature is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimestampLocation {
    /// A header of its own, in lower case.
    Header(Cow<'static, str>),
    /// A pair of the signature's header, with [`SignatureFormat::KeyValue`].
    Key(Cow<'static, str>),
}

/// A secret that is sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedSecretScheme {
    /// What carries it.
    pub carrier: SharedSecretCarrier,
    /// The secrets that are valid now. All of them are tried. Empty means that the source cannot
    /// be served.
    pub secrets: Vec<NamedSecret>,
    /// What becomes of a request that fails.
    #[serde(default, skip_serializing_if = "Mode::is_default")]
    pub mode: Mode,
}

/// What carries a secret that is sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SharedSecretCarrier {
    /// A header.
    Header {
        /// Its name, in lower case.
        name: Cow<'static, str>,
        /// What stands before the secret, such as `Bearer `; it may be empty.
        prefix: Cow<'static, str>,
    },
    /// HTTP Basic (RFC 7617): the secret is the password.
    Basic {
        /// The user's name, without a colon.
        username: Cow<'static, str>,
    },
}

impl SharedSecretCarrier {
    /// The header that carries it, in lower case.
    #[must_use]
    pub fn header(&self) -> &str {
        match self {
            Self::Header { name, .. } => name,
            Self::Basic { .. } => "authorization",
        }
    }
}

/// A secret and the name it has in logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedSecret {
    /// Where it comes from, as `secret/key`; never its value.
    pub name: String,
    /// The key of the HMAC, or what the sender sends: bytes, already decoded.
    pub value: SecretBytes,
    /// Until when it verifies, in seconds since 1970; none for as long as it is here. A value that
    /// an edit of its Secret replaced has a limit, which holds even while no operator runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl NamedSecret {
    /// Whether it verifies at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// Hash functions of [`HmacScheme`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HmacAlgorithm {
    /// HMAC-SHA1, which Segment uses.
    Sha1,
    /// HMAC-SHA256.
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

/// Spellings of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignatureEncoding {
    /// Hexadecimal, either case.
    Hex,
    /// Base64 of RFC 4648, section 4; padding may be absent.
    Base64,
}

/// How much of a delivery a valid signature vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Coverage {
    /// The signature was made over the whole body.
    Body,
    /// Segment signs only element 0 of a batch; the rest rides along.
    FirstElement,
}

/// What vouched for a row: the values of the column `auth_scope`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthScope {
    /// The whole request was signed.
    Request,
    /// This element was signed.
    Element,
    /// Another element of the same request was signed; this one rode along.
    Batch,
    /// The source asks for no verification.
    None,
    /// Verification failed, and the source only reports that.
    Failed,
}

impl AuthScope {
    /// The value in the column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Element => "element",
            Self::Batch => "batch",
            Self::None => "none",
            Self::Failed => "failed",
        }
    }
}
