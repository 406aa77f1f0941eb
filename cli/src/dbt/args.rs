//! The command line of `trunkline dbt`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use trunkline_model::names::SchemaName;

/// Make a dbt project of what a role may read
#[derive(Debug, Clone, Args)]
pub(crate) struct DbtArgs {
    #[command(subcommand)]
    pub(super) command: DbtCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum DbtCommand {
    /// Write a dbt project: sources with their descriptions, sessions and identities
    Init(InitArgs),
}

/// Write a dbt project: sources with their descriptions, sessions and identities
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct InitArgs {
    /// The database, as the role that runs dbt: one that may read the sources
    #[arg(long, value_name = "URL")]
    pub(super) database_url: String,

    /// The source in this schema; give it once for each [default: all that the role may read]
    #[arg(long = "schema", value_name = "SCHEMA")]
    pub(super) schemas: Vec<SchemaName>,

    /// The folder of the project, which is made where it is not there
    #[arg(long, value_name = "DIR", default_value = "dbt")]
    pub(super) output: PathBuf,

    /// Write models/sources.yml alone, for a project that has grown
    #[arg(long)]
    pub(super) only_sources: bool,

    /// Replace files that are there and differ
    #[arg(long)]
    pub(super) force: bool,
}

const EXAMPLES: &str = "\
Examples:
  # A project of all sources that the role may read
  trunkline dbt init --database-url postgres://analyst:PASSWORD@db.example.com/app

  # Of one of them, elsewhere
  trunkline dbt init --database-url URL --schema segment --output models/segment

  # The relations and columns that have come since
  trunkline dbt init --database-url URL --only-sources --force

The password is written nowhere: dbt takes it from DBT_ENV_SECRET_PASSWORD.
Exit status: 1, and nothing is written, when a file differs and --force is not given.";
