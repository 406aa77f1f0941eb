//! The command line of `trunkline schema`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::kubernetes::KubernetesArgs;
use crate::send::OutputFormat;

/// Say which relations for analysts there are, and what changed in them
#[derive(Debug, Clone, Args)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    pub(super) command: SchemaCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(super) enum SchemaCommand {
    /// What changed in relations, and what was left out of them, the oldest first
    Diff(DiffArgs),
    /// Relations with their columns and types, and where in an event these come from
    Show(ShowArgs),
}

#[derive(Debug, Clone, Args)]
#[command(after_help = DIFF_EXAMPLES)]
pub(super) struct DiffArgs {
    /// Only what changed since then: 24h, 7d, 2026-11-24 or 2026-11-24T08:15:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub(super) since: Option<Timestamp>,

    #[command(flatten)]
    pub(super) at: At,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub(super) at: At,
}

/// Of which source, and where the database is.
#[derive(Debug, Clone, Args)]
pub(super) struct At {
    /// The WebhookSource, as NAMESPACE/NAME or NAME [default: every one of the database]
    #[arg(value_name = "SOURCE")]
    pub(super) source: Option<String>,

    /// The namespace of a SOURCE without one, and of the WebhookCluster [default: that of the context]
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,

    /// The database, as its owner [default: the WebhookCluster's]
    #[arg(long, value_name = "URL")]
    pub(super) database_url: Option<String>,

    /// Read the WebhookCluster and its Secret from these files, not from a Kubernetes cluster
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    pub(super) files: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) kubernetes: KubernetesArgs,

    /// How to print it
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(super) output: OutputFormat,
}

const DIFF_EXAMPLES: &str = "\
Examples:
  # What a week has brought to the relations of a source
  kubectl trunkline schema diff -n hooks segment --since 7d

  # `trunkline dev`, which prints the database's URL
  trunkline schema diff --database-url URL

Signs: + added, - dropped, ~ renamed or of another type, ! left out or not possible, with the reason.";

const SHOW_EXAMPLES: &str = "\
Examples:
  kubectl trunkline schema show -n hooks segment

  # For a program
  trunkline schema show default/segment --database-url URL -o json";

/// A time, or how long ago it was.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let of_date = text
        .parse::<DateTime>()
        .ok()
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let ago = || {
        let span = text
            .parse::<Span>()
            .ok()
            .filter(|span| span.is_positive())?;
        now.checked_sub(span).ok()
    };
    of_date
        .or_else(ago)
        .map(|time| time.timestamp())
        .ok_or_else(|| {
            "give a time such as 2026-11-24 or 2026-11-24T08:15:00Z (UTC), or how long ago: 24h, 7d"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_a_date_a_moment_or_how_long_ago() {
        let seconds = |text: &str| parse_since(text).unwrap().as_second();
        assert_eq!(seconds("2026-11-24"), 1_795_478_400);
        assert_eq!(seconds("2026-11-24T08:15:00"), 1_795_478_400 + 29_700);
        assert_eq!(seconds("2026-11-24T10:15:00+02:00"), 1_795_478_400 + 29_700);
        let now = Timestamp::now().as_second();
        for (text, ago) in [
            ("24h", 86_400),
            ("7d", 604_800),
            ("1w", 604_800),
            ("90m", 5_400),
        ] {
            assert!((now - ago - seconds(text)).abs() < 5, "{text}");
        }
        for wrong in ["", "yesterday", "-7d", "7", "2026-13-01"] {
            let error = parse_since(wrong).unwrap_err();
            assert!(error.contains("7d"), "{wrong}");
        }
    }
}
