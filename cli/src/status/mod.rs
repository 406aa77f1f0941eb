//! `trunkline status`: how everything is, on one screen, and what to do next.
//!
//! `gather` reads, `report` makes sense of it, `advice` knows the next step, `text` prints.

mod advice;
mod args;
mod gather;
mod refusals;
mod report;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use args::StatusArgs;
use args::StatusFormat;
use report::Report;

/// How often `--watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// Prints the report; with `--watch` again whenever it has changed.
pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let client = args.kubernetes.client().await?;
    let namespace = match (&args.namespace, args.all_namespaces) {
        (_, true) => None,
        (Some(namespace), false) => Some(namespace.clone()),
        (None, false) => Some(client.default_namespace().to_owned()),
    };
    let look = || gather::gather(&client, namespace.as_deref(), &args.names);
    let mut report = look().await?;
    print(&report, args.output)?;
    if args.watch {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                () = tokio::time::sleep(WATCH_PERIOD) => {}
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
            let now = look().await?;
            if now != report {
                report = now;
                print(&report, args.output)?;
            }
        }
    }
    Ok(if report.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(report: &Report, format: StatusFormat) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let text = match format {
        StatusFormat::Json => serde_json::to_string(report)? + "\n",
        StatusFormat::Yaml => format!("---\n{}", serde_saphyr::to_string(report).context("YAML")?),
        StatusFormat::Text => {
            let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            text::text(report, out.is_terminal() && !is_plain)
        }
    };
    out.write_all(text.as_bytes()).context("standard output")?;
    out.flush().context("standard output")
}
