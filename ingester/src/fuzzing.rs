//! What holds of any input, as functions that panic where it does not: the fuzz targets in `fuzz/`
//! and the test over their seeds call them.
//!
//! Each takes bytes and makes of them what it needs, so that a finding is a file of bytes.

pub use crate::json::fuzzing::{first_element, json, timestamp};
pub use crate::request::fuzzing::{decompress, form, headers, rows};
pub use crate::verify::fuzzing::signature;

/// A target, by the name that its binary and its folder of seeds have.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("json", json),
    ("first_element", first_element),
    ("timestamp", timestamp),
    ("signature", signature),
    ("headers", headers),
    ("decompress", decompress),
    ("form", form),
    ("rows", rows),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn names(files: &[PathBuf]) -> BTreeSet<String> {
        let stem = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
        files.iter().map(stem).collect()
    }

    /// Seeds, and what once was a finding.
    #[test]
    fn seeds_hold_what_is_claimed() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (name, check) in TARGETS {
            let files = files(&seeds.join(name));
            assert!(!files.is_empty(), "no seed of {name}");
            for file in files {
                check(&fs::read(file).unwrap());
            }
        }
    }

    #[test]
    fn every_target_has_a_binary_and_seeds() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&files(&fuzz.join("fuzz_targets"))), targets);
        assert_eq!(names(&files(&fuzz.join("seeds"))), targets);
    }
}
