//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, ValueEnum};
use kube::Client;
use trunkline_operator::build::INGESTER_IMAGE;
use trunkline_telemetry::log::LogFormat;

use super::leader::Lease;

const EXAMPLES: &str = "\
Examples:
  In a cluster, as the Helm chart starts it:
    trunkline-operator

  On this machine, against the cluster of the current kubeconfig context:
    trunkline-operator --leader-election=false --metrics-listen 127.0.0.1:8081

  For two namespaces alone:
    trunkline-operator --watch-namespaces hooks,shop

SIGTERM or SIGINT ends what has begun, gives the lease back and ends with exit code 0.
Exit codes: 0 stopped, 1 failed or the lease was lost, 2 wrong arguments.";

/// Makes WebhookClusters and WebhookSources of Kubernetes serve
#[derive(Debug, Parser)]
#[command(name = "trunkline-operator", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// How to run.
#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// Image of the ingesters of a WebhookCluster that names none
    #[arg(long, env = "TRUNKLINE_INGESTER_IMAGE", value_name = "IMAGE", default_value = INGESTER_IMAGE)]
    pub(super) ingester_image: String,
    /// Namespaces to look at, all of them when there is none
    #[arg(
        long,
        env = "TRUNKLINE_WATCH_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    pub(super) watch_namespaces: Vec<String>,
    /// Act only while holding a lease, so that of several replicas one acts
    #[arg(
        long,
        env = "TRUNKLINE_LEADER_ELECTION",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub(super) leader_election: bool,
    /// Namespace of the lease, that of the pod or of the kubeconfig context by default
    #[arg(long, env = "TRUNKLINE_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Name of the lease
    #[arg(
        long,
        env = "TRUNKLINE_LEASE_NAME",
        value_name = "NAME",
        default_value = "trunkline-operator"
    )]
    lease_name: String,
    /// Address of /livez, /readyz and /metrics
    #[arg(
        long,
        env = "TRUNKLINE_METRICS_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub(super) metrics_listen: SocketAddr,
    /// How to ask ingester pods what they serve
    #[arg(
        long,
        env = "TRUNKLINE_POD_ACCESS",
        value_name = "WAY",
        default_value = "auto"
    )]
    pub(super) pod_access: Reach,
    /// Form of the log on standard error; RUST_LOG sets its level
    #[arg(
        long,
        env = "TRUNKLINE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(super) log_format: LogFormat,
}

impl RunArgs {
    /// The lease to hold. Its holder is known by the pod's name.
    pub(super) fn lease(&self, client: &Client) -> Lease {
        Lease {
            namespace: self
                .lease_namespace
                .clone()
                .unwrap_or_else(|| client.default_namespace().to_owned()),
            name: self.lease_name.clone(),
            holder: std::env::var("POD_NAME").ok(),
        }
    }
}

/// Ways to pods.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Reach {
    /// Direct within a cluster, else by proxy
    Auto,
    /// By the pods' addresses
    Direct,
    /// Through the API server, which needs the right to get pods/proxy
    Proxy,
}
