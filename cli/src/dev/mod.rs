//! `trunkline dev`: manifests in, a URL and a psql line out, in one process.
//!
//! It runs what a cluster runs: the operator's validation and build, the warehouse's layout and the
//! ingester, which reads its configuration from a directory that is swapped as Kubernetes swaps
//! one.
//!
//! Invariant: a change of the files never stops a source that was served well: what is wrong is
//! said, and the last good stays.

mod args;
mod configuration_dir;
mod database;
mod output;
mod relations;
mod session;
mod showcase;
mod state;

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::files::{self, ManifestFile};
use output::Output;
use session::Session;

pub(crate) use args::{DEFAULT_LISTEN, DevArgs};

/// How often the files are looked at. A person saves and looks up; that is longer.
const WATCH_PERIOD: Duration = Duration::from_millis(300);
/// How often something that is left to do is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(5);
/// How often partitions are made ahead. They reach a week, so an hour has room for failures.
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(3600);

/// Runs until SIGINT or SIGTERM, or with `--once` until the events are shown.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let output = Output::new(args.output);
    let files = files::read(&args.files)?;
    let mut session = tokio::select! {
        session = Session::start(&args, &files, output) => session?,
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
    };
    let outcome = tokio::select! {
        outcome = serve(&args, files, &mut session) => outcome,
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::SUCCESS),
    };
    session.stop().await;
    outcome
}

/// Reloads when the files are no longer `seen`, those that the session was started with.
async fn serve(
    args: &DevArgs,
    mut seen: Vec<ManifestFile>,
    session: &mut Session,
) -> anyhow::Result<ExitCode> {
    if let Some(count) = args.send {
        let complete = session.show(count.get()).await?;
        if args.once {
            return Ok(if complete {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    let mut watch = tokio::time::interval(WATCH_PERIOD);
    let mut retry = tokio::time::interval(RETRY_PERIOD);
    let mut maintenance = tokio::time::interval(MAINTENANCE_PERIOD);
    loop {
        tokio::select! {
            _ = watch.tick() => {
                // A file in the middle of being saved reads badly for a moment; the next tick
                // reads it again.
                let Ok(files) = files::read_again(&args.files, &seen) else { continue };
                if files != seen {
                    session.reload(&files).await;
                    seen = files;
                }
            }
            _ = retry.tick() => session.retry().await,
            _ = maintenance.tick() => session.maintain().await,
        }
    }
}
