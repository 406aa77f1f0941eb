//! The way to a Kubernetes API server: as kubectl finds it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

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
