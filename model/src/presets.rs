//! Presets: a provider's scheme is a row of this table, never a function.
//!
//! The rows are in `table`.

mod table;

use std::sync::LazyLock;

use crate::verification::{
    Coverage, HmacAlgorithm, HmacScheme, Mode, NamedSecret, SecretEncoding, SharedSecretCarrier,
    SharedSecretScheme, SignatureEncoding, SignatureFormat, SignedPart, TimestampScheme,
    Verification,
};

/// How far from now a timestamp may be, in seconds, where nothing else is said: what Stripe's,
/// Slack's and Standard Webhooks' own libraries take.
pub const DEFAULT_TOLERANCE_SECONDS: i64 = 300;

/// One provider's way of proving itself and of packing events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// The value of `spec.verification.preset`.
    pub name: &'static str,
    /// Whether its source is second-hand documentation.
    pub is_experimental: bool,
    /// Whether a top-level array is a batch, each element a row of its own.
    pub splits_arrays: bool,
    /// What an ingester checks.
    pub scheme: PresetScheme,
}

/// What an ingester checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresetScheme {
    /// A signature.
    Hmac(HmacPreset),
    /// A secret that is sent as it is.
    SharedSecret(SharedSecretCarrier),
}

/// A [`HmacScheme`] without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacPreset {
    /// The signature's header, in lower case.
    pub header: &'static str,
    /// How the header holds the signature.
    pub format: SignatureFormat,
    /// The hash function.
    pub algorithm: HmacAlgorithm,
    /// The signature's spelling.
    pub encoding: SignatureEncoding,
    /// What is signed.
    pub signed: &'static [SignedPart],
    /// Where its time is.
    pub timestamp: Option<TimestampScheme>,
    /// How a Secret spells the key.
    pub secret_encoding: SecretEncoding,
    /// What may stand for the body, in the order in which to try.
    pub coverage: &'static [Coverage],
}

/// Every preset, in the order of the documentation.
pub static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(table::table);

impl Preset {
    /// The preset of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// How a Secret spells what the sender has.
    #[must_use]
    pub fn secret_encoding(&self) -> SecretEncoding {
        match &self.scheme {
            PresetScheme::Hmac(preset) => preset.secret_encoding,
            PresetScheme::SharedSecret(_) => SecretEncoding::Raw,
        }
    }

    /// What an ingester checks, with secrets that are decoded already. `strict` drops every
    /// coverage that vouches for less than the whole body.
    #[must_use]
    pub fn verification(
        &self,
        strict: bool,
        mode: Mode,
        secrets: Vec<NamedSecret>,
    ) -> Verification {
        match &self.scheme {
            PresetScheme::Hmac(preset) => Verification::Hmac(HmacScheme {
                header: preset.header.to_owned(),
                format: preset.format.clone(),
                algorithm: preset.algorithm,
                encoding: preset.encoding,
                signed: preset.signed.to_vec(),
                timestamp: preset.timestamp.clone(),
                coverage: covered(preset.coverage, strict),
                secrets,
                mode,
            }),
            PresetScheme::SharedSecret(carrier) => Verification::SharedSecret(SharedSecretScheme {
                carrier: carrier.clone(),
                secrets,
                mode,
            }),
        }
    }
}

/// What may stand for the body; `strict` leaves only the whole of it.
#[must_use]
pub fn covered(coverage: &[Coverage], strict: bool) -> Vec<Coverage> {
    let wanted = |coverage: &&Coverage| !strict || **coverage == Coverage::Body;
    coverage.iter().filter(wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::TimestampLocation;

    #[test]
    fn strict_leaves_only_the_whole_body() {
        let segment = Preset::by_name("segment").unwrap();
        for (strict, coverage) in [
            (true, vec![Coverage::Body]),
            (false, vec![Coverage::Body, Coverage::FirstElement]),
        ] {
            let Verification::Hmac(scheme) =
                segment.verification(strict, Mode::Enforce, Vec::new())
            else {
                panic!("not an HMAC");
            };
            assert_eq!(scheme.coverage, coverage);
        }
    }

    #[test]
    fn every_row_is_consistent() {
        for (index, preset) in PRESETS.iter().enumerate() {
            let name = preset.name;
            assert!(PRESETS[..index].iter().all(|other| other.name != name));
            let PresetScheme::Hmac(scheme) = &preset.scheme else {
                continue;
            };
            let count = |part: &SignedPart| scheme.signed.iter().filter(|p| *p == part).count();
            assert_eq!(count(&SignedPart::Body), 1, "{name}");
            assert_eq!(
                count(&SignedPart::Timestamp),
                usize::from(scheme.timestamp.is_some()),
                "{name}"
            );
            assert_eq!(scheme.header, scheme.header.to_ascii_lowercase());
            if let Some(TimestampLocation::Key(_)) =
                scheme.timestamp.as_ref().map(|found| &found.location)
            {
                assert!(matches!(scheme.format, SignatureFormat::KeyValue { .. }));
            }
        }
    }
}
