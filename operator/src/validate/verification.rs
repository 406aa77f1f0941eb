//! Validates `spec.verification` and fills in its secrets.

use trunkline_crds::WebhookSource;
use trunkline_model::names::SourceName;
use trunkline_model::presets::{PRESETS, Preset};
use trunkline_model::verification::{NamedSecret, Verification};

use super::{Unavailable, UnavailableReason};
use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem};

/// Bound on `spec.verification.secrets`: each is one more HMAC for every forged request.
const MAX_SECRETS: usize = 10;
/// Below this a signing secret can be guessed from a captured request.
const SHORT_SECRET_BYTES: usize = 16;

pub(super) struct Verified {
    pub(super) verification: Verification,
    pub(super) splits_arrays: bool,
    pub(super) unavailable: Option<Unavailable>,
    pub(super) warnings: Vec<Problem>,
}

pub(super) fn verification(
    name: &SourceName,
    located: &Located<WebhookSource>,
    manifests: &Manifests,
    collector: &mut Collector<'_>,
) -> Option<Verified> {
    let spec = &located.object.spec.verification;
    let preset = match (&spec.preset, &spec.none) {
        (Some(_), Some(_)) => {
            collector.add(
                "spec.verification",
                "has both preset and none; keep one of them",
            );
            return None;
        }
        (None, None) => {
            collector.add(
                "spec.verification",
                "says nothing; write preset: segment, or none: {} to accept every request",
            );
            return None;
        }
        (None, Some(_)) => {
            if spec.strict || !spec.secrets.is_empty() {
                collector.add(
                    "spec.verification.none",
                    "strict and secrets have no meaning beside it; remove them or name a preset",
                );
            }
            return Some(Verified {
                verification: Verification::None,
                splits_arrays: false,
                unavailable: None,
                warnings: Vec::new(),
            });
        }
        (Some(preset), None) => preset,
    };
    let Some(preset) = Preset::by_name(preset) else {
        let known: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        collector.add(
            "spec.verification.preset",
            format!("{preset:?} is not known; use one of: {}", known.join(", ")),
        );
        return None;
    };
    if spec.secrets.is_empty() || spec.secrets.len() > MAX_SECRETS {
        collector.add(
            "spec.verification.secrets",
            format!(
                "has {} entries; list 1 to {MAX_SECRETS}, each secretKeyRef: {{name, key}}",
                spec.secrets.len()
            ),
        );
        return None;
    }
    let mut secrets = Vec::new();
    let mut absent = None;
    let mut warnings = Vec::new();
    let problem = |field: String, message: String| Problem {
        file: located.file.clone(),
        object: format!("WebhookSource {name}"),
        field,
        message,
    };
    for (index, secret) in spec.secrets.iter().enumerate() {
        let reference = &secret.secret_key_ref;
        let field = |last: &str| format!("spec.verification.secrets[{index}].secretKeyRef.{last}");
        let object = (name.namespace().to_owned(), reference.name.clone());
        if let Some(reason) = manifests.unreadable_secrets.get(&object) {
            collector.add(
                field("name"),
                format!("the Secret {:?} cannot be read: {reason}", reference.name),
            );
            continue;
        }
        let value = match manifests.secrets.get(&object) {
            None => Err(Unavailable {
                reason: UnavailableReason::SecretNotFound,
                problem: problem(
                    field("name"),
                    format!(
                        "there is no Secret {:?} in namespace {:?}; create it, or correct the name",
                        reference.name,
                        name.namespace()
                    ),
                ),
            }),
            Some(data) => data.get(&reference.key).ok_or_else(|| {
                let keys: Vec<_> = data.keys().map(String::as_str).collect();
                Unavailable {
                    reason: UnavailableReason::SecretKeyNotFound,
                    problem: problem(
                        field("key"),
                        format!(
                            "the Secret {:?} has no key {:?}; its keys are: {}",
                            reference.name,
                            reference.key,
                            keys.join(", ")
                        ),
                    ),
                }
            }),
        };
        match value {
            Err(unavailable) => absent = absent.or(Some(unavailable)),
            Ok(value) if value.expose().is_empty() => {
                collector.add(
                    field("key"),
                    "the secret is empty; enter the one of the sender",
                );
            }
            Ok(value) => {
                if value.expose().iter().any(u8::is_ascii_whitespace) {
                    warnings.push(problem(
                        field("key"),
                        "the secret holds white space, which the sender's hardly does; a trailing \
                         newline comes from `echo` without -n"
                            .to_owned(),
                    ));
                } else if value.expose().len() < SHORT_SECRET_BYTES {
                    warnings.push(problem(
                        field("key"),
                        format!("the secret is shorter than {SHORT_SECRET_BYTES} bytes and can be guessed"),
                    ));
                }
                secrets.push(NamedSecret {
                    name: format!("{}/{}", reference.name, reference.key),
                    value: value.clone(),
                    expires_at: None,
                });
            }
        }
    }
    // One secret that is there is enough to serve: a rotation adds the second before it exists.
    let unavailable = if secrets.is_empty() {
        absent
    } else {
        warnings.extend(absent.map(|absent: Unavailable| absent.problem));
        None
    };
    Some(Verified {
        verification: Verification::Hmac(preset.scheme(spec.strict, secrets)),
        splits_arrays: preset.splits_arrays,
        unavailable,
        warnings,
    })
}
