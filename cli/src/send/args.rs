//! The command line of `trunkline send`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rand::Rng;
use trunkline_model::names::SourceName;
use trunkline_model::verification::Verification;

use super::{Content, Plan, Target, TargetError};

/// Post realistic, signed Segment events to a source and report what came back
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SendArgs {
    /// Manifests that hold the source and its secret: files or directories
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// The WebhookSource to send to
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub source: SourceName,

    /// Where to post, if not to the source's path on the address of `trunkline dev`
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Trust a certificate of an authority in this PEM file too
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,

    /// How many events to send
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Events per second over all connections [default: as fast as they are answered]
    #[arg(long, value_name = "R", value_parser = parse_rate)]
    pub rate: Option<f64>,

    /// How many requests to have under way at once, each on a connection of its own
    #[arg(long, value_name = "C", default_value = "8")]
    pub concurrency: NonZeroUsize,

    /// Put K events into each request, as Segment does with batching on
    #[arg(long, value_name = "K")]
    pub batch: Option<NonZeroUsize>,

    /// Send the events of this seed; the same seed sends the same messageIds again [default: random]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// How to print the result
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub output: OutputFormat,
}

/// How a command prints what it found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs: JSON, one object a line
    Json,
}

const EXAMPLES: &str = "\
Examples:
  # 100 events, one per request
  trunkline send -f examples --source default/segment

  # 20,000 events at 500 a second, in batches of 100
  trunkline send -f examples --source default/segment --count 20000 --rate 500 --batch 100

  # Send the same events twice
  trunkline send -f examples --source default/segment --seed 7
  trunkline send -f examples --source default/segment --seed 7

Exit status: 0 when every request was answered with 2xx, 1 otherwise.";

impl SendArgs {
    /// The plan, once the manifests have said where the source is and what signs for it.
    /// `--url` wins over `url`; requests are made to pass `verification`.
    ///
    /// # Errors
    /// [`TargetError`] when the URL is not one that can be posted to.
    pub fn plan(&self, url: &str, verification: Verification) -> Result<Plan, TargetError> {
        Ok(Plan {
            target: Target::parse_trusting(
                self.url.as_deref().unwrap_or(url),
                self.cacert.as_deref(),
            )?,
            verification,
            count: self.count,
            rate: self.rate,
            concurrency: self.concurrency,
            new_connections: 0.0,
            batch: self.batch,
            content: Content::Shop,
            seed: self.seed.unwrap_or_else(|| rand::rng().random()),
        })
    }
}

pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("give a number of events per second above 0, such as 500 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        send: SendArgs,
    }

    fn parse(arguments: &str) -> Result<SendArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("send").chain(arguments.split(' '))).map(|cli| cli.send)
    }

    #[test]
    fn the_defaults_are_100_events_one_by_one_as_fast_as_they_go() {
        let args = parse("-f examples --source default/segment").unwrap();
        let plan = args
            .plan(
                "http://127.0.0.1:8080/webhooks/default/segment",
                Verification::None,
            )
            .unwrap();
        assert_eq!(
            (plan.count, plan.rate, plan.concurrency.get()),
            (100, None, 8)
        );
        assert_eq!((plan.batch, args.output), (None, OutputFormat::Text));
    }

    #[test]
    fn several_paths_and_the_url_of_the_command_line_are_taken() {
        let args = parse("-f a b -f c --source n/s --url http://h:1/x --seed 7").unwrap();
        assert_eq!(args.files.len(), 3);
        let plan = args.plan("http://other/", Verification::None).unwrap();
        assert_eq!(
            (plan.target.to_string().as_str(), plan.seed),
            ("http://h:1/x", 7)
        );
    }

    #[test]
    fn two_plans_without_a_seed_differ() {
        let args = parse("-f a --source n/s").unwrap();
        let seed = || args.plan("http://h/", Verification::None).unwrap().seed;
        assert_ne!(seed(), seed());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for wrong in [
            "--rate 0",
            "--rate -1",
            "--rate inf",
            "--count 0",
            "--concurrency 0",
            "--batch 0",
        ] {
            assert!(
                parse(&format!("-f a --source n/s {wrong}")).is_err(),
                "{wrong}"
            );
        }
        assert!(
            parse("-f a --source segment").is_err(),
            "a source without its namespace"
        );
        assert!(parse("--source n/s").is_err(), "no manifests");
    }
}
