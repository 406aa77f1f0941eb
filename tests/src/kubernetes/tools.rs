//! Where the programs are that the tests' Kubernetes is made of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of a program that `tests/kubernetes/build` has built.
///
/// # Panics
/// When it has not.
#[must_use]
pub fn built(name: &str) -> &'static Path {
    static PATHS: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    PATHS
        .get_or_init(paths)
        .get(name)
        .unwrap_or_else(|| panic!("tests/kubernetes/build knows no {name}"))
}

/// Asks the script that builds them, so that versions and folders are said in one place.
fn paths() -> HashMap<String, PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/build");
    let output = Command::new(script).arg("paths").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .collect()
}
