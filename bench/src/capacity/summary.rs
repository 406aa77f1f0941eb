//! What was found, as a table of Markdown.

use serde::Serialize;
use trunkline_bench::figures::median;
use trunkline_warehouse::Storage;

use crate::backup::Backup;
use crate::layout::{Ddl, Layout};
use crate::load::Run;

/// All that was found of one database.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    storage: &'static str,
    sources: usize,
    partitions_of_a_bucket: u16,
    pub(crate) ddl: Ddl,
    pub(crate) runs: Vec<Run>,
    pub(crate) backup: Option<Backup>,
    pub(crate) backup_with_more_locks: Option<Backup>,
}

impl Findings {
    pub(crate) fn new(layout: &Layout, ddl: Ddl) -> Self {
        Self {
            storage: match layout.storage {
                Storage::Dedicated => "Dedicated",
                Storage::Shared => "Shared",
            },
            sources: layout.sources.len(),
            partitions_of_a_bucket: layout.partitions,
            ddl,
            runs: Vec::new(),
            backup: None,
            backup_with_more_locks: None,
        }
    }

    fn median(&self, value: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(value))
    }
}

/// One line for each database.
pub(crate) fn table(findings: &[Findings]) -> String {
    let mut lines = vec![
        "| Sources | `storage` | Rows/s | µs of CPU a row | Slowest first commit | Memory of a \
         connection | Made in | One more | A look | Next partitions | `pg_dump` | with more locks |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(findings.iter().map(|found| {
        let backup = |backup: &Option<Backup>| {
            backup
                .as_ref()
                .map_or_else(String::new, ToString::to_string)
        };
        let Ddl {
            all_but_one,
            one_more,
            look,
            next_partitions,
        } = found.ddl;
        format!(
            "| {} | {} | {:.0} | {:.1} | {:.0} ms | {:.1} MB | {all_but_one:.1} s | {one_more:.2} s \
             | {look:.2} s | {next_partitions:.1} s | {} | {} |",
            found.sources,
            found.storage,
            found.median(|run| run.rows_per_second),
            found.median(|run| run.cpu_us_per_row),
            found.median(|run| run.slowest_first_ms),
            found.median(|run| run.memory_kib as f64) / 1024.0,
            backup(&found.backup),
            backup(&found.backup_with_more_locks),
        )
    }));
    lines.join("\n")
}
