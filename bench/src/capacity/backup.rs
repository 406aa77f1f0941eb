//! `pg_dump --schema-only`, which locks every table at once.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use trunkline_cli::postgres::PrivatePostgres;

use crate::layout::Layout;

/// How a dump of the schema went.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Backup {
    /// It took so many seconds.
    Took(f64),
    /// It failed, with the server's last words.
    Failed(String),
}

impl fmt::Display for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Took(seconds) => write!(f, "{seconds:.1} s"),
            Self::Failed(reason) if reason.contains("max_locks_per_transaction") => {
                f.write_str("fails for want of locks")
            }
            Self::Failed(reason) => write!(f, "fails: {reason}"),
        }
    }
}

impl Backup {
    /// Dumps the schema of a database to nowhere.
    pub(crate) fn of(server: &PrivatePostgres, layout: &Layout) -> anyhow::Result<Self> {
        let program = server.installation().bin_dir().join("pg_dump");
        let start = Instant::now();
        let output = Command::new(&program)
            .args(["--schema-only", "--dbname", &layout.url(server)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("running {}", program.display()))?;
        if output.status.success() {
            return Ok(Self::Took(start.elapsed().as_secs_f64()));
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words: Vec<_> = words.lines().take(3).collect();
        Ok(Self::Failed(words.join(" ")))
    }
}
