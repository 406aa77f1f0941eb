//! The command line of `trunkline purge`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use trunkline_model::names::{ClusterName, SourceName};

use crate::kubernetes::KubernetesArgs;
use crate::send::OutputFormat;

/// Delete the rows of a person from all partitions, and write down that it was done
#[derive(Debug, Clone, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("whose").args(["users", "anonymous", "from_deletes"]).required(true).multiple(true),
    group = ArgGroup::new("where").args(["cluster", "files", "database_url"]).required(true)
)]
pub(crate) struct PurgeArgs {
    /// Delete the rows with this user_id, which is the event's userId
    #[arg(long = "user-id", value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(super) users: Vec<String>,

    /// Delete the rows with this anonymous_id, which is the event's anonymousId
    #[arg(long = "anonymous-id", value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(super) anonymous: Vec<String>,

    /// Delete the rows of everyone whom a delete event of this source names
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) from_deletes: Option<SourceName>,

    /// Look only at this source [default: all of the database, those included that are gone]
    #[arg(long = "source", value_name = "NAMESPACE/NAME")]
    pub(super) sources: Vec<SourceName>,

    /// Count the rows, and delete nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// The database, as its owner
    #[arg(long, value_name = "URL")]
    pub(super) database_url: Option<String>,

    /// The database of this WebhookCluster, read from a Kubernetes cluster
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) cluster: Option<ClusterName>,

    /// The database of the WebhookCluster in these files
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    pub(super) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,

    /// How to print what was deleted
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(super) output: OutputFormat,
}

const EXAMPLES: &str = "\
Examples:
  # How many rows there are of somebody
  trunkline purge --user-id ada --cluster default/main --dry-run

  # Delete them, and those from before she logged in
  trunkline purge --user-id ada --anonymous-id 5f1c6f6e --cluster default/main

  # Everyone whom Segment's delete events name, as a job for every night
  trunkline purge --from-deletes default/segment --database-url postgres://OWNER:PASSWORD@HOST/DATABASE

Rows are deleted in portions, each in a transaction of its own; a run that ended early is repeated.
What was deleted is in the table trunkline.purges.
Exit status: 0 when every row was looked at, 1 otherwise.";
