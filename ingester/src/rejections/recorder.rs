//! The task that writes what has been refused.
//!
//! Invariants: at most one statement a second. What could not be written is given back, so that an
//! outage of the database costs its refusals nothing. The connection is closed when nothing has been
//! refused for a while.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use trunkline_model::names::quote_literal;
use trunkline_pgconn::Target;

use super::tally::Rejection;
use super::{Rejections, requests};
use crate::commit::{Reason, Session};
use crate::events::{RejectionsLost, RejectionsUnwritten};
use crate::instance::Instance;

/// Rows of one statement.
const MAX_ROWS: usize = 500;

/// Pause after a statement.
const PACE: Duration = Duration::from_secs(1);

/// Longest pause after a failure; the first is [`PACE`].
const LONGEST_PACE: Duration = Duration::from_secs(30);

/// How long a connection that nothing needs stays open: longer than the pause between two rows of
/// one source.
const IDLE: Duration = Duration::from_secs(90);

/// How long the last rows may take at the end.
const LAST_DEADLINE: Duration = Duration::from_millis(800);

/// The running task. Dropping it ends it where it stands.
#[derive(Debug)]
pub(crate) struct Recorder {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Recorder {
    /// Starts the task. `name` says in each row who refused.
    pub(crate) fn start(instance: Arc<Instance>, name: Option<String>) -> Self {
        let stop = CancellationToken::new();
        let worker = Worker {
            instance,
            taken: Vec::new(),
            way: Way {
                name,
                session: None,
            },
        };
        let task = tokio::spawn(worker.run(stop.clone()));
        Self {
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Writes what waits, within a second, and ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It only fails when the task has panicked, of which the log tells.
        let _ = self.task.await;
    }
}

struct Worker {
    instance: Arc<Instance>,
    /// Taken from the tally and not written yet.
    taken: Vec<Rejection>,
    way: Way,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut pace = PACE;
        loop {
            let written = tokio::select! {
                () = stop.cancelled() => break,
                written = self.write_next() => written,
            };
            pace = match written {
                Ok(()) => PACE,
                Err(reason) => {
                    if pace == PACE {
                        RejectionsUnwritten { reason: &reason }.emit(&self.instance.events);
                    }
                    (pace * 2).min(LONGEST_PACE)
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pace) => {}
            }
        }
        self.write_last().await;
    }

    /// Waits for rows and writes them.
    async fn write_next(&mut self) -> Result<(), Reason> {
        let target = self.wait().await;
        let taken = self.rejections().tally().take(MAX_ROWS, Instant::now());
        self.taken = taken;
        let written = self.way.write(&target, &self.taken).await;
        let taken = std::mem::take(&mut self.taken);
        match written {
            Ok(()) => {
                let metrics = self.instance.events.metrics();
                metrics.recorded_refusals.inc_by(requests(&taken));
            }
            Err(_) => self.rejections().tally().give_back(taken),
        }
        written
    }

    /// Waits until a row may be written and there is a database to write it to.
    async fn wait(&mut self) -> Arc<Target> {
        let instance = Arc::clone(&self.instance);
        let rejections = &instance.events.rejections;
        loop {
            let due = rejections.tally().next_due();
            let until = match due {
                Some(due) if due <= Instant::now() => break,
                Some(due) => due,
                None => Instant::now() + IDLE,
            };
            tokio::select! {
                () = rejections.wake.notified() => {}
                () = sleep_until(until.into()) => if due.is_none() {
                    self.way.close().await;
                }
            }
        }
        let mut target = rejections.target.subscribe();
        let found = match target.wait_for(Option::is_some).await {
            Ok(target) => target.clone(),
            // Its sender lives as long as `rejections`.
            Err(_) => None,
        };
        match found {
            Some(target) => target,
            None => std::future::pending().await,
        }
    }

