//! Which database: of a URL, of files, or of a WebhookCluster in Kubernetes.

use anyhow::Context;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use trunkline_crds::{WebhookCluster, WebhookSource};
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::SourceName;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;
use trunkline_pgconn::read_files;

use super::args::At;
use crate::files;
use crate::kubernetes::{explain, get};
use crate::owner::{login, login_of};

/// The namespace where nothing names one, as in manifests.
const DEFAULT_NAMESPACE: &str = "default";

/// Where to look, and for what.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) login: DatabaseLogin,
    /// None: every source of the database.
    pub(super) source: Option<SourceName>,
}

/// Finds out what the command line leaves open.
pub(super) async fn find(at: &At) -> anyhow::Result<Place> {
    let here = at.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    if let Some(url) = &at.database_url {
        return Ok(Place {
            login: read_files(url).context("--database-url")?,
            source: named(at, here)?,
        });
    }
    if !at.files.is_empty() {
        let files = files::read(&at.files)?;
        let validated = validate(&Manifests::parse(files::as_texts(&files))?)?;
        return Ok(Place {
            login: login(validated.cluster.database)?,
            source: named(at, here)?,
        });
    }
    let client = at.kubernetes.client().await?;
    let here = at
        .namespace
        .as_deref()
        .unwrap_or_else(|| client.default_namespace());
    let source = named(at, here)?;
    let cluster = match &source {
        Some(source) => {
            let object: WebhookSource = get(&client, source.namespace(), source.name()).await?;
            let name = &object.spec.cluster_ref.name;
            get(&client, source.namespace(), name).await?
        }
        None => only_cluster(&client, here).await?,
    };
    Ok(Place {
        login: login_of(&client, cluster).await?,
        source,
    })
}

/// The source that is asked for; one without a namespace is in `namespace`.
fn named(at: &At, namespace: &str) -> anyhow::Result<Option<SourceName>> {
    let Some(name) = &at.source else {
        return Ok(None);
    };
    let named = match name.split_once('/') {
        Some((namespace, name)) => SourceName::new(namespace, name),
        None => SourceName::new(namespace, name),
    };
    named
        .map(Some)
        .with_context(|| format!("SOURCE: {name:?} is not a WebhookSource; write NAMESPACE/NAME"))
}

/// The WebhookCluster of a namespace that has one.
async fn only_cluster(client: &Client, namespace: &str) -> anyhow::Result<WebhookCluster> {
    let found = Api::<WebhookCluster>::namespaced(client.clone(), namespace)
        .list(&ListParams::default())
        .await
        .map_err(explain)?;
    let names: Vec<_> = found.iter().map(ResourceExt::name_any).collect();
    let [cluster] = <[_; 1]>::try_from(found.items).map_err(|found| {
        if found.is_empty() {
            anyhow::anyhow!(
                "there is no WebhookCluster in namespace {namespace}; give -n NAMESPACE, or the \
                 database with --database-url"
            )
        } else {
            anyhow::anyhow!(
                "there are several WebhookClusters in namespace {namespace} ({}); name a SOURCE of \
                 one, or give its database with --database-url",
                names.join(", ")
            )
        }
    })?;
    Ok(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: Option<&str>) -> At {
        At {
            source: source.map(str::to_owned),
            namespace: None,
            database_url: None,
            files: Vec::new(),
            kubernetes: crate::kubernetes::KubernetesArgs::default(),
            output: crate::send::OutputFormat::Text,
        }
    }

    #[test]
    fn a_source_without_a_namespace_is_in_that_of_the_context() {
        let named = |source| named(&at(Some(source)), "hooks");
        for (given, source) in [("segment", "hooks/segment"), ("a/segment", "a/segment")] {
            assert_eq!(named(given).unwrap().unwrap().to_string(), source);
        }
        assert!(named("a/b/c").is_err());
        assert!(format!("{:#}", named("").unwrap_err()).contains("NAMESPACE/NAME"));
        assert_eq!(super::named(&at(None), "hooks").unwrap(), None);
    }
}
