//! How what has been refused is written.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use trunkline_model::names::quote_literal;

use super::requests;
use super::tally::Rejection;
use crate::events::{RejectionsLost, RejectionsUnwritten};
use crate::instance::Instance;
use crate::scribe::Desk;

/// The refusals that wait.
pub(super) struct RejectionsDesk {
    pub(super) instance: Arc<Instance>,
    /// Says in each row who refused.
    pub(super) name: Option<String>,
}

impl Desk for RejectionsDesk {
    type Note = Rejection;

    /// At most one statement a second.
    const PACE: Duration = Duration::from_secs(1);

    fn wake(&self) -> &Notify {
        &self.instance.events.rejections.wake
    }

    fn next_due(&self) -> Option<Instant> {
        self.instance.events.rejections.tally().next_due()
    }

    fn take(&self, limit: usize) -> Vec<Rejection> {
        let mut tally = self.instance.events.rejections.tally();
        tally.take(limit, Instant::now())
    }

    fn take_all(&self) -> Vec<Rejection> {
        self.instance.events.rejections.tally().take_all()
    }

    fn give_back(&self, rejections: Vec<Rejection>) {
        self.instance
            .events
            .rejections
            .tally()
            .give_back(rejections);
    }

    fn statement(&self, rejections: &[Rejection]) -> String {
        statement(rejections, self.name.as_deref(), Instant::now())
    }

    fn written(&self, rejections: &[Rejection]) {
        let metrics = self.instance.events.metrics();
        metrics.recorded_refusals.inc_by(requests(rejections));
    }

    fn unwritten(&self, reason: &str) {
        RejectionsUnwritten { reason }.emit(&self.instance.events);
    }

    fn lost(&self, rejections: &[Rejection]) {
        let requests = requests(rejections);
        RejectionsLost { requests }.emit(&self.instance.events);
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
