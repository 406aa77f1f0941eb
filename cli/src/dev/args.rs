//! The command line of `trunkline dev`.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;

use crate::send::OutputFormat;

/// Where `trunkline dev` listens for webhooks unless told otherwise; `trunkline send` posts there.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Serve the sources of some manifests on this machine, with a PostgreSQL of its own
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevArgs {
    /// Manifests of one WebhookCluster, its WebhookSources and their Secrets: files or directories
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,

    /// Where to listen for webhooks; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    pub(crate) listen: SocketAddr,

    /// Where to serve /livez, /readyz, /metrics, /config and /refusals
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub(crate) admin_listen: SocketAddr,

    /// Use this PostgreSQL, as the owner of the layout, instead of starting one
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,

    /// Keep the data of the PostgreSQL that is started [default: a temporary directory]
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Post N signed Segment events, single and in batches, and show what arrived
    #[arg(long, value_name = "N")]
    pub(crate) send: Option<NonZeroU64>,

    /// Stop after --send
    #[arg(long, requires = "send")]
    pub(crate) once: bool,

    /// How to print what happens
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(crate) output: OutputFormat,
}

const EXAMPLES: &str = "\
Examples:
  # Serve the example's source and watch 200 events arrive
  trunkline dev -f examples --send 200

  # Keep the events from one run to the next
  trunkline dev -f examples --data-dir .trunkline/data

  # Write to a PostgreSQL that is there already
  trunkline dev -f examples --database-url postgres://owner:password@db.example.com/app

The files are read again when they change. Logs go to standard error; RUST_LOG chooses them.";
