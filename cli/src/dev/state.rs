//! What is served: the last good form of each source. Pure.
//!
//! Invariant: an invalid source keeps its last good form; only its absence from the files, or a
//! secret that is gone, takes it out of service.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use trunkline_model::names::{RelationName, SourceName};
use trunkline_operator::validate::{Cluster, Source, Validated};

/// The sources of the files, each in its last good form.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) cluster: Cluster,
    pub(super) sources: BTreeMap<SourceName, Source>,
    /// Where each source's rows go, or why they have no place.
    pub(super) storage: BTreeMap<SourceName, Result<Storage, String>>,
}

/// A source's place in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) bucket: i32,
    pub(super) relation: RelationName,
}

/// How a source is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Service {
    /// The next POST to `url` is answered and its events are in `relation`.
    Ready { url: String, relation: String },
    /// Every POST is answered with 503.
    Unavailable { reason: String },
}

impl State {
    pub(super) fn new(validated: &Validated) -> Self {
        let sources = validated
            .valid()
            .map(|source| (source.name.clone(), source.clone()));
        Self {
            cluster: validated.cluster.clone(),
            sources: sources.collect(),
            storage: BTreeMap::new(),
        }
    }

    /// Takes over a newer reading of the files. Returns the sources that have gone.
    pub(super) fn update(&mut self, validated: &Validated) -> Vec<SourceName> {
        self.cluster = validated.cluster.clone();
        let gone: Vec<SourceName> = self
            .sources
            .keys()
            .filter(|name| !validated.sources.contains_key(name))
            .cloned()
            .collect();
        for name in &gone {
            self.sources.remove(name);
        }
        for source in validated.valid() {
            self.sources.insert(source.name.clone(), source.clone());
        }
        gone
    }

    /// The bucket of a source as the configuration wants it.
    pub(super) fn bucket(&self, source: &SourceName) -> Result<i32, String> {
        match self.storage.get(source) {
            Some(Ok(storage)) => Ok(storage.bucket),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("its relations do not exist in the database yet".to_owned()),
        }
    }

    /// How senders are answered at `address`.
    pub(super) fn service(&self, source: &Source, address: SocketAddr) -> Service {
        let storage = self.storage.get(&source.name);
        match (&source.unavailable, storage) {
            (Some(unavailable), _) => Service::Unavailable {
                reason: unavailable.problem.to_string(),
            },
            (None, Some(Ok(storage))) => Service::Ready {
                url: format!("http://{address}{}", source.path),
                relation: storage.relation.to_string(),
            },
            (None, Some(Err(reason))) => Service::Unavailable {
                reason: reason.clone(),
            },
            (None, None) => Service::Unavailable {
                reason: "its relations do not exist in the database yet".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_operator::manifests::Manifests;
    use trunkline_operator::validate::validate;

    fn validated(sources: &[(&str, &str)]) -> Validated {
        let mut text = "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookCluster\n\
            metadata: {name: main}\nspec: {database: {secretRef: {name: w}}}\n"
            .to_owned();
        for (name, path) in sources {
            text.push_str(&format!(
                "---\napiVersion: trunkline.dev/v1alpha1\nkind: WebhookSource\n\
                 metadata: {{name: {name}}}\nspec: {{clusterRef: {{name: main}}, \
                 path: '{path}', verification: {{none: {{}}}}}}\n"
            ));
        }
        validate(&Manifests::parse([("a.yaml", text.as_str())]).unwrap()).unwrap()
    }

    #[test]
    fn an_invalid_source_keeps_its_last_good_form_and_an_absent_one_goes() {
        let mut state = State::new(&validated(&[("a", "/a"), ("b", "/b")]));
        let gone = state.update(&validated(&[("a", "no path")]));
        assert_eq!(gone, ["default/b".parse().unwrap()]);
        let paths: Vec<_> = state
            .sources
            .values()
            .map(|source| source.path.as_str())
            .collect();
        assert_eq!(paths, ["/a"]);
    }
}
