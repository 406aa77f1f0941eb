//! What a probe came to, for people and for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::send::{Latency, OutputFormat};

/// The account of a probe. Its JSON form has these fields under these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// Where the requests went.
    pub url: String,
    /// Events that were sent, those of the first request included.
    pub sent: u64,
    /// Events whose request was answered with 2xx.
    pub acknowledged: u64,
    /// Requests by the status of their answer.
    pub statuses: BTreeMap<u16, u64>,
    /// What the first answer of each status other than 2xx said.
    pub refusals: BTreeMap<u16, String>,
    /// Requests without an answer: none within 10 s, or the connection was refused or broke.
    pub no_answer: u64,
    /// What the first of them met.
    pub first_failure: Option<String>,
    /// What the database holds; none when it was not asked.
    pub rows: Option<Rows>,
    /// The first request, as large as a body may be; none when it was left out.
    pub first_request: Option<Largest>,
    /// Of the requests of one event that were answered; none when none was.
    pub latency_ms: Option<Latency>,
    /// The longest time without an acknowledgement, in milliseconds.
    pub longest_gap_ms: f64,
    /// Seconds from the first request of one event to the last answer.
    pub elapsed_seconds: f64,
    /// Events that the rate asked for and that were not sent, because answers took too long; 0 for a
    /// probe that was stopped.
    pub unsent: u64,
    /// What the `messageId` of every event begins with.
    pub message_id_prefix: String,
    /// Whether the probe was stopped before its end.
    pub interrupted: bool,
}

/// What the database holds of the events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// The relation that was asked.
    pub relation: String,
    /// Acknowledged events that are there.
    pub found: u64,
    /// Acknowledged events that are not there: lost.
    pub missing: u64,
    /// Events that are there more than once. The probe sends each once, so something repeats
    /// requests on the way.
    pub duplicated: u64,
    /// Events that were there only some time after their acknowledgement. On a primary there is
    /// none: what is acknowledged can be read.
    pub late: u64,
    /// Events that are there without having been acknowledged. A sender sends them again.
    pub unacknowledged: u64,
    /// The `messageId` of some of the missing.
    pub missing_ids: Vec<String>,
    /// Why the rows could not be counted, in which case the numbers are those of a former look.
    pub failure: Option<String>,
}

/// The first request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Largest {
    /// Size of its body.
    pub bytes: usize,
    /// Events in it.
    pub events: usize,
    /// The status of the answer; none when there was none.
    pub status: Option<u16>,
    /// What a refusal said, or why there was no answer.
    pub said: String,
    /// What to do, where it was not taken.
    pub advice: Option<String>,
    /// The time to the answer, in milliseconds.
    pub latency_ms: f64,
}

