//! Where the database is: from the command line, from files or from a Kubernetes cluster.

use anyhow::Context;
use trunkline_crds::WebhookCluster;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::ClusterName;
use trunkline_operator::manifests::{Located, Manifests};
use trunkline_operator::validate::{DatabaseAccess, validate, validate_cluster};
use trunkline_pgconn::read_files;

use super::args::PurgeArgs;
use crate::files;
use crate::kubernetes::{get, secret_data};

/// How to log in as the owner.
pub(super) async fn login(args: &PurgeArgs) -> anyhow::Result<DatabaseLogin> {
    if let Some(url) = &args.database_url {
        return read_files(url).context("--database-url");
    }
    let access = match &args.cluster {
        Some(cluster) => of_cluster(args, cluster).await?,
        None => {
            let files = files::read(&args.files)?;
            let manifests = Manifests::parse(files::as_texts(&files))?;
            validate(&manifests)?.cluster.database
        }
    };
    match access {
        DatabaseAccess::Login(login) => Ok(login),
        DatabaseAccess::Absent { secret, .. } => {
            anyhow::bail!("the Secret {secret:?} of the database is not there; give --database-url")
        }
    }
}

/// The database of a WebhookCluster, by its Secrets.
async fn of_cluster(args: &PurgeArgs, name: &ClusterName) -> anyhow::Result<DatabaseAccess> {
    let client = args.kubernetes.client().await?;
    let namespace = name.namespace();
    let cluster: WebhookCluster = get(&client, namespace, name.name()).await?;
    let database = &cluster.spec.database;
    let authorities = database.ca_secret_ref.iter().map(|secret| &secret.name);
    let mut manifests = Manifests::default();
    for secret in authorities.chain([&database.secret_ref.name]) {
        let data = secret_data(&client, namespace, secret)
            .await
            .with_context(|| {
                format!("Secret {namespace}/{secret} cannot be read; give --database-url")
            })?;
        let data = data.map(|data| ((namespace.to_owned(), secret.clone()), data));
        manifests.secrets.extend(data);
    }
    let located = Located {
        file: None,
        object: cluster,
    };
    Ok(validate_cluster(&located, &manifests)?.database)
}
