//! The subcommands, and what becomes of their errors.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use jiff::Timestamp;
use tracing_subscriber::EnvFilter;
use trunkline_model::names::SourceName;
use trunkline_model::verification::Verification;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::{Source, Validated, validate};

use crate::dbt::{self, DbtArgs};
use crate::dev::{self, DevArgs};
use crate::files;
use crate::probe::{self, ProbeArgs};
use crate::purge::{self, PurgeArgs};
use crate::render::{self, RenderArgs};
use crate::schema::{self, SchemaArgs};
use crate::send::{self, SendArgs};
use crate::signing;
use crate::status::{self, StatusArgs};

/// How kubectl wants its plugin `trunkline` to be called.
const PLUGIN: &str = "kubectl-trunkline";

/// Signed webhooks into PostgreSQL
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the sources of some manifests on this machine, with a PostgreSQL of its own
    Dev(DevArgs),
    /// Post realistic, signed Segment events to a source and report what came back
    Send(SendArgs),
    /// Send signed events at a steady rate, follow each to its row, and account for all of them
    Probe(ProbeArgs),
    /// Print what the operator would make of some manifests, without a cluster or a database
    Render(RenderArgs),
    /// Say how WebhookClusters and WebhookSources of a Kubernetes cluster are, and what to do next
    Status(StatusArgs),
    /// Make a dbt project of what a role may read
    Dbt(DbtArgs),
    /// Delete the rows of a person from all partitions, and write down that it was done
    Purge(PurgeArgs),
    /// Say which relations for analysts there are, and what changed in them
    Schema(SchemaArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  trunkline completion bash > /etc/bash_completion.d/trunkline"
    )]
    Completion {
        /// The shell
        shell: Shell,
    },
}

impl Cli {
    /// The command line of this process. Called as a plugin of kubectl, it says so in its help.
    #[must_use]
    pub fn of_process() -> Self {
        let mut command = Self::command();
        let program = std::env::args_os().next().map(PathBuf::from);
        if program.is_some_and(|program| program.file_stem() == Some(PLUGIN.as_ref())) {
            command = command.bin_name("kubectl trunkline");
        }
        let found = Self::from_arg_matches(&command.get_matches());
        found.unwrap_or_else(|error| error.exit())
    }
}

/// Runs a command line. Errors go to standard error with their whole chain, once.
pub async fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Dev(args) => {
            start_logging();
            dev::run(args).await
        }
        Command::Send(args) => send_events(args).await,
        Command::Probe(args) => probe::run(args).await,
        Command::Render(args) => render::run(&args),
        Command::Status(args) => status::run(args).await,
        Command::Dbt(args) => dbt::run(args).await,
        Command::Purge(args) => purge::run(args).await,
        Command::Schema(args) => schema::run(args).await,
        Command::Completion { shell } => complete(shell),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do when standard error is closed.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error; `RUST_LOG` chooses them.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // An error means that a test in the same process has set up logging already.
    let _ = logs.try_init();
}

fn complete(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "trunkline", &mut script);
    io::stdout().write_all(&script).context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

async fn send_events(args: SendArgs) -> anyhow::Result<ExitCode> {
    let files = files::read(&args.files)?;
    let validated = validate(&Manifests::parse(files::as_texts(&files))?)?;
    let source = served_source(&validated, &args.source)?;
    let url = format!("http://{}{}", dev::DEFAULT_LISTEN, source.path);
    let verification = signable(source)?;
    let plan = args.plan(&url, verification).context("--url")?;
    let report = send::execute(plan, args.output).await?;
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The source that `--source` names.
///
/// # Errors
/// When there is none, it is invalid, or it cannot be served.
pub(crate) fn served_source<'a>(
    validated: &'a Validated,
    name: &SourceName,
) -> anyhow::Result<&'a Source> {
    let source = match validated.sources.get(name) {
        Some(source) => source.as_ref().map_err(Clone::clone)?,
        None => {
            let names: Vec<_> = validated.sources.keys().map(ToString::to_string).collect();
            anyhow::bail!(
                "--source: there is no WebhookSource {name} in the files; there are: {}",
                names.join(", ")
            );
        }
    };
    match &source.unavailable {
        Some(unavailable) => anyhow::bail!("{}", unavailable.problem),
        None => Ok(source),
    }
}

/// What the source verifies, when requests can be made that pass.
///
/// # Errors
/// When they cannot: a shared secret that no header can hold, for instance.
pub(crate) fn signable(source: &Source) -> anyhow::Result<Verification> {
    signing::headers_for(&source.verification, &[], &[], Timestamp::now())
        .with_context(|| format!("WebhookSource {}", source.name))?;
    Ok(source.verification.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
