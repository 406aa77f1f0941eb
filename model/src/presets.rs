//! Presets: a provider's scheme is a row of this table, never a function.
//!
//! Source of each row: the provider's own code or documentation, named beside it.

use crate::verification::{Coverage, HmacAlgorithm, HmacScheme, NamedSecret, SignatureEncoding};

/// One provider's way of signing and of packing events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The value of `spec.verification.preset`.
    pub name: &'static str,
    /// The signature's header, in lower case.
    pub header: &'static str,
    /// The hash function.
    pub algorithm: HmacAlgorithm,
    /// The signature's spelling.
    pub encoding: SignatureEncoding,
    /// What may be signed, in the order in which to try.
    pub coverage: &'static [Coverage],
    /// Whether a top-level array is a batch, each element a row of its own.
    pub splits_arrays: bool,
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    // segmentio/action-destinations, webhook/index.ts: HMAC-SHA1 in hex over
    // `JSON.stringify(payload)`, in a batch over `payload[0]` alone. Pull request #3989 would sign
    // the whole array, so both are accepted.
    Preset {
        name: "segment",
        header: "x-signature",
        algorithm: HmacAlgorithm::Sha1,
        encoding: SignatureEncoding::Hex,
        coverage: &[Coverage::Body, Coverage::FirstElement],
        splits_arrays: true,
    },
];

impl Preset {
    /// The preset of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The scheme that an ingester computes. `strict` drops every coverage that vouches for less
    /// than the whole body.
    #[must_use]
    pub fn scheme(&self, strict: bool, secrets: Vec<NamedSecret>) -> HmacScheme {
        let wanted = |coverage: &&Coverage| !strict || **coverage == Coverage::Body;
        HmacScheme {
            header: self.header.to_owned(),
            algorithm: self.algorithm,
            encoding: self.encoding,
            coverage: self.coverage.iter().filter(wanted).copied().collect(),
            secrets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_leaves_only_the_whole_body() {
        let segment = Preset::by_name("segment").unwrap();
        assert_eq!(segment.scheme(true, Vec::new()).coverage, [Coverage::Body]);
        assert_eq!(
            segment.scheme(false, Vec::new()).coverage,
            [Coverage::Body, Coverage::FirstElement]
        );
    }
}
