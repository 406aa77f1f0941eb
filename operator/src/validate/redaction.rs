//! Validates `spec.redact` and fills in the key of its hashes.
//!
//! Invariant: a source whose redaction cannot be done is not served. What is stored cannot be taken
//! back by a later look.

use std::collections::BTreeSet;

use trunkline_crds::{self as crds, MAX_REDACTED_KEYS, MAX_REDACTED_PATHS, WebhookSource};
use trunkline_model::names::SourceName;
use trunkline_model::redaction::{RedactAction, RedactedPath, Redaction};
use trunkline_model::request::BodyFormat;
use trunkline_model::verification::SecretEncoding;

use super::Unavailable;
use super::verification::Reference;
use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem};

/// Bound on a key of a path, in characters.
const MAX_KEY_CHARS: usize = 255;

/// What a source asks for, with its key.
#[derive(Debug, Default)]
pub(super) struct Redacted {
    /// None where nothing is redacted.
    pub(super) redaction: Option<Redaction>,
    pub(super) unavailable: Option<Unavailable>,
    pub(super) warnings: Vec<Problem>,
}

pub(super) fn redaction(
    name: &SourceName,
    located: &Located<WebhookSource>,
    format: BodyFormat,
    manifests: &Manifests,
    collector: &mut Collector<'_>,
) -> Redacted {
    let spec = &located.object.spec;
    let mut redacted = Redacted::default();
    if !spec.redact.is_empty() && !matches!(format, BodyFormat::Json | BodyFormat::Form) {
        collector.add(
            "spec.redact",
            "needs bodies of JSON; set spec.body.format to Json, JsonArray or Form, or remove it",
        );
    }
    let paths = paths(&spec.redact, collector);
    let needs_key = paths.iter().any(|it| it.action == RedactAction::Hash);
    // A key that is named is looked for although nothing needs it yet.
    let key = match &spec.redact_key {
        Some(spec) => {
            let reference = Reference {
                field: "spec.redactKey.secretKeyRef".to_owned(),
                to: &spec.secret_key_ref,
                encoding: SecretEncoding::Raw,
                when_empty: "the key is empty; enter one, such as openssl rand -hex 32 makes",
            };
            match reference.resolve(name, located, manifests, collector) {
                None => None,
                Some(Err(unavailable)) => {
                    redacted.unavailable = Some(unavailable);
                    None
                }
                Some(Ok((key, oddity))) => {
                    redacted.warnings.extend(oddity);
                    Some(key)
                }
            }
        }
        None if needs_key => {
            collector.add(
                "spec.redactKey",
                "is not set, and the action Hash needs it; write secretKeyRef: {name, key}, or use \
                 Drop",
            );
            None
        }
        None => None,
    };
    if !paths.is_empty() {
        redacted.redaction = Some(Redaction {
            paths,
            key: key.filter(|_| needs_key),
        });
    }
    redacted
}

fn paths(spec: &[crds::RedactedPath], collector: &mut Collector<'_>) -> Vec<RedactedPath> {
    if spec.len() > MAX_REDACTED_PATHS {
        let count = spec.len();
        collector.add(
            "spec.redact",
            format!("has {count} entries; list at most {MAX_REDACTED_PATHS}"),
        );
    }
    let mut seen = BTreeSet::new();
    for (index, crds::RedactedPath { path, .. }) in spec.iter().enumerate() {
        let field = format!("spec.redact[{index}].path");
        if path.is_empty() || path.len() > MAX_REDACTED_KEYS {
            let count = path.len();
            collector.add(
                field.clone(),
                format!("has {count} keys; list 1 to {MAX_REDACTED_KEYS}, from the outside in"),
            );
        }
        for (place, key) in path.iter().enumerate() {
            if let Some(fault) = key_fault(key, "which is not redacted; use \"*\" for all") {
                collector.add(format!("{field}[{place}]"), fault);
            }
        }
        if !seen.insert(path) {
            collector.add(field, "is there twice; remove one");
        }
    }
    let path = |it: &crds::RedactedPath| RedactedPath {
        path: it.path.clone(),
        action: match it.action {
            crds::RedactAction::Drop => RedactAction::Drop,
            crds::RedactAction::Hash => RedactAction::Hash,
        },
    };
    spec.iter().map(path).collect()
}

/// What is wrong with a key of a path in an event. `instead` says what to do about a place from the
/// end.
pub(super) fn key_fault(key: &str, instead: &str) -> Option<String> {
    if key.is_empty() || key.chars().count() > MAX_KEY_CHARS || key.contains('\0') {
        return Some(format!(
            "is not a key; write 1 to {MAX_KEY_CHARS} characters, without NUL"
        ));
    }
    // In `#>>` it is a place from the end, and whoever writes it means that.
    let digits = key.strip_prefix('-')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{key:?} would be a place from the end, {instead}"))
}
