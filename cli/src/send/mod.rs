//! `trunkline send`: posts made-up Segment events to a source and measures the answers.
//!
//! The way of an event: `producer` makes and signs requests on a thread of its own, `worker` sends
//! them over connections of `http`, `tally` counts, [`Report`] tells. A test uses [`Sender`] with an
//! observer, which learns of every request what was sent and what came back.
//!
//! Invariant: every request is sent at most once and counted exactly once; nothing is retried.

mod args;
mod engine;
mod plan;
mod producer;
mod progress;
mod report;
mod request;
mod tally;
#[cfg(test)]
mod tests;
mod worker;

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use crate::http::{Failure, Target, TargetError};
pub(crate) use args::parse_rate;
pub use args::{OutputFormat, SendArgs};
pub use engine::Sender;
pub use plan::{Content, Plan};
pub use progress::Counters;
pub(crate) use progress::show;
pub use report::{Latency, Report};
pub use request::{Outcome, SentEvent, SentRequest};
pub(crate) use worker::{headers, headers_of};

/// Sends what the plan says, with a progress line on standard error and the report on standard
/// output. SIGINT and SIGTERM stop the sending; what is under way is waited for and reported.
///
/// The exit status of the command is for the caller to choose: [`Report::is_success`].
///
/// # Errors
/// When standard output is closed or signals cannot be listened to.
pub async fn execute(plan: Plan, format: OutputFormat) -> io::Result<Report> {
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let total = plan.count;
    let sender = Sender::new(plan);
    let counters = sender.counters();
    let run = sender.run(stop.clone());
    tokio::pin!(run);
    let report = {
        let show = progress::show(&counters, total);
        tokio::pin!(show);
        loop {
            tokio::select! {
                report = &mut run => break report,
                () = &mut show => {}
                _ = interrupt.recv() => stop.cancel(),
                _ = terminate.recv() => stop.cancel(),
            }
        }
    };
    report.print(format, &mut io::stdout().lock())?;
    Ok(report)
}
