//! The binaries under test, built as the tests were built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of a binary of the workspace. The first call builds all of them, because cargo builds
/// binaries by itself only for tests of the same package.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    // target/<profile>/deps/<test>
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().to_owned();
    let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The tests' own package is named as well: with it, dependencies have the features that they
    // were built with for the tests, and are not built again.
    let mut command = Command::new(cargo);
    // What cargo tells the test about its own package, and build scripts of dependencies read: they
    // would run again, and all that depends on them be built again, here and by the next `cargo`.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    let status = command
        .args(["build", "--quiet", "--bins", "--profile", profile])
        .args([
            "-p",
            "trunkline-tests",
            "-p",
            "trunkline-ingester",
            "-p",
            "trunkline-cli",
        ])
        .arg("--target-dir")
        .arg(folder.parent().unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success(), "the binaries do not build");
    folder
}
