//! The way to a Kubernetes API server: as kubectl finds it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use trunkline_model::secret::SecretBytes;
use trunkline_operator::manifests::{Located, SecretData};

/// How long a connection to the API server may take. A person waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which cluster, and which namespace.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KubernetesArgs {
    /// Kubeconfig file [default: KUBECONFIG, ~/.kube/config, or a pod's service account]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl KubernetesArgs {
    /// A client.
    ///
    /// # Errors
    /// When no cluster is configured, or the configuration cannot be used.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match (&self.kubeconfig, &self.context) {
            (Some(file), _) => {
                let kubeconfig = Kubeconfig::read_from(file)
                    .with_context(|| format!("--kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .context("--kubeconfig")
            }
            (None, Some(_)) => Config::from_kubeconfig(&options).await.context("--context"),
            (None, None) => Config::infer().await.context(
                "no Kubernetes cluster is configured; set KUBECONFIG or give --kubeconfig",
            ),
        };
        let mut config = config?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        Client::try_from(config).context("Kubernetes client")
    }
}

/// An object of a namespace.
pub(crate) async fn get<K>(client: &Client, namespace: &str, name: &str) -> anyhow::Result<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    Api::<K>::namespaced(client.clone(), namespace)
        .get(name)
        .await
        .map_err(explain)
}

/// What a Secret holds; none when there is no such Secret.
pub(crate) async fn secret_data(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<SecretData>> {
    let secret = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .map_err(explain)?;
    let data = secret.map(|secret| secret.data.unwrap_or_default());
    Ok(data.map(|data| {
        data.into_iter()
            .map(|(key, value)| (key, SecretBytes::new(value.0)))
            .collect()
    }))
}

/// An error of the API server in words for a person.
pub(crate) fn explain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status)
            if status.code == 404 && status.message.contains("page not found") =>
        {
            anyhow::anyhow!(
                "the cluster does not know the kinds of trunkline.dev; install Trunkline first: \
                 helm install trunkline charts/trunkline -n trunkline-system --create-namespace"
            )
        }
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => anyhow::Error::new(other).context("the API server cannot be asked"),
    }
}

/// An object that comes from no file.
pub(crate) fn located<T>(object: T) -> Located<T> {
    Located { file: None, object }
}
