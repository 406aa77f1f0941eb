//! The secrets that `spec.verification.secrets` refers to, and how any reference to one is resolved.
//!
//! Invariant: no message says anything of a value but its encoding and that it is short.

use trunkline_crds::{SecretKeyRef, WebhookSource};
use trunkline_model::names::SourceName;
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::{NamedSecret, SecretEncoding};

use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem};
use crate::validate::{Unavailable, UnavailableReason};

/// Bound on `spec.verification.secrets`: each is one more HMAC for every forged request.
const MAX_SECRETS: usize = 10;
/// Below this a signing secret can be guessed from a captured request.
const SHORT_SECRET_BYTES: usize = 16;

pub(super) struct Resolved {
    pub(super) secrets: Vec<NamedSecret>,
    pub(super) unavailable: Option<Unavailable>,
    pub(super) warnings: Vec<Problem>,
}

pub(super) fn resolve(
    name: &SourceName,
    located: &Located<WebhookSource>,
    manifests: &Manifests,
    encoding: SecretEncoding,
    collector: &mut Collector<'_>,
) -> Option<Resolved> {
    let references = &located.object.spec.verification.secrets;
    if references.is_empty() || references.len() > MAX_SECRETS {
        collector.add(
            "spec.verification.secrets",
            format!(
                "has {} entries; list 1 to {MAX_SECRETS}, each secretKeyRef: {{name, key}}",
                references.len()
            ),
        );
        return None;
    }
    let mut secrets = Vec::new();
    let mut unusable = None;
    let mut warnings = Vec::new();
    for (index, secret) in references.iter().enumerate() {
        let reference = Reference {
            field: format!("spec.verification.secrets[{index}].secretKeyRef"),
            to: &secret.secret_key_ref,
            encoding,
            when_empty: "the secret is empty; enter the one of the sender",
        };
        match reference.resolve(name, located, manifests, collector) {
            None => {}
            Some(Err(unavailable)) => unusable = unusable.or(Some(unavailable)),
            Some(Ok((value, oddity))) => {
                warnings.extend(oddity);
                secrets.push(NamedSecret {
                    name: format!("{}/{}", reference.to.name, reference.to.key),
                    value,
                    expires_at: None,
                });
            }
        }
    }
    // One secret that is there is enough to serve: a rotation adds the second before it exists.
    let unavailable = if secrets.is_empty() {
        unusable
    } else {
        warnings.extend(unusable.map(|unusable: Unavailable| unusable.problem));
        None
    };
    Some(Resolved {
        secrets,
        unavailable,
        warnings,
    })
}

/// A reference of a source to a value of a Secret.
pub(in crate::validate) struct Reference<'a> {
    /// Where it stands.
    pub(in crate::validate) field: String,
    pub(in crate::validate) to: &'a SecretKeyRef,
    pub(in crate::validate) encoding: SecretEncoding,
    /// What is said of a value that is empty.
    pub(in crate::validate) when_empty: &'static str,
}

/// A value, decoded, with what is odd about it; or why there is none, for which its source is not
/// served.
pub(in crate::validate) type Value = Result<(SecretBytes, Option<Problem>), Unavailable>;

impl Reference<'_> {
    /// The value. None where the collector has been told what is wrong.
    pub(in crate::validate) fn resolve(
        &self,
        name: &SourceName,
        located: &Located<WebhookSource>,
        manifests: &Manifests,
        collector: &mut Collector<'_>,
    ) -> Option<Value> {
        let Self {
            field,
            to,
            encoding,
            when_empty,
        } = self;
        let problem = |last: &str, message: String| Problem {
            file: located.file.clone(),
            object: format!("WebhookSource {name}"),
            field: format!("{field}.{last}"),
            message,
        };
        let object = (name.namespace().to_owned(), to.name.clone());
        if let Some(reason) = manifests.unreadable_secrets.get(&object) {
            collector.add(
                format!("{field}.name"),
                format!("the Secret {:?} cannot be read: {reason}", to.name),
            );
            return None;
        }
        match find(name, manifests, to).and_then(|value| decode(value, to, *encoding)) {
            Err((reason, last, message)) => Some(Err(Unavailable {
                reason,
                problem: problem(last, message),
            })),
            Ok(value) if value.expose().is_empty() => {
                collector.add(format!("{field}.key"), *when_empty);
                None
            }
            Ok(value) => {
                let oddity = oddity(&value, *encoding).map(|message| problem("key", message));
                Some(Ok((value, oddity)))
            }
        }
    }
}

/// Why a secret cannot be used, the last part of its field, and what to do.
type Unusable = (UnavailableReason, &'static str, String);

/// The value that a source refers to.
fn find<'a>(
    source: &SourceName,
    manifests: &'a Manifests,
    reference: &SecretKeyRef,
) -> Result<&'a SecretBytes, Unusable> {
    let object = (source.namespace().to_owned(), reference.name.clone());
    let Some(data) = manifests.secrets.get(&object) else {
        return Err((
            UnavailableReason::SecretNotFound,
            "name",
            format!(
                "there is no Secret {:?} in namespace {:?}; create it, or correct the name",
                reference.name,
                source.namespace()
            ),
        ));
    };
    data.get(&reference.key).ok_or_else(|| {
        let keys: Vec<_> = data.keys().map(String::as_str).collect();
        (
            UnavailableReason::SecretKeyNotFound,
            "key",
            format!(
                "the Secret {:?} has no key {:?}; its keys are: {}",
                reference.name,
                reference.key,
                keys.join(", ")
            ),
        )
    })
}

fn decode(
    value: &SecretBytes,
    reference: &SecretKeyRef,
    encoding: SecretEncoding,
) -> Result<SecretBytes, Unusable> {
    encoding.decode(value).map_err(|error| {
        (
            UnavailableReason::SecretMalformed,
            "key",
            format!(
                "the key {:?} of the Secret {:?} cannot be decoded: {error}; enter what the sender \
                 shows, without a newline at its end",
                reference.key, reference.name
            ),
        )
    })
}

/// What is odd about a value, though it can be used.
fn oddity(value: &SecretBytes, encoding: SecretEncoding) -> Option<String> {
    let value = value.expose();
    // Decoded keys are any bytes.
    if encoding == SecretEncoding::Raw && value.iter().any(u8::is_ascii_whitespace) {
        return Some(
            "the secret holds white space, which is hardly meant; a trailing newline \
             comes from `echo` without -n"
                .to_owned(),
        );
    }
    (value.len() < SHORT_SECRET_BYTES).then(|| {
        format!("the secret is shorter than {SHORT_SECRET_BYTES} bytes and can be guessed")
    })
}
