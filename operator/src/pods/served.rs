//! What a pod says on `GET /config`.

use std::collections::HashMap;

use serde::Deserialize;

/// What a pod serves, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Names the configuration; none before the first.
    pub hash: Option<String>,
    /// Whether it can commit, and why not.
    pub database: Database,
    /// Why what it finds in its directory is not what it serves.
    pub error: Option<String>,
    /// Its sources, as `namespace/name`.
    pub sources: HashMap<String, ServedSource>,
}

/// A pod's way to the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Database {
    /// `ready`, or what it is instead.
    #[serde(default)]
    pub state: String,
    /// Why it is not ready, or what its owner should know.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A source as a pod serves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServedSource {
    source: String,
    /// `metadata.generation` of what is served.
    pub generation: i64,
    /// Names what is served; none from pods of a version that does not say.
    #[serde(default)]
    pub revision: Option<String>,
    /// `serving` or `unavailable`.
    pub state: String,
    /// Why it is unavailable.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The answer as it comes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    pub(super) pod_uid: Option<String>,
    #[serde(default)]
    database: Database,
    #[serde(default)]
    error: Option<String>,
    /// Left out where the configuration is the one that the request named.
    #[serde(default)]
    sources: Option<Vec<ServedSource>>,
}

impl Answer {
    /// Fills in what was left out from what was known before.
    pub(super) fn complete(self, before: Option<&Served>) -> Served {
        let sources = match self.sources {
            Some(sources) => sources
                .into_iter()
                .map(|source| (source.source.clone(), source))
                .collect(),
            None => before
                .map(|before| before.sources.clone())
                .unwrap_or_default(),
        };
        Served {
            hash: self.hash,
            database: self.database,
            error: self.error,
            sources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_configuration_keeps_its_sources() {
        let full: Answer = serde_json::from_str(
            r#"{"hash":"h","podUid":"u","database":{"state":"ready","durable":true,"reason":null},
                "error":null,"sources":[{"source":"a/b","generation":2,"revision":"r",
                "state":"serving","reason":null}]}"#,
        )
        .unwrap();
        let before = full.complete(None);
        assert_eq!(before.sources["a/b"].revision.as_deref(), Some("r"));
        let short: Answer = serde_json::from_str(
            r#"{"hash":"h","podUid":"u","database":{"state":"unavailable","reason":"gone"}}"#,
        )
        .unwrap();
        let after = short.complete(Some(&before));
        assert_eq!(after.sources, before.sources);
        assert_eq!(after.database.state, "unavailable");
    }
}
