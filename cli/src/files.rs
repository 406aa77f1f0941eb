//! Reads the files that `-f` names.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// How standard input is called in messages.
const STANDARD_INPUT: &str = "standard input";

/// A manifest file: its name as given and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads every path: a file as it is, `-` as standard input, a directory's `.yaml`, `.yml` and
/// `.json` files in order of their names, without going deeper (as kubectl does).
pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<ManifestFile>> {
    read_with(paths, || {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context(STANDARD_INPUT)?;
        Ok(text)
    })
}

/// Reads the same paths again. Standard input can be read once, so its text is that of `before`.
pub(crate) fn read_again(
    paths: &[PathBuf],
    before: &[ManifestFile],
) -> anyhow::Result<Vec<ManifestFile>> {
    read_with(paths, || {
        let read = before.iter().find(|file| file.name == STANDARD_INPUT);
        Ok(read.map(|file| file.text.clone()).unwrap_or_default())
    })
}

fn read_with(
    paths: &[PathBuf],
    standard_input: impl Fn() -> anyhow::Result<String>,
) -> anyhow::Result<Vec<ManifestFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(ManifestFile {
                name: STANDARD_INPUT.to_owned(),
                text: standard_input()?,
            });
        } else if path.is_dir() {
            let found = manifests_of(path)?;
            if found.is_empty() {
                anyhow::bail!(
                    "-f {}: the directory has no .yaml, .yml or .json file",
                    path.display()
                );
            }
            for path in found {
                files.push(read_file(&path)?);
            }
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok(files)
}

/// The files as the parser takes them.
pub(crate) fn as_texts(files: &[ManifestFile]) -> impl Iterator<Item = (&str, &str)> {
    files
        .iter()
        .map(|file| (file.name.as_str(), file.text.as_str()))
}

fn read_file(path: &Path) -> anyhow::Result<ManifestFile> {
    let text = fs::read_to_string(path).with_context(|| format!("-f {}", path.display()))?;
    Ok(ManifestFile {
        name: path.display().to_string(),
        text,
    })
}

fn manifests_of(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("-f {}", directory.display()))? {
        let path = entry?.path();
        let wanted = path.extension().is_some_and(|extension| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|wanted| extension == *wanted)
        });
        if wanted && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_manifests_in_order_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "notes.txt"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::create_dir(directory.path().join("d.yaml")).unwrap();
        let files = read(&[directory.path().to_owned()]).unwrap();
        let texts: Vec<_> = files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["a.yml", "b.yaml", "c.json"]);
    }

    #[test]
    fn standard_input_is_not_read_again() {
        let before = [ManifestFile {
            name: STANDARD_INPUT.to_owned(),
            text: "kind: Secret".to_owned(),
        }];
        assert_eq!(read_again(&[PathBuf::from("-")], &before).unwrap(), before);
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let error = read(&[PathBuf::from("nowhere.yaml")]).unwrap_err();
        assert!(format!("{error:#}").contains("nowhere.yaml"), "{error:#}");
    }
}
