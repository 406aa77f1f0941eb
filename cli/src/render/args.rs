//! The command line of `trunkline render`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use trunkline_operator::build::INGESTER_IMAGE;

/// Print what the operator would make of some manifests, without a cluster or a database
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RenderArgs {
    /// Manifests of one WebhookCluster, its WebhookSources and their Secrets: files or directories
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    pub(super) files: Vec<PathBuf>,

    /// The ingesters' image, where the WebhookCluster names none
    #[arg(long, value_name = "IMAGE", default_value = INGESTER_IMAGE)]
    pub(super) ingester_image: String,

    /// The database's name, where the Secret of spec.database is not among the files
    #[arg(long, value_name = "NAME", default_value = "app")]
    pub(super) database: String,

    /// What to print
    #[arg(
        long,
        value_name = "PART",
        value_enum,
        value_delimiter = ',',
        default_value = "objects,sql"
    )]
    pub(super) show: Vec<Part>,

    /// How to print it
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(super) output: RenderFormat,
}

/// Parts of what the operator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// The Kubernetes objects, but for the configuration
    Objects,
    /// The Secrets with the ingesters' configuration, without their values
    Configuration,
    /// What is run in an empty database
    Sql,
}

/// Forms of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum RenderFormat {
    /// YAML documents; SQL as it is, or in comments beside them
    #[default]
    Yaml,
    /// One JSON object with a field for each part
    Json,
}

const EXAMPLES: &str = "\
Examples:
  # The Kubernetes objects and the SQL of the examples
  trunkline render -f examples

  # What an edit changes in a cluster
  trunkline render -f examples --show objects | kubectl diff -f -

  # The SQL alone, for whoever has to allow it
  trunkline render -f examples --show sql

No value of a Secret is printed. What cannot be applied as it is says so.
Exit status: 0 when every manifest is valid, 1 otherwise.";
