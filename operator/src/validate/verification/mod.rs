//! Validates `spec.verification` and fills in its secrets.

mod hmac;
mod secrets;
mod shared_secret;

use trunkline_crds::{self as crds, VerificationMode, WebhookSource};
use trunkline_model::names::SourceName;
use trunkline_model::presets::{PRESETS, Preset, PresetScheme};
use trunkline_model::verification::{Mode, NamedSecret, SecretEncoding, Verification};

use super::Unavailable;
use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem};

pub(super) use secrets::Reference;

pub(super) struct Verified {
    pub(super) verification: Verification,
    pub(super) splits_arrays: bool,
    pub(super) unavailable: Option<Unavailable>,
    pub(super) warnings: Vec<Problem>,
}

/// What a source asks for, still without its secrets.
struct Scheme {
    secret_encoding: SecretEncoding,
    splits_arrays: bool,
    /// Takes the mode and the secrets, decoded.
    verification: Box<dyn FnOnce(Mode, Vec<NamedSecret>) -> Verification>,
}

pub(super) fn verification(
    name: &SourceName,
    located: &Located<WebhookSource>,
    manifests: &Manifests,
    collector: &mut Collector<'_>,
) -> Option<Verified> {
    let spec = &located.object.spec.verification;
    let mode = match spec.mode {
        VerificationMode::Enforce => Mode::Enforce,
        VerificationMode::ReportOnly => Mode::ReportOnly,
    };
    let scheme = match (&spec.preset, &spec.hmac, &spec.shared_secret, &spec.none) {
        (Some(preset), None, None, None) => of_preset(preset, spec.strict, collector),
        (None, Some(hmac), None, None) => hmac::scheme(hmac, spec.strict, collector),
        (None, None, Some(shared), None) => {
            refuse_strict(spec.strict, collector);
            shared_secret::scheme(shared, collector)
        }
        (None, None, None, Some(_)) => return Some(none(spec, collector)),
        (None, None, None, None) => {
            collector.add(
                "spec.verification",
                "says nothing; write preset: segment, or none: {} to accept every request",
            );
            None
        }
        _ => {
            collector.add(
                "spec.verification",
                "has more than one of preset, hmac, sharedSecret and none; keep one of them",
            );
            None
        }
    }?;
    let found = secrets::resolve(name, located, manifests, scheme.secret_encoding, collector)?;
    Some(Verified {
        verification: (scheme.verification)(mode, found.secrets),
        splits_arrays: scheme.splits_arrays,
        unavailable: found.unavailable,
        warnings: found.warnings,
    })
}

fn none(spec: &crds::Verification, collector: &mut Collector<'_>) -> Verified {
    let reports = spec.mode == VerificationMode::ReportOnly;
    if spec.strict || reports || !spec.secrets.is_empty() {
        collector.add(
            "spec.verification.none",
            "strict, secrets and mode: ReportOnly have no meaning beside it; remove them or name \
             a preset",
        );
    }
    Verified {
        verification: Verification::None,
        splits_arrays: false,
        unavailable: None,
        warnings: Vec::new(),
    }
}

fn of_preset(name: &str, strict: bool, collector: &mut Collector<'_>) -> Option<Scheme> {
    let Some(preset) = Preset::by_name(name) else {
        let known: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        collector.add(
            "spec.verification.preset",
            format!("{name:?} is not known; use one of: {}", known.join(", ")),
        );
        return None;
    };
    if matches!(preset.scheme, PresetScheme::SharedSecret(_)) {
        refuse_strict(strict, collector);
    }
    Some(Scheme {
        secret_encoding: preset.secret_encoding(),
        splits_arrays: preset.splits_arrays,
        verification: Box::new(move |mode, secrets| preset.verification(strict, mode, secrets)),
    })
}

fn refuse_strict(strict: bool, collector: &mut Collector<'_>) {
    if strict {
        collector.add(
            "spec.verification.strict",
            "has no meaning where the secret itself is sent and nothing is signed; remove it",
        );
    }
}
