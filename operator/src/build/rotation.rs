//! Secrets that an edit in place has replaced.
//!
//! A sender goes on signing with the old value until someone tells it the new one. What is served
//! now is the only memory of the old value, so it is read from there.
//!
//! Invariants: a value is retained only while the reference that it came from is there, so that
//! deleting a Secret, a key or a reference revokes everything that came from it; and never for
//! longer than the grace that holds now.

use trunkline_model::document::{SourceEntry, SourceSettings};
use trunkline_model::verification::NamedSecret;

/// Ends the name of a retained value, in logs and metrics.
const REPLACED: &str = " (replaced)";

/// Bound on what is retained for one source: each is one more HMAC for every forged request.
const MAX_RETAINED: usize = 10;

/// Adds what `previous` accepts, was replaced, and is still within its grace.
pub(super) fn retain_replaced(
    secrets: &mut Vec<NamedSecret>,
    previous: Option<&SourceEntry>,
    grace_seconds: i64,
    now: i64,
) {
    let Some(served) = previous.and_then(served_secrets) else {
        return;
    };
    let latest = now.saturating_add(grace_seconds);
    let mut retained: Vec<NamedSecret> = Vec::new();
    for old in served {
        let reference = old.name.strip_suffix(REPLACED).unwrap_or(&old.name);
        let is_referenced = secrets.iter().any(|secret| secret.name == reference);
        let is_current = secrets.iter().any(|secret| secret.value == old.value);
        let is_known = retained.iter().any(|secret| secret.value == old.value);
        let expires_at = old.expires_at.unwrap_or(latest).min(latest);
        if is_referenced && !is_current && !is_known && expires_at > now {
            retained.push(NamedSecret {
                name: format!("{reference}{REPLACED}"),
                value: old.value,
                expires_at: Some(expires_at),
            });
        }
    }
    // The newest first: it is the one that the sender most likely has.
    retained.sort_by_key(|secret| std::cmp::Reverse(secret.expires_at));
    retained.truncate(MAX_RETAINED);
    secrets.extend(retained);
}

/// When the next retained value of an entry ends, in seconds since 1970.
#[must_use]
pub fn next_expiry(entry: &SourceEntry) -> Option<i64> {
    served_secrets(entry)?
        .iter()
        .filter_map(|secret| secret.expires_at)
        .min()
}

/// None for a source without secrets, and for settings of a version that this one cannot read.
fn served_secrets(entry: &SourceEntry) -> Option<Vec<NamedSecret>> {
    let settings: SourceSettings = serde_json::from_str(entry.settings.get()).ok()?;
    settings.verification.secrets().map(<[_]>::to_vec)
}

#[cfg(test)]
mod tests {
    use trunkline_model::document::BodyFormat;
    use trunkline_model::headers::HeaderSelection;
    use trunkline_model::presets::Preset;
    use trunkline_model::request::HttpPolicy;
    use trunkline_model::secret::SecretBytes;
    use trunkline_model::verification::Mode;

    use super::*;

    const HOUR: i64 = 3600;

    fn secret(name: &str, value: &str, expires_at: Option<i64>) -> NamedSecret {
        NamedSecret {
            name: name.to_owned(),
            value: SecretBytes::new(value),
            expires_at,
        }
    }

    fn serving(preset: &str, secrets: Vec<NamedSecret>) -> SourceEntry {
        let settings = SourceSettings {
            bucket: 1,
            body: BodyFormat::Json,
            split_arrays: true,
            include_headers: HeaderSelection::default(),
            header_columns: Vec::new(),
            http: HttpPolicy::default(),
            rate_limit: None,
            notes_shapes: false,
            redaction: None,
            deduplication: None,
            verification: Preset::by_name(preset).unwrap().verification(
                false,
                Mode::Enforce,
                secrets,
            ),
        };
        let name = "default/segment".parse().unwrap();
        SourceEntry::new(name, 1, Vec::new(), &settings).unwrap()
    }

    fn after(
        served: Vec<NamedSecret>,
        current: Vec<NamedSecret>,
        grace: i64,
        now: i64,
    ) -> Vec<NamedSecret> {
        let mut secrets = current;
        retain_replaced(&mut secrets, Some(&serving("segment", served)), grace, now);
        secrets
    }

    #[test]
    fn a_replaced_value_stays_for_the_grace() {
        let first = after(
            vec![secret("s/k", "old", None)],
            vec![secret("s/k", "new", None)],
            HOUR,
            1000,
        );
        let expected = vec![
            secret("s/k", "new", None),
            secret("s/k (replaced)", "old", Some(1000 + HOUR)),
        ];
        assert_eq!(first, expected);
        // A later look changes nothing, and the end does not move.
        let current = vec![secret("s/k", "new", None)];
        assert_eq!(after(first.clone(), current.clone(), HOUR, 2000), expected);
        assert_eq!(after(first, current.clone(), HOUR, 1000 + HOUR), current);
    }

    #[test]
    fn no_grace_revokes_at_once_and_a_shorter_one_shortens() {
        let current = vec![secret("s/k", "new", None)];
        let old = vec![secret("s/k", "old", None)];
        assert_eq!(after(old, current.clone(), 0, 1000), current);
        let retained = vec![secret("s/k (replaced)", "old", Some(9000))];
        let shortened = after(retained, current, 60, 1000);
        assert_eq!(shortened[1].expires_at, Some(1060));
    }

    #[test]
    fn a_reference_that_is_gone_takes_its_values_with_it() {
        let served = vec![
            secret("gone/k", "a", None),
            secret("gone/k (replaced)", "b", Some(9000)),
            secret("s/k", "c", None),
        ];
        let current = vec![secret("s/k", "c", None)];
        assert_eq!(after(served, current.clone(), HOUR, 1000), current);
        assert_eq!(
            after(vec![secret("s/k", "c", None)], Vec::new(), HOUR, 1000),
            []
        );
    }

    #[test]
    fn a_value_that_comes_back_is_current_again() {
        let served = vec![
            secret("s/k", "new", None),
            secret("s/k (replaced)", "old", Some(9000)),
        ];
        let back = after(served, vec![secret("s/k", "old", None)], HOUR, 1000);
        assert_eq!(
            back,
            [
                secret("s/k", "old", None),
                secret("s/k (replaced)", "new", Some(1000 + HOUR))
            ]
        );
    }

    #[test]
    fn what_is_retained_is_bounded() {
        let served = (0..30)
            .map(|index| {
                secret(
                    "s/k (replaced)",
                    &format!("old-{index}"),
                    Some(2000 + index),
                )
            })
            .collect();
        let secrets = after(served, vec![secret("s/k", "new", None)], HOUR, 1000);
        assert_eq!(secrets.len(), 1 + MAX_RETAINED);
        assert_eq!(secrets[1].expires_at, Some(2029));
    }

    #[test]
    fn every_scheme_with_secrets_retains_them() {
        for preset in ["stripe", "gitlab"] {
            let served = serving(preset, vec![secret("s/k", "old", None)]);
            let mut secrets = vec![secret("s/k", "new", None)];
            retain_replaced(&mut secrets, Some(&served), HOUR, 1000);
            let old = secret("s/k (replaced)", "old", Some(1000 + HOUR));
            assert_eq!(secrets[1..], [old], "{preset}");
        }
    }
}