impl Account {
    /// Whether nothing was refused, left without an answer, or lost.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.sent > 0
            && self.acknowledged == self.sent
            && self
                .rows
                .as_ref()
                .is_none_or(|rows| rows.missing == 0 && rows.failure.is_none())
    }

    /// Writes the account; as JSON it is one line.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn print(&self, format: OutputFormat, out: &mut impl Write) -> io::Result<()> {
        match format {
            OutputFormat::Json => {
                serde_json::to_writer(&mut *out, self)?;
                writeln!(out)
            }
            OutputFormat::Text => self.print_text(out),
        }
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = |label: &str, value: &str, note: &str| {
            // A refusal's text may have several lines; the table has one.
            let note = note.replace(['\n', '\r'], " ");
            writeln!(
                out,
                "{}",
                format!("{label:<20}{value:>12}  {note}").trim_end()
            )
        };
        line("sent", &self.sent.to_string(), &self.url)?;
        line("acknowledged", &self.acknowledged.to_string(), "")?;
        for (status, count) in &self.statuses {
            let said = self.refusals.get(status).map_or("", String::as_str);
            line(&format!("status {status}"), &count.to_string(), said)?;
        }
        let failure = self.first_failure.as_deref().unwrap_or_default();
        line("no answer", &self.no_answer.to_string(), failure)?;
        match &self.rows {
            None => line("found", "-", "the database was not asked")?,
            Some(rows) => {
                line("found", &rows.found.to_string(), &rows.relation)?;
                line(
                    "missing",
                    &rows.missing.to_string(),
                    &rows.missing_ids.join(" "),
                )?;
                line("duplicated", &rows.duplicated.to_string(), "")?;
                if rows.late > 0 {
                    line(
                        "late",
                        &rows.late.to_string(),
                        "not there at the first look",
                    )?;
                }
                if rows.unacknowledged > 0 {
                    let note = "there without an acknowledgement";
                    line("unacknowledged", &rows.unacknowledged.to_string(), note)?;
                }
                if let Some(failure) = &rows.failure {
                    line("not counted", "", failure)?;
                }
            }
        }
        if let Some(first) = &self.first_request {
            let status = first
                .status
                .map_or("no answer".to_owned(), |status| status.to_string());
            let size = format!("{} bytes in {:.0} ms", first.bytes, first.latency_ms);
            line("first request", &status, &size)?;
            if let Some(advice) = &first.advice {
                line("", "", &format!("{}: {advice}", first.said))?;
            }
        }
        if let Some(latency) = &self.latency_ms {
            for (label, value) in [
                ("latency p50", latency.p50),
                ("latency p99", latency.p99),
                ("latency max", latency.max),
            ] {
                line(label, &format!("{value:.2} ms"), "")?;
            }
        }
        line(
            "longest gap",
            &format!("{:.0} ms", self.longest_gap_ms),
            "between acknowledgements",
        )?;
        let stopped = if self.interrupted {
            "stopped before the end"
        } else {
            ""
        };
        line(
            "elapsed",
            &format!("{:.2} s", self.elapsed_seconds),
            stopped,
        )?;
        if self.unsent > 0 {
            let note = "answers took too long for the rate; raise --concurrency or lower --rate";
            line("not sent", &self.unsent.to_string(), note)?;
        }
        line("messageId", "", &format!("{}…", self.message_id_prefix))?;
        let verdict = if self.is_success() {
            "nothing refused, nothing lost"
        } else {
            "NOT everything was taken and kept"
        };
        writeln!(out, "{verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            url: "http://h/x".to_owned(),
            sent: 40,
            acknowledged: 40,
            statuses: [(200, 40)].into(),
            refusals: BTreeMap::new(),
            no_answer: 0,
            first_failure: None,
            rows: Some(Rows {
                relation: "segment.events".to_owned(),
                found: 40,
                ..Rows::default()
            }),
            first_request: None,
            latency_ms: None,
            longest_gap_ms: 7.4,
            elapsed_seconds: 2.0,
            unsent: 0,
            message_id_prefix: "01234567-0123-4123".to_owned(),
            interrupted: false,
        }
    }

    fn text(account: &Account) -> String {
        let mut out = Vec::new();
        account.print(OutputFormat::Text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_text_is_a_table_with_a_verdict() {
        assert_eq!(
            text(&account()),
            "\
sent                          40  http://h/x
acknowledged                  40
status 200                    40
no answer                      0
found                         40  segment.events
missing                        0
duplicated                     0
longest gap                 7 ms  between acknowledgements
elapsed                   2.00 s
messageId                         01234567-0123-4123…
nothing refused, nothing lost
"
        );
    }

    #[test]
    fn one_event_that_is_refused_unanswered_lost_or_unknown_is_no_success() {
        assert!(account().is_success());
        let rows = |change: fn(&mut Rows)| {
            let mut account = account();
            change(account.rows.as_mut().unwrap());
            account
        };
        let repeated = rows(|rows| (rows.duplicated, rows.unacknowledged) = (3, 2));
        assert!(repeated.is_success());
        let failed = [
            Account {
                acknowledged: 39,
                ..account()
            },
            Account {
                sent: 0,
                acknowledged: 0,
                ..account()
            },
            rows(|rows| rows.missing = 1),
            rows(|rows| rows.failure = Some("gone".to_owned())),
        ];
        for account in failed {
            assert!(!account.is_success() && text(&account).contains("NOT everything"));
        }
    }

    #[test]
    fn the_json_is_one_line_with_the_documented_names() {
        let mut out = Vec::new();
        account().print(OutputFormat::Json, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["rows"]["found"], 40);
        assert_eq!(value["statuses"]["200"], 40);
    }
}
