//! `trunkline probe`: sends signed events at a steady rate through the public URL, follows each to
//! its row, and gives an account.
//!
//! `inputs` finds out where and with which secret, `largest` makes the first request, `crate::send`
//! sends the others, `ledger` remembers what became of each event, `rows` looks for it in the
//! database, [`Account`] tells.
//!
//! Invariant: an event that was acknowledged is missing unless its row was seen; nothing is sent
//! twice.

mod account;
mod args;
mod inputs;
mod largest;
mod ledger;
mod rows;
mod run;

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use account::{Account, Largest, Rows};
pub use args::ProbeArgs;
pub use largest::SMALLEST_BODY;
pub use run::{Options, Probe, RowsAt};

/// Probes until the time is over or SIGINT or SIGTERM comes, then prints the account.
pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    let options = inputs::options(&args).await?;
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let total = options.count();
    let probe = Probe::new(options);
    let counters = probe.counters();
    let account = {
        let run = probe.run(stop.clone());
        let show = crate::send::show(&counters, total);
        tokio::pin!(run, show);
        loop {
            tokio::select! {
                account = &mut run => break account?,
                () = &mut show => {}
                _ = interrupt.recv() => stop.cancel(),
                _ = terminate.recv() => stop.cancel(),
            }
        }
    };
    account.print(args.output, &mut io::stdout().lock())?;
    Ok(if account.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
