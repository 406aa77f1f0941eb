//! One question to both: how long each takes, whether they say the same, and what is read for it.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};
use trunkline_bench::figures::median;

use crate::product::SCHEMA;
use crate::queries::Query;

/// What was found of one question.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) query: String,
    /// Rows of the answer, the same of both.
    pub(crate) rows: usize,
    /// Of the relations, each run in milliseconds.
    pub(crate) relations_ms: Vec<f64>,
    /// Of the typed tables.
    pub(crate) typed_ms: Vec<f64>,
    /// How many partitions the plan reads.
    pub(crate) partitions: usize,
    /// Whether these may only be that of one day and the one before.
    pub(crate) is_of_one_day: bool,
}

impl Finding {
    pub(crate) fn relations(&self) -> f64 {
        median(self.relations_ms.iter().copied())
    }

    pub(crate) fn typed(&self) -> f64 {
        median(self.typed_ms.iter().copied())
    }
}

/// Asks both `runs` times after once to warm up, each time in an order by chance.
pub(crate) async fn ask(
    client: &Client,
    query: &Query,
    runs: usize,
    rng: &mut StdRng,
) -> anyhow::Result<Finding> {
    let name = &query.name;
    let (ours, typed) = (query.of(SCHEMA), query.of("typed"));
    let (_, answer) = timed(client, &ours).await.with_context(|| ours.clone())?;
    let (_, expected) = timed(client, &typed).await.with_context(|| typed.clone())?;
    compare(&answer, &expected).with_context(|| format!("{name}: {ours}"))?;
    let mut finding = Finding {
        query: name.clone(),
        rows: answer.len(),
        relations_ms: Vec::new(),
        typed_ms: Vec::new(),
        partitions: partitions(client, query).await?,
        is_of_one_day: query.only.is_some(),
    };
    for _ in 0..runs {
        let ours_first: bool = rng.random();
        for is_ours in [ours_first, !ours_first] {
            let (sql, times) = if is_ours {
                (&ours, &mut finding.relations_ms)
            } else {
                (&typed, &mut finding.typed_ms)
            };
            times.push(timed(client, sql).await?.0);
        }
    }
    Ok(finding)
}

/// Milliseconds until the answer was there, and its rows in an order of their own.
async fn timed(client: &Client, sql: &str) -> anyhow::Result<(f64, Vec<String>)> {
    let start = Instant::now();
    let messages = client.simple_query(sql).await?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let fields: Vec<_> = (0..row.len())
                .map(|at| row.get(at).unwrap_or("NULL"))
                .collect();
            Some(fields.join(" | "))
        }
        _ => None,
    };
    let mut rows: Vec<_> = messages.iter().filter_map(row).collect();
    rows.sort_unstable();
    Ok((took, rows))
}

/// Fails unless both say the same, and something at all.
fn compare(answer: &[String], expected: &[String]) -> anyhow::Result<()> {
    ensure!(!expected.is_empty(), "there is nothing to find");
    let differing = answer
        .iter()
        .zip(expected)
        .find(|(one, other)| one != other);
    if let Some((one, other)) = differing {
        anyhow::bail!("the relations say {one:?}, the typed tables {other:?}");
    }
    let (ours, theirs) = (answer.len(), expected.len());
    ensure!(
        ours == theirs,
        "{ours} rows of the relations, {theirs} of the typed tables"
    );
    Ok(())
}

/// How many partitions the question reads, of the days that it may read.
async fn partitions(client: &Client, query: &Query) -> anyhow::Result<usize> {
    let sql = format!("EXPLAIN (FORMAT JSON) {}", query.of(SCHEMA));
    let messages = client.simple_query(&sql).await?;
    let plan = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(plan.context("no plan")?)?;
    let mut read = BTreeSet::new();
    tables(&plan, &mut read);
    read.retain(|table| table.starts_with("bucket_") || table.starts_with("materialized_"));
    if let Some(day) = query.only {
        // Names of partitions end with their day.
        let allowed = [day, day.yesterday()?].map(|day| day.strftime("_%Y%m%d").to_string());
        let is_other = |table: &&String| !allowed.iter().any(|day| table.ends_with(day));
        let other = read.iter().find(is_other);
        if let Some(other) = other {
            anyhow::bail!("{}: one day reads {other} too", query.name);
        }
    }
    ensure!(!read.is_empty(), "{}: reads no partition", query.name);
    Ok(read.len())
}

/// Every table that a plan reads.
fn tables(plan: &Value, found: &mut BTreeSet<String>) {
    match plan {
        Value::Object(fields) => {
            if let Some(Value::String(table)) = fields.get("Relation Name") {
                found.insert(table.clone());
            }
            fields.values().for_each(|value| tables(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| tables(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&str]) -> Vec<String> {
        rows.iter().map(|row| (*row).to_owned()).collect()
    }

    #[test]
    fn answers_that_differ_and_answers_of_nothing_are_failures() {
        let says = |answer: &[&str], expected: &[&str]| {
            let result = compare(&rows(answer), &rows(expected));
            result.map_or_else(|error| error.to_string(), |()| String::new())
        };
        assert_eq!(says(&["a | 1"], &["a | 1"]), "");
        assert!(says(&[], &[]).contains("nothing"));
        assert!(says(&["a | 1"], &["a | 2"]).contains("a | 2"));
        assert!(says(&["a | 1"], &["a | 1", "b | 1"]).contains("2 of the typed"));
    }

    #[test]
    fn every_table_of_a_plan_is_found() {
        let plan = serde_json::json!([{"Plan": {"Node Type": "Append", "Plans": [
            {"Relation Name": "bucket_1_20261125"},
            {"Node Type": "Gather", "Plans": [{"Relation Name": "bucket_1_20261126"}]},
        ]}}]);
        let mut found = BTreeSet::new();
        tables(&plan, &mut found);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>().join(" "),
            "bucket_1_20261125 bucket_1_20261126"
        );
    }
}
