//! What is served: the routing table, and the directory that it is read from.
//!
//! Invariant: a table is complete before anyone sees it. What cannot be served is an error with its
//! reason at the border, so that nothing behind it asks whether a setting is there.

mod directory;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use trunkline_model::deduplication::Identity;
use trunkline_model::document::{Configuration, ConfigurationHash, Limits, SourceSettings};
use trunkline_model::names::ClusterName;
use trunkline_model::request::{BodyFormat, HttpPolicy};

use crate::identity::Identifier;
use crate::redact::Redactor;
use crate::request::SourceUse;
use crate::shapes::SourceShapes;

pub(crate) use watch::ConfigWatch;

/// What requests are routed by.
#[derive(Debug)]
pub(crate) struct Routing {
    /// Names the configuration.
    pub(crate) hash: ConfigurationHash,
    /// The WebhookCluster.
    pub(crate) cluster: ClusterName,
    /// What a request may use.
    pub(crate) limits: Limits,
    paths: HashMap<String, Arc<Route>>,
    /// Every source, in order of their names.
    pub(crate) sources: Vec<Arc<Route>>,
}

/// A source, as requests meet it.
#[derive(Debug)]
pub(crate) struct Route {
    /// The WebhookSource, as `namespace/name`.
    pub(crate) source: Arc<str>,
    /// `metadata.generation` of its manifest.
    pub(crate) generation: i64,
    /// Names what is served of it, as the writer of the configuration did.
    pub(crate) revision: Option<String>,
    /// Which requests are for it at all.
    pub(crate) http: HttpPolicy,
    /// How it is served, or why it is not, for its owner.
    pub(crate) settings: Result<SourceSettings, String>,
    /// What is taken out of its bodies, where something is.
    pub(crate) redactor: Option<Redactor>,
    /// What its repeats are told by, where they are not stored.
    pub(crate) identifier: Option<Identifier>,
    /// What it uses of this ingester now.
    pub(crate) in_use: Arc<SourceUse>,
    /// What has been noted of it, when shapes are.
    pub(crate) shapes: Option<Arc<SourceShapes>>,
}

impl Routing {
    /// `before` is what was served until now.
    pub(crate) fn new(configuration: Configuration, before: Option<&Self>) -> Self {
        let known: HashMap<&str, &Arc<Route>> = before
            .iter()
            .flat_map(|before| &before.sources)
            .map(|route| (&*route.source, route))
            .collect();
        let mut paths = HashMap::new();
        let mut sources = Vec::with_capacity(configuration.sources.len());
        for source in configuration.sources {
            let name = source.name.to_string();
            let known = known.get(&*name);
            let notes = source.settings.as_ref().is_ok_and(notes_shapes);
            let (settings, redactor) = match servable(source.settings) {
                Ok((settings, redactor)) => (Ok(settings), redactor),
                Err(reason) => (Err(reason), None),
            };
            let identifier = settings.as_ref().ok().and_then(|settings| {
                let deduplication = settings.deduplication.as_ref()?;
                Some(Identifier::new(&name, settings.bucket, deduplication))
            });
            let shapes = || {
                known
                    .and_then(|route| route.shapes.clone())
                    .unwrap_or_default()
            };
            let route = Arc::new(Route {
                in_use: known
                    .map(|route| Arc::clone(&route.in_use))
                    .unwrap_or_default(),
                shapes: notes.then(shapes),
                source: name.into(),
                generation: source.generation,
                revision: source.revision,
                http: source.http,
                settings,
                redactor,
                identifier,
            });
            paths.extend(
                source
                    .paths
                    .into_iter()
                    .map(|path| (path, Arc::clone(&route))),
            );
            sources.push(route);
        }
        Self {
            hash: configuration.hash,
            cluster: configuration.cluster.name,
            limits: configuration.cluster.limits,
            paths,
            sources,
        }
    }

    /// The source that answers to exactly this path.
    pub(crate) fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.paths.get(path)
    }
}

/// Whether what its events look like is noted. Of other formats there is no event to look at.
fn notes_shapes(settings: &SourceSettings) -> bool {
    settings.notes_shapes && settings.body == BodyFormat::Json
}

/// A source without a secret cannot verify, so it is not served, and not served without check. Nor is
/// one of which something would be stored that may not be, or would be stored twice.
fn servable(
    settings: Result<SourceSettings, String>,
) -> Result<(SourceSettings, Option<Redactor>), String> {
    let settings = settings?;
    if let Some([]) = settings.verification.secrets() {
        return Err("no secret is available".to_owned());
    }
    let has_json = matches!(settings.body, BodyFormat::Json | BodyFormat::Form);
    let identity = settings.deduplication.as_ref().map(|it| &it.by);
    if matches!(identity, Some(Identity::MessageId | Identity::Path { .. })) && !has_json {
        return Err("deduplicate needs bodies of JSON, and body.format is another".to_owned());
    }
    let Some(redaction) = &settings.redaction else {
        return Ok((settings, None));
    };
    if !has_json {
        return Err("redact needs bodies of JSON, and body.format is another".to_owned());
    }
    let redactor = Redactor::new(redaction).map_err(|error| error.to_string())?;
    Ok((settings, Some(redactor)))
}