    async fn write_last(&mut self) {
        let target = self.rejections().target.borrow().clone();
        // A write that the stop has cut short is done again: it may have come to nothing.
        let mut last = std::mem::take(&mut self.taken);
        last.extend(self.rejections().tally().take_all());
        if last.is_empty() {
            return;
        }
        let mut written = 0;
        if let Some(target) = target {
            let write = async {
                for rows in last.chunks(MAX_ROWS) {
                    if self.way.write(&target, rows).await.is_err() {
                        break;
                    }
                    written += requests(rows);
                }
                self.way.close().await;
            };
            // What has not been written by then is lost, and counted.
            let _ = timeout(LAST_DEADLINE, write).await;
        }
        let events = &self.instance.events;
        events.metrics().recorded_refusals.inc_by(written);
        let lost = requests(&last) - written;
        if lost > 0 {
            RejectionsLost { requests: lost }.emit(events);
        }
    }

    fn rejections(&self) -> &Rejections {
        &self.instance.events.rejections
    }
}

/// The way to the database: a session while there is something to write.
struct Way {
    /// Who refused.
    name: Option<String>,
    session: Option<(Arc<Target>, Session)>,
}

impl Way {
    async fn write(&mut self, target: &Arc<Target>, rows: &[Rejection]) -> Result<(), Reason> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut session = match self.session.take() {
            Some((known, session)) if Arc::ptr_eq(&known, target) => session,
            _ => Session::open(target)
                .await
                .map_err(|error| Reason::from(error.reason))?,
        };
        let statement = statement(rows, self.name.as_deref(), Instant::now());
        session.run(&statement).await?;
        // Kept only after it has worked.
        self.session = Some((Arc::clone(target), session));
        Ok(())
    }

    async fn close(&mut self) {
        if let Some((_, session)) = self.session.take() {
            session.close().await;
        }
    }
}

/// Inserts rows in one flight and without waiting for the disk: a crash of the server may take the
/// last second of a log of samples. Ages instead of times, because the clock is the database's.
fn statement(rows: &[Rejection], name: Option<&str>, now: Instant) -> String {
    let mut sql = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off; \
         SET LOCAL statement_timeout = 1500; \
         INSERT INTO trunkline.rejections \
         (occurred_at, first_at, source, status, reason, detail, count, instance) VALUES "
        .to_owned();
    let instance = name.map_or_else(|| "NULL".to_owned(), quote_literal);
    for (index, row) in rows.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let age = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
        let source = match &*row.labels.source {
            "" => "NULL".to_owned(),
            source => quote_literal(source),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            sql,
            "{separator}(now() - {last:.3} * interval '1 second', \
             now() - {first:.3} * interval '1 second', {source}, {status}, {reason}, {detail}, \
             {count}, {instance})",
            last = age(row.last),
            first = age(row.first),
            status = row.status,
            reason = quote_literal(row.labels.reason),
            detail = quote_literal(&row.detail),
            count = row.count,
        );
    }
    sql.push_str("; COMMIT");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RefusalLabels;

    #[test]
    fn values_are_quoted_and_times_are_ages() {
        let now = Instant::now();
        let row = |source: &str, detail: &str| Rejection {
            labels: RefusalLabels {
                source: source.into(),
                reason: "source_unavailable",
            },
            status: 503,
            detail: detail.to_owned(),
            count: 7,
            first: now,
            last: now,
        };
        let rows = [row("", "it's \\ here"), row("a/b", "why")];
        let sql = statement(&rows, Some("pod-1"), now + Duration::from_millis(1_500));
        let (_, values) = sql.split_once("VALUES ").unwrap();
        let when = "now() - 1.500 * interval '1 second'";
        assert_eq!(
            values,
            format!(
                "({when}, {when}, NULL, 503, 'source_unavailable', E'it''s \\\\ here', 7, 'pod-1'), \
                 ({when}, {when}, 'a/b', 503, 'source_unavailable', 'why', 7, 'pod-1'); COMMIT"
            )
        );
    }
}
