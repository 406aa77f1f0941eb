//! Reads the configuration directory, and tells whether it has changed.
//!
//! In Kubernetes each file is a symbolic link to `..data/FILE`, and `..data` one to a directory
//! with a time in its name, so that replacing that one link replaces all files at once. The links
//! of files that are new or gone follow a moment later, so the directory behind `..data` is read
//! itself: through the links a new configuration could be seen without one of its files, and the
//! sources of that file would be unknown paths. A plain directory of files works as well.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use trunkline_model::document::Files;

/// The link that Kubernetes replaces.
const DATA_LINK: &str = "..data";

/// A file that was modified less than this ago may be written again within the same tick of the
/// file system's clock, and so change without a trace in its [`FileStamp`].
const CLOCK_DOUBT: Duration = Duration::from_secs(1);

/// Changes when the directory's content does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    data_link: Option<PathBuf>,
    files: Vec<FileStamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FileStamp {
    name: String,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Fingerprint {
    /// Looks at the directory without reading its files.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let data_link = fs::read_link(directory.join(DATA_LINK)).ok();
        let folder = folder(directory, data_link.as_deref());
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if !is_configuration(&name) {
                continue;
            }
            // Follows links, which a plain directory may hold.
            let metadata = fs::metadata(folder.join(&name))?;
            if metadata.is_file() {
                let modified = metadata.modified().ok();
                files.push(FileStamp {
                    name,
                    bytes: metadata.len(),
                    modified,
                });
            }
        }
        files.sort();
        Ok(Self { data_link, files })
    }

    /// Reads the files.
    pub(super) fn read(&self, directory: &Path) -> io::Result<Files> {
        let folder = folder(directory, self.data_link.as_deref());
        let read = |file: &FileStamp| {
            fs::read(folder.join(&file.name)).map(|bytes| (file.name.clone(), bytes))
        };
        self.files.iter().map(read).collect()
    }

    /// Whether a change that this does not show is ruled out.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        self.files
            .iter()
            .filter_map(|file| file.modified)
            .all(|modified| {
                now.duration_since(modified)
                    .is_ok_and(|age| age > CLOCK_DOUBT)
            })
    }
}

/// Where the files are.
fn folder(directory: &Path, data_link: Option<&Path>) -> PathBuf {
    data_link.map_or_else(|| directory.to_owned(), |link| directory.join(link))
}

/// Names that begin with `..` are Kubernetes' own.
fn is_configuration(name: &str) -> bool {
    !name.starts_with("..") && (name.ends_with(".json") || name.ends_with(".json.gz"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let fingerprint = Fingerprint::of(directory).unwrap();
        fingerprint.read(directory).unwrap().into_keys().collect()
    }

    #[test]
    fn only_json_files_count_and_links_are_followed() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("elsewhere"), "1").unwrap();
        symlink("elsewhere", home.path().join("a.json")).unwrap();
        fs::write(home.path().join("b.json.gz"), "2").unwrap();
        fs::write(home.path().join("c.yaml"), "3").unwrap();
        fs::create_dir(home.path().join("d.json")).unwrap();
        assert_eq!(names(home.path()), ["a.json", "b.json.gz"]);
    }

    #[test]
    fn a_new_file_is_seen_with_the_swap_and_before_it_has_a_link_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        for (version, files) in [
            ("..1", &["a.json", "old.json"][..]),
            ("..2", &["a.json", "b.json"]),
        ] {
            fs::create_dir(home.path().join(version)).unwrap();
            for file in files {
                fs::write(home.path().join(version).join(file), "1").unwrap();
            }
        }
        symlink("..data/a.json", home.path().join("a.json")).unwrap();
        symlink("..data/old.json", home.path().join("old.json")).unwrap();
        symlink("..2", home.path().join(DATA_LINK)).unwrap();
        assert_eq!(names(home.path()), ["a.json", "b.json"]);
    }

    #[test]
    fn a_swap_of_the_data_link_changes_the_fingerprint() {
        let home = tempfile::tempdir().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for version in ["..1", "..2"] {
            fs::create_dir(home.path().join(version)).unwrap();
            let file = fs::File::create(home.path().join(version).join("a.json")).unwrap();
            file.set_modified(time).unwrap();
        }
        symlink("..1", home.path().join(DATA_LINK)).unwrap();
        symlink("..data/a.json", home.path().join("a.json")).unwrap();
        let before = Fingerprint::of(home.path()).unwrap();
        assert_eq!(before, Fingerprint::of(home.path()).unwrap());
        symlink("..2", home.path().join("..data_tmp")).unwrap();
        fs::rename(home.path().join("..data_tmp"), home.path().join(DATA_LINK)).unwrap();
        assert_ne!(before, Fingerprint::of(home.path()).unwrap());
    }

    #[test]
    fn a_file_modified_a_moment_ago_is_not_settled() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a.json"), "1").unwrap();
        let fingerprint = Fingerprint::of(home.path()).unwrap();
        assert!(!fingerprint.is_settled(SystemTime::now()));
        assert!(fingerprint.is_settled(SystemTime::now() + Duration::from_secs(9)));
    }
}
