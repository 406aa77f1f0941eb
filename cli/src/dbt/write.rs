//! Puts files into a folder.
//!
//! Invariant: nothing is written while one of the files would replace another that differs, unless
//! that was asked for.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::project::ProjectFile;

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Files are there, with another text.
    #[error(
        "nothing is written, since there are other files already: {}; give --force to replace them, \
         --only-sources for models/sources.yml alone, or another --output", list(.0)
    )]
    Differs(Vec<PathBuf>),
    /// A file cannot be read or written.
    #[error("--output: {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// A file that is to be there.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) path: PathBuf,
    text: String,
    /// Whether it is already.
    pub(super) is_there: bool,
}

/// Looks at what there is.
pub(super) fn plan(
    folder: &Path,
    files: Vec<ProjectFile>,
    force: bool,
) -> Result<Vec<Planned>, WriteError> {
    let (mut planned, mut other) = (Vec::new(), Vec::new());
    for ProjectFile { path, text } in files {
        let path = folder.join(path);
        let is_there = match fs::read(&path) {
            Ok(found) if found == text.as_bytes() => true,
            Ok(_) => {
                other.push(path.clone());
                false
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(source) => return Err(WriteError::Io { path, source }),
        };
        planned.push(Planned {
            path,
            text,
            is_there,
        });
    }
    if other.is_empty() || force {
        Ok(planned)
    } else {
        Err(WriteError::Differs(other))
    }
}

/// Writes one, and the folders above it.
pub(super) fn write(planned: &Planned) -> Result<(), WriteError> {
    let Planned { path, text, .. } = planned;
    let make = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)
    };
    make().map_err(|source| WriteError::Io {
        path: path.clone(),
        source,
    })
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<ProjectFile> {
        let file = |path: &'static str| ProjectFile {
            path,
            text: format!("of {path}"),
        };
        vec![file("a.yml"), file("models/b.sql")]
    }

    fn write_all(folder: &Path, force: bool) -> Result<Vec<bool>, WriteError> {
        let planned = plan(folder, files(), force)?;
        for file in planned.iter().filter(|file| !file.is_there) {
            write(file)?;
        }
        Ok(planned.iter().map(|file| file.is_there).collect())
    }

    #[test]
    fn a_file_that_differs_keeps_all_from_being_written_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("new");
        assert_eq!(write_all(&project, false).unwrap(), [false, false]);
        assert_eq!(write_all(&project, false).unwrap(), [true, true]);

        let own = project.join("models/b.sql");
        fs::write(&own, "my own").unwrap();
        fs::remove_file(project.join("a.yml")).unwrap();
        let error = write_all(&project, false).unwrap_err().to_string();
        assert!(
            error.contains("models/b.sql") && error.contains("--force"),
            "{error}"
        );
        assert!(!error.contains("a.yml"), "{error}");
        assert_eq!(fs::read_to_string(&own).unwrap(), "my own");
        assert!(!project.join("a.yml").exists());

        assert_eq!(write_all(&project, true).unwrap(), [false, false]);
        assert_eq!(fs::read_to_string(&own).unwrap(), "of models/b.sql");
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a.yml")).unwrap();
        let error = write_all(folder.path(), true).unwrap_err().to_string();
        assert!(error.contains("a.yml"), "{error}");
    }
}
