//! Decides what pods are to serve.
//!
//! Pure: what was validated, what the database has, and what is served now in; entries out.
//! Invariant: a source that cannot be read or is not valid, and one whose Secret cannot be read,
//! stays as it is served.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_crds::WebhookSource;
use trunkline_model::document::{DocumentError, SourceEntry, SourceSettings};
use trunkline_model::names::{ClusterName, SchemaName, SourceName};
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::DesiredSource;

use crate::build::{EntryInputs, desired_source, entry, readers};
use crate::database::{Outcome, Place};
use crate::problem::Problems;
use crate::validate::Source;

/// Sources after validation.
pub(super) type Validated = BTreeMap<SourceName, Result<Source, Problems>>;

/// Where a source's rows go, as far as is known.
#[derive(Debug, Clone)]
pub(super) enum Placement {
    /// The database is being asked.
    NotYet,
    /// It has a place.
    Known(Place),
    /// It had a place when the database could be reached.
    Remembered(i32),
    /// It has none.
    Failed {
        reason: &'static str,
        message: String,
    },
}

/// The place of a source.
pub(super) fn placement(
    source: &SourceName,
    outcome: Option<&Outcome>,
    served: Option<&SourceEntry>,
) -> Placement {
    let remembered = served.and_then(bucket).map(Placement::Remembered);
    match outcome.map(|outcome| (&outcome.wanted, &outcome.result)) {
        None => remembered.unwrap_or(Placement::NotYet),
        Some((_, Ok(ready))) => match ready.sources.get(source) {
            Some(Ok(place)) => Placement::Known(place.clone()),
            Some(Err(message)) => Placement::Failed {
                reason: "RelationFailed",
                message: message.clone(),
            },
            None => remembered.unwrap_or(Placement::NotYet),
        },
        Some((wanted, Err(failure))) => {
            let was_wanted = wanted.sources.iter().any(|wanted| wanted.name == *source);
            remembered.unwrap_or_else(|| {
                if was_wanted {
                    Placement::Failed {
                        reason: failure.reason,
                        message: failure.message.clone(),
                    }
                } else {
                    Placement::NotYet
                }
            })
        }
    }
}

fn settings(entry: &SourceEntry) -> Option<SourceSettings> {
    serde_json::from_str(entry.settings.get()).ok()
}

fn bucket(entry: &SourceEntry) -> Option<i32> {
    settings(entry)
        .map(|settings| settings.bucket)
        .filter(|bucket| *bucket > 0)
}

/// What pods are to serve: of the sources that cannot be read, those that are served. A source whose
/// place is not known yet is left out, so that it comes
/// whole.
pub(super) fn entries(
    validated: &Validated,
    placements: &BTreeMap<SourceName, Placement>,
    unreadable: &BTreeSet<SourceName>,
    served: &BTreeMap<SourceName, SourceEntry>,
    hash_key: &SecretBytes,
    now: i64,
) -> Result<BTreeMap<SourceName, SourceEntry>, DocumentError> {
    let as_served = |name: &SourceName| {
        let entry = served.get(name)?;
        Some((name.clone(), entry.clone()))
    };
    let mut entries: BTreeMap<_, _> = unreadable.iter().filter_map(as_served).collect();
    for (name, source) in validated {
        let previous = served.get(name);
        let Ok(source) = source else {
            entries.extend(as_served(name));
            continue;
        };
        let bucket = match placements.get(name) {
            None | Some(Placement::NotYet) => continue,
            Some(Placement::Known(place)) => Ok(place.bucket),
            Some(Placement::Remembered(bucket)) => Ok(*bucket),
            Some(Placement::Failed { message, .. }) => Err(message.clone()),
        };
        let inputs = EntryInputs {
            bucket,
            previous,
            now,
            hash_key,
        };
        entries.insert(name.clone(), entry(source, inputs)?);
    }
    Ok(entries)
}

/// Sources that are served as they are because this version cannot read them: they go on needing
/// partitions.
pub(super) fn kept(
    unreadable: &BTreeSet<SourceName>,
    served: &BTreeMap<SourceName, SourceEntry>,
) -> Vec<SourceName> {
    let is_served = |name: &&SourceName| served.contains_key(name);
    unreadable.iter().filter(is_served).cloned().collect()
}

/// What the database is to have for the sources: also for one that is not valid now, if it is
/// served, since its rows go on coming.
pub(super) fn desired_sources(
    cluster: &ClusterName,
    cluster_readers: &[String],
    base_url: &str,
    validated: &Validated,
    objects: &BTreeMap<SourceName, WebhookSource>,
    served: &BTreeMap<SourceName, SourceEntry>,
) -> Vec<DesiredSource> {
    let desired = |(name, outcome): (&SourceName, &Result<Source, Problems>)| match outcome {
        Ok(source) => Some(desired_source(source, base_url, cluster_readers)),
        Err(_) => {
            let entry = served.get(name)?;
            let settings = settings(entry)?;
            let spec = &objects.get(name)?.spec;
            // Path and schema are immutable, so these are the ones that were valid.
            let schema: SchemaName = match &spec.schema {
                Some(schema) => schema.parse().ok()?,
                None => name.default_schema(cluster).ok()?,
            };
            Some(DesiredSource {
                name: name.clone(),
                schema,
                url: entry.paths.first().map(|path| format!("{base_url}{path}")),
                body: settings.body,
                header_columns: settings.header_columns,
                readers: readers(cluster_readers, &spec.readers),
                // What an invalid spec says of it may be the mistake.
                retention_days: None,
                partition_by: None,
                storage: None,
                indexes: None,
                layout: None,
                shaping: None,
                views: None,
            })
        }
    };
    validated.iter().filter_map(desired).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(source: &str) -> SourceName {
        format!("default/{source}").parse().unwrap()
    }

    fn served(source: &str) -> SourceEntry {
        let settings = serde_json::json!({"bucket": 7});
        serde_json::from_value(serde_json::json!({
            "source": name(source), "generation": 1, "paths": ["/a"], "revision": source,
            "settings": settings,
        }))
        .unwrap()
    }

    #[test]
    fn what_cannot_be_read_or_is_invalid_stays_as_it_is_served_and_what_is_gone_goes() {
        let all: BTreeMap<_, _> = ["invalid", "unreadable", "gone"]
            .map(|source| (name(source), served(source)))
            .into();
        let validated = Validated::from([
            (name("invalid"), Err(Problems::default())),
            (name("never-valid"), Err(Problems::default())),
        ]);
        let unreadable = BTreeSet::from([name("unreadable"), name("of-another-cluster")]);
        let key = SecretBytes::new("key");
        let entries = entries(&validated, &BTreeMap::new(), &unreadable, &all, &key, 0).unwrap();
        let served: Vec<_> = entries.keys().cloned().collect();
        assert_eq!(served, [name("invalid"), name("unreadable")]);
        assert_eq!(kept(&unreadable, &all), [name("unreadable")]);
        assert_eq!(
            entries[&name("unreadable")].revision.as_deref(),
            Some("unreadable")
        );
    }
}
