//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::OutputFormat;
use super::tally::Tally;

/// The sum of a run. Its JSON form has these fields under these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Events that were sent.
    pub events: u64,
    /// Requests that carried them.
    pub requests: u64,
    /// Events whose request was answered with 2xx.
    pub acknowledged: u64,
    /// Requests by the status of their answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer within 10 s.
    pub timeouts: u64,
    /// Requests whose connection was refused or broke before an answer.
    pub connection_errors: u64,
    /// What the first answer of each status other than 2xx said.
    pub refusals: BTreeMap<u16, String>,
    /// What the first connection error said.
    pub connection_error: Option<String>,
    /// Seconds from the first request to the last answer.
    pub elapsed_seconds: f64,
    /// Acknowledged events per second.
    pub events_per_second: f64,
    /// Of the requests that were answered; none when no request was.
    pub latency_ms: Option<Latency>,
    /// The seed that sends the same events again.
    pub seed: u64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the answers came within this time.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// All of them.
    pub max: f64,
}

impl Report {
    pub(super) fn new(tally: Tally, elapsed: Duration, seed: u64, interrupted: bool) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            events: tally.events,
            requests: tally.requests,
            acknowledged: tally.acknowledged,
            statuses: tally.statuses,
            timeouts: tally.timeouts,
            connection_errors: tally.connection_errors,
            refusals: tally.refusals,
            connection_error: tally.connection_error,
            elapsed_seconds: seconds,
            events_per_second: if seconds > 0.0 {
                tally.acknowledged as f64 / seconds
            } else {
                0.0
            },
            latency_ms: tally.latencies.as_ref().and_then(Latency::of),
            seed,
            interrupted,
        }
    }

    /// Whether every request was answered with 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.acknowledged == self.events
    }

    /// Writes the report; as JSON it is one line.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn print(&self, format: OutputFormat, out: &mut impl Write) -> io::Result<()> {
        match format {
            OutputFormat::Text => self.print_text(out),
            OutputFormat::Json => {
                serde_json::to_writer(&mut *out, self)?;
                writeln!(out)
            }
        }
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        let line = |out: &mut dyn Write, label: &str, value: &str, note: &str| {
            writeln!(
                out,
                "{}",
                format!("{label:<20}{value:>12}  {note}").trim_end()
            )
        };
        line(
            out,
            "events sent",
            &self.events.to_string(),
            &format!("in {} requests", self.requests),
        )?;
        line(out, "acknowledged", &self.acknowledged.to_string(), "")?;
        for (status, count) in &self.statuses {
            // A refusal's text may have several lines; the table has one.
            let refusal = self
                .refusals
                .get(status)
                .map(|text| text.replace(['\n', '\r'], " "));
            line(
                out,
                &format!("status {status}"),
                &count.to_string(),
                &refusal.unwrap_or_default(),
            )?;
        }
        if self.timeouts > 0 {
            line(out, "timeouts", &self.timeouts.to_string(), "")?;
        }
        if self.connection_errors > 0 {
            let first = self.connection_error.as_deref().unwrap_or_default();
            line(
                out,
                "connection errors",
                &self.connection_errors.to_string(),
                first,
            )?;
        }
        let stopped = if self.interrupted {
            "stopped before the end"
        } else {
            ""
        };
        line(
            out,
            "elapsed",
            &format!("{:.2} s", self.elapsed_seconds),
            stopped,
        )?;
        line(
            out,
            "events/s",
            &format!("{:.0}", self.events_per_second),
            "",
        )?;
        if let Some(latency) = &self.latency_ms {
            for (label, value) in [
                ("latency p50", latency.p50),
                ("latency p90", latency.p90),
                ("latency p99", latency.p99),
                ("latency p99.9", latency.p99_9),
                ("latency max", latency.max),
            ] {
                line(out, label, &format!("{value:.2} ms"), "")?;
            }
        }
        line(out, "seed", &self.seed.to_string(), "")
    }
}

impl Latency {
    fn of(micros: &Histogram<u64>) -> Option<Self> {
        if micros.is_empty() {
            return None;
        }
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let at = |percentile| millis(micros.value_at_percentile(percentile));
        Some(Self {
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            max: millis(micros.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally {
            requests: 4,
            events: 40,
            acknowledged: 20,
            statuses: [(200, 2), (503, 1)].into(),
            refusals: [(503, "try again\nlater".to_owned())].into(),
            connection_errors: 1,
            connection_error: Some("connection refused".to_owned()),
            ..Tally::default()
        };
        for micros in [1_000, 2_000, 3_000] {
            tally.latencies.as_mut().unwrap().record(micros).unwrap();
        }
        Report::new(tally, Duration::from_secs(2), 7, false)
    }

    fn print(format: OutputFormat) -> String {
        let mut out = Vec::new();
        report().print(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_text_is_a_table_with_the_reasons_of_refusals() {
        assert_eq!(
            print(OutputFormat::Text),
            "\
events sent                   40  in 4 requests
acknowledged                  20
status 200                     2
status 503                     1  try again later
connection errors              1  connection refused
elapsed                   2.00 s
events/s                      10
latency p50              2.00 ms
latency p90              3.00 ms
latency p99              3.00 ms
latency p99.9            3.00 ms
latency max              3.00 ms
seed                           7
"
        );
    }

    #[test]
    fn the_json_is_one_line_with_the_documented_names() {
        let text = print(OutputFormat::Json);
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["statuses"]["503"], 1);
        assert_eq!(value["refusals"]["503"], "try again\nlater");
        assert_eq!(value["events_per_second"], 10.0);
        assert!(value["latency_ms"]["p99.9"].as_f64().unwrap() > 2.9);
    }

    #[test]
    fn one_request_without_2xx_is_no_success() {
        assert!(!report().is_success());
        let all = Report {
            acknowledged: 40,
            ..report()
        };
        assert!(all.is_success());
    }
}
