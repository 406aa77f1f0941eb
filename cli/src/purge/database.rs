//! Where the database is: from the command line, from files or from a Kubernetes cluster.

use anyhow::Context;
use trunkline_crds::WebhookCluster;
use trunkline_model::database::DatabaseLogin;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;
use trunkline_pgconn::read_files;

use super::args::PurgeArgs;
use crate::files;
use crate::kubernetes::get;
use crate::owner::{login, login_of};

/// How to log in as the owner.
pub(super) async fn owner(args: &PurgeArgs) -> anyhow::Result<DatabaseLogin> {
    if let Some(url) = &args.database_url {
        return read_files(url).context("--database-url");
    }
    if let Some(name) = &args.cluster {
        let client = args.kubernetes.client().await?;
        let cluster: WebhookCluster = get(&client, name.namespace(), name.name()).await?;
        return login_of(&client, cluster).await;
    }
    let files = files::read(&args.files)?;
    let manifests = Manifests::parse(files::as_texts(&files))?;
    login(validate(&manifests)?.cluster.database)
}
