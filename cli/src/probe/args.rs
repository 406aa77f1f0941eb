//! The command line of `trunkline probe`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use trunkline_model::names::SourceName;

use super::largest::SMALLEST_BODY;
use crate::kubernetes::KubernetesArgs;
use crate::send::{OutputFormat, parse_rate};

/// Send signed events at a steady rate, follow each to its row, and account for all of them
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProbeArgs {
    /// The WebhookSource to send to
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(super) source: SourceName,

    /// How long to send: 30s, 10m, 1h30m
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    pub(super) duration: Duration,

    /// Events per second, each a request of its own
    #[arg(long, value_name = "R", default_value = "300", value_parser = parse_rate)]
    pub(super) rate: f64,

    /// How many requests may be under way at once
    #[arg(long, value_name = "C", default_value = "64")]
    pub(super) concurrency: NonZeroUsize,

    /// Of all requests, the part that opens a connection of its own, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.5", value_parser = parse_share)]
    pub(super) new_connections: f64,

    /// Size of the first request; 0 leaves it out [default: the cluster's limit of a body]
    #[arg(long, value_name = "BYTES", value_parser = parse_body)]
    pub(super) first_request: Option<usize>,

    /// Where to post [default: the source's URL]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,

    /// Connect to this address whatever the URL's host resolves to, before DNS knows it
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) connect_to: Option<String>,

    /// Trust a certificate of an authority in this PEM file too
    #[arg(long, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,

    /// Look for the rows here, as the owner or a reader [default: the cluster's database]
    #[arg(long, value_name = "URL", conflicts_with = "no_rows")]
    pub(super) database_url: Option<String>,

    /// Look for no rows, where the database cannot be reached from here
    #[arg(long)]
    pub(super) no_rows: bool,

    /// Read the source and its Secrets from these files, not from a Kubernetes cluster
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    pub(super) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,

    /// How to print the account
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
  # Through an upgrade, with what the current context's cluster says about the source
  trunkline probe --source default/segment --for 10m

  # The database forwarded: kubectl port-forward svc/warehouse-rw 5432
  trunkline probe --source default/segment --database-url postgres://app:PASSWORD@127.0.0.1/app

  # `trunkline dev`, which prints the database's URL
  trunkline probe -f examples --source default/segment --for 30s --database-url URL

The events are of the name \"Trunkline Probe\". Ctrl-C ends the sending; the account follows.
Exit status: 0 when every request was answered with 2xx and every event was found, 1 otherwise.";

fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "give a time above 0 such as 30s, 10m or 1h30m".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a part from 0 to 1, such as 0.5".to_owned()),
    }
}

fn parse_body(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Ok(0),
        Ok(bytes @ SMALLEST_BODY..) => Ok(bytes),
        _ => Err(format!(
            "give a number of bytes from {SMALLEST_BODY} on, or 0"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_shares_and_sizes_are_read_or_refused_with_an_example() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["0s", "-1m", "10", "soon"] {
            assert!(
                parse_duration(wrong).unwrap_err().contains("10m"),
                "{wrong}"
            );
        }
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.1", "NaN", "half"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
        assert_eq!((parse_body("0"), parse_body("4096")), (Ok(0), Ok(4096)));
        assert!(parse_body("10").is_err());
    }
}
