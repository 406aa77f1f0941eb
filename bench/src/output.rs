//! What the benchmarks write: a file of findings, and lines for whoever watches.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Creates the file that was asked for, or one in the folder of results whose name begins with
/// `prefix` and sorts by time.
///
/// # Errors
/// When the folder or the file cannot be made.
pub fn create(asked: Option<PathBuf>, prefix: &str) -> anyhow::Result<(File, PathBuf)> {
    let path = asked.map_or_else(|| default_path(prefix), Ok)?;
    let file = File::create(&path)
        .with_context(|| format!("creating {}; choose another with --out", path.display()))?;
    Ok((file, path))
}

fn default_path(prefix: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&folder)?;
    let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H-%M-%S");
    Ok(folder.join(format!("{prefix}{now}.jsonl")))
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "the programs' output")]
pub fn say(text: &str) {
    println!("{text}");
}
