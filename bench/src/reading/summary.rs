//! What was found, as a table of Markdown. Pure.

use serde::Serialize;

use crate::indexes::Cost;
use crate::measure::Finding;

/// What was asked about, and what it takes on disk.
#[derive(Debug, Serialize)]
pub(crate) struct Subject {
    pub(crate) events: i64,
    pub(crate) days: u16,
    pub(crate) users: i32,
    /// What the partitions are indexed by, as spec.indexes asks for it.
    pub(crate) indexes: Vec<&'static str>,
    /// Whether the relations have tables of their own.
    pub(crate) is_materialized: bool,
    /// Settings of the server, as they were given.
    pub(crate) settings: Vec<(String, String)>,
    /// Of an event with its indexes: all columns and the event as it was sent.
    pub(crate) bytes_per_event: f64,
    /// Of an event in these tables.
    pub(crate) materialized_bytes_per_event: f64,
    /// Of an event in the typed tables with their indexes.
    pub(crate) typed_bytes_per_event: f64,
    /// The machine's load average before anything was asked.
    pub(crate) load_average: f64,
    /// Huge pages that the machine sets aside; a server takes them where they hold its shared buffers.
    pub(crate) huge_pages: u64,
}

/// A line for each question.
pub(crate) fn table(subject: &Subject, findings: &[Finding]) -> String {
    let mut lines = vec![
        "| Query | Relations | Typed tables | Ratio | Partitions |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(findings.iter().map(|finding| {
        let (ours, typed) = (finding.relations(), finding.typed());
        format!(
            "| {} | {ours:.1} ms | {typed:.1} ms | {:.2} | {} |",
            finding.query,
            ours / typed,
            finding.partitions
        )
    }));
    lines.push(format!(
        "\n{} events of {} days; {:.0} bytes for each event, {:.0} more in tables of the relations, \
         {:.0} in the typed tables",
        subject.events,
        subject.days,
        subject.bytes_per_event,
        subject.materialized_bytes_per_event,
        subject.typed_bytes_per_event
    ));
    lines.join("\n")
}

/// A line for each index.
pub(crate) fn costs(costs: &[Cost]) -> String {
    let mut lines = vec![
        "\n| Index | µs a row | WAL a row | Disk a row, all indexes |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    lines.extend(costs.iter().map(|cost| {
        format!(
            "| {} | {:.1} | {:.0} B | {:.0} B |",
            cost.index, cost.microseconds, cost.wal_bytes, cost.index_bytes
        )
    }));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_medians() {
        let finding = Finding {
            query: "one user".to_owned(),
            rows: 1,
            relations_ms: vec![9.0, 3.0, 4.0],
            typed_ms: vec![2.0, 2.0, 1.0],
            partitions: 1,
            is_of_one_day: false,
        };
        let subject = Subject {
            events: 1_000,
            days: 2,
            users: 10,
            indexes: Vec::new(),
            is_materialized: false,
            settings: Vec::new(),
            bytes_per_event: 1_999.9,
            materialized_bytes_per_event: 0.0,
            typed_bytes_per_event: 700.0,
            load_average: 0.0,
            huge_pages: 0,
        };
        let table = table(&subject, &[finding]);
        assert!(
            table.contains("| one user | 4.0 ms | 2.0 ms | 2.00 | 1 |"),
            "{table}"
        );
        assert!(
            table.contains("2000 bytes for each event, 0 more"),
            "{table}"
        );
    }
}
