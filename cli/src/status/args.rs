//! The command line of `trunkline status`.

use clap::{Args, ValueEnum};

use crate::kubernetes::KubernetesArgs;

/// Say how WebhookClusters and WebhookSources of a Kubernetes cluster are, and what to do next
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// WebhookClusters and WebhookSources to show [default: all of the namespace]
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,

    /// The namespace [default: that of the context]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,

    /// Every namespace
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(super) all_namespaces: bool,

    /// Show it again whenever it has changed, until Ctrl-C
    #[arg(short = 'w', long)]
    pub(super) watch: bool,

    /// How to print it
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(super) output: StatusFormat,

    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,
}

/// Forms of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum StatusFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON object on one line
    Json,
    /// The same as YAML
    Yaml,
}

const EXAMPLES: &str = "\
Examples:
  # Everything in the namespace of the current context
  kubectl trunkline status

  # One source, in another namespace
  trunkline status -n hooks segment

  # Everything, for a program
  trunkline status -A -o json

Exit status: 0 when everything shown is ready, 1 otherwise.";
