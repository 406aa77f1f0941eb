//! Verification schemes as data: what an ingester has to compute, never who the sender is.
//!
//! The control plane resolves a preset to one of these, so that an ingester of an older version
//! serves a preset that it has never heard of.

use serde::{Deserialize, Serialize};

use crate::secret::SecretBytes;

/// How a request proves that it comes from its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verification {
    /// Nothing is checked: the manifest says `none: {}`.
    None,
    /// A keyed hash over the body, in a header.
    Hmac(HmacScheme),
}

/// A signature that is an HMAC in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HmacScheme {
    /// The header that holds the signature, in lower case.
    pub header: String,
    /// The hash function.
    pub algorithm: HmacAlgorithm,
    /// How the header spells the signature.
    pub encoding: SignatureEncoding,
    /// What the signature may have been made over, in the order in which to try.
    pub coverage: Vec<Coverage>,
    /// The secrets that are valid now. All of them are tried. Empty means that the source cannot
    /// be served.
    pub secrets: Vec<NamedSecret>,
}

/// A signing secret and the name it has in logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedSecret {
    /// Where it comes from, as `secret/key`; never its value.
    pub name: String,
    /// The key of the HMAC, exactly as stored.
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
}

/// Spellings of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SignatureEncoding {
    /// Hexadecimal, either case.
    Hex,
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
        }
    }
}
