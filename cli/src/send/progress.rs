//! What a run says of itself while it lasts.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::request::{Outcome, SentRequest};

/// How often the line on a terminal moves.
const TERMINAL_PERIOD: Duration = Duration::from_millis(100);

/// How often a line is added where there is no terminal.
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// Counters of a run that is under way. They never decrease.
#[derive(Debug, Default)]
pub struct Counters {
    events: AtomicU64,
    acknowledged: AtomicU64,
}

impl Counters {
    /// Events whose request has ended, well or not.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Events whose request was answered with 2xx.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, request: &SentRequest, outcome: &Outcome) {
        let events = request.events.len() as u64;
        self.events.fetch_add(events, Ordering::Relaxed);
        if outcome.is_acknowledged() {
            self.acknowledged.fetch_add(events, Ordering::Relaxed);
        }
    }
}

/// Shows the counters on standard error until it is dropped: as one moving line on a terminal, else
/// as a line every few seconds, so that a log stays readable.
pub(crate) async fn show(counters: &Counters, total: u64) {
    if std::io::stderr().is_terminal() {
        show_on_terminal(counters, total).await;
    } else {
        show_in_log(counters, total).await;
    }
}

async fn show_on_terminal(counters: &Counters, total: u64) {
    // Cleared when dropped, so that the report stands alone.
    let bar = ClearedBar(ProgressBar::new(total));
    let template = "{bar:32} {human_pos}/{human_len} events, {msg}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.0.set_style(style);
    }
    let start = Instant::now();
    loop {
        let (events, acknowledged) = (counters.events(), counters.acknowledged());
        let rate = events as f64 / start.elapsed().as_secs_f64();
        let refused = events.saturating_sub(acknowledged);
        bar.0.set_position(events);
        bar.0
            .set_message(format!("{rate:.0}/s, {refused} not accepted"));
        tokio::time::sleep(TERMINAL_PERIOD).await;
    }
}

struct ClearedBar(ProgressBar);

impl Drop for ClearedBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn show_in_log(counters: &Counters, total: u64) {
    let start = Instant::now();
    loop {
        tokio::time::sleep(LOG_PERIOD).await;
        let (events, acknowledged) = (counters.events(), counters.acknowledged());
        let rate = events as f64 / start.elapsed().as_secs_f64();
        // Nobody reads a standard error that is closed.
        let _ = writeln!(
            std::io::stderr(),
            "{events} of {total} events sent, {acknowledged} acknowledged, {rate:.0} events/s"
        );
    }
}
