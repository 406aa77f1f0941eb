//! The owner's login to the database of a WebhookCluster, by the operator's own validation.

use anyhow::Context;
use kube::{Client, ResourceExt};
use trunkline_crds::WebhookCluster;
use trunkline_model::database::DatabaseLogin;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::{DatabaseAccess, validate_cluster};

use crate::kubernetes::{located, secret_data};

/// That of a cluster that is in Kubernetes, by its Secrets there.
pub(crate) async fn login_of(
    client: &Client,
    cluster: WebhookCluster,
) -> anyhow::Result<DatabaseLogin> {
    let namespace = cluster.namespace().unwrap_or_default();
    let database = &cluster.spec.database;
    let authorities = database.ca_secret_ref.iter().map(|secret| &secret.name);
    let mut manifests = Manifests::default();
    for secret in [&database.secret_ref.name].into_iter().chain(authorities) {
        let data = secret_data(client, &namespace, secret)
            .await
            .with_context(|| {
                format!("Secret {namespace}/{secret} cannot be read; give --database-url")
            })?;
        let data = data.map(|data| ((namespace.clone(), secret.clone()), data));
        manifests.secrets.extend(data);
    }
    login(validate_cluster(&located(cluster), &manifests)?.database)
}

/// That of a cluster that is validated.
pub(crate) fn login(access: DatabaseAccess) -> anyhow::Result<DatabaseLogin> {
    match access {
        DatabaseAccess::Login(login) => Ok(login),
        DatabaseAccess::Absent { secret, .. } => {
            anyhow::bail!("the Secret {secret:?} of the database is not there; give --database-url")
        }
    }
}
