//! What `trunkline dev` prints: lines for people, or one JSON object a line for programs.

use std::io::{self, Write};

use serde_json::{Value, json};
use trunkline_operator::Problems;
use trunkline_operator::validate::Validated;

use crate::send::{OutputFormat, Report};

/// Prints events of a session. A closed standard output is not worth stopping for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    format: OutputFormat,
}

impl Output {
    pub(super) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// One event: an object for programs, a text for people.
    fn event(self, object: &Value, text: &str) {
        let mut out = io::stdout().lock();
        let _ = match self.format {
            OutputFormat::Json => writeln!(out, "{object}"),
            OutputFormat::Text => writeln!(out, "{text}"),
        };
        let _ = out.flush();
    }

    pub(super) fn database(self, url: &str, choice: &str) {
        self.event(
            &json!({"event": "database", "url": url, "choice": choice}),
            &format!("database  {choice}\n          psql '{url}'"),
        );
    }

    pub(super) fn ready(self, source: &str, url: &str, relation: &str) {
        self.event(
            &json!({"event": "ready", "source": source, "url": url, "relation": relation}),
            &format!("ready     {source}\n          POST {url}\n          → {relation}"),
        );
    }

    pub(super) fn removed(self, source: &str) {
        self.event(
            &json!({"event": "removed", "source": source}),
            &format!("removed   {source}: its path answers 404, its rows stay"),
        );
    }

    pub(super) fn unavailable(self, source: &str, reason: &str) {
        self.event(
            &json!({"event": "unavailable", "source": source, "reason": reason}),
            &format!("503       {source}: {reason}"),
        );
    }

    fn invalid(self, problem: &str) {
        self.event(
            &json!({"event": "invalid", "message": problem}),
            &format!("invalid   {problem}\n          the last good stays in use"),
        );
    }

    pub(super) fn warning(self, message: &str) {
        self.event(
            &json!({"event": "warning", "message": message}),
            &format!("warning   {message}"),
        );
    }

    /// What is wrong with manifests whose last good form stays in use.
    pub(super) fn problems(self, problems: &Problems) {
        for problem in &problems.0 {
            self.invalid(&problem.to_string());
        }
    }

    /// What is odd about sources that are valid.
    pub(super) fn oddities(self, validated: &Validated) {
        for source in validated.valid() {
            let problems = source.warnings.iter().chain(&source.view_problems);
            for problem in problems.chain(&source.warehouse_problems) {
                self.warning(&problem.to_string());
            }
        }
    }

    /// The report of one half of `--send`.
    pub(super) fn sent(self, report: &Report) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.format == OutputFormat::Text {
            report.print(self.format, &mut out)?;
        } else {
            let mut object = serde_json::to_value(report)?;
            object["event"] = "sent".into();
            writeln!(out, "{object}")?;
        }
        Ok(())
    }

    pub(super) fn counted(self, relation: &str, counts: &[(String, i64)]) {
        let object: serde_json::Map<String, Value> = counts
            .iter()
            .map(|(kind, count)| (kind.clone(), (*count).into()))
            .collect();
        let mut text = relation.to_owned();
        for (kind, count) in counts {
            text.push_str(&format!("\n  {kind:<10} {count:>8}"));
        }
        self.event(
            &json!({"event": "counted", "relation": relation, "types": object}),
            &text,
        );
    }

    /// The relations for analysts in a schema, with the number of their rows.
    pub(super) fn relations(self, schema: &str, counts: &[(String, i64)]) {
        let object: serde_json::Map<String, Value> = counts
            .iter()
            .map(|(relation, count)| (relation.clone(), (*count).into()))
            .collect();
        let mut text = format!("relations in {schema}");
        for (relation, count) in counts {
            text.push_str(&format!("\n  {relation:<30} {count:>8}"));
        }
        self.event(
            &json!({"event": "relations", "schema": schema, "relations": object}),
            &text,
        );
    }

    /// What goes on, for people only, on standard error.
    pub(super) fn progress(self, text: &str) {
        if self.format == OutputFormat::Text {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}
