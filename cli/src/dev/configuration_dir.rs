//! The ingester's configuration directory, swapped as the kubelet swaps a projected volume.
//!
//! `..data` is a symbolic link to a folder with the files, and each file of the directory a link
//! through it; renaming a new `..data` over the old one changes all files in one step.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use trunkline_model::document::Files;

/// The directory. It holds secrets, so only its owner can enter it, and it goes with this value.
#[derive(Debug)]
pub(crate) struct ConfigurationDir {
    directory: TempDir,
    swaps: u64,
}

impl ConfigurationDir {
    pub(crate) fn create() -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("trunkline-configuration-")
            .tempdir()?;
        Ok(Self {
            directory,
            swaps: 0,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts these files in the place of the ones before.
    pub(crate) fn swap(&mut self, files: &Files) -> io::Result<()> {
        let root = self.directory.path();
        let before = fs::read_link(root.join("..data")).ok();
        self.swaps += 1;
        let version = format!("..{}", self.swaps);
        fs::create_dir(root.join(&version))?;
        for (name, bytes) in files {
            fs::write(root.join(&version).join(name), bytes)?;
        }
        symlink(&version, root.join("..data_tmp"))?;
        fs::rename(root.join("..data_tmp"), root.join("..data"))?;
        for name in files.keys() {
            let link = root.join(name);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(name), link)?;
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(root.join(before))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_changes_every_file_and_leaves_nothing_behind() {
        let mut directory = ConfigurationDir::create().unwrap();
        for text in ["one", "two"] {
            let files = Files::from([("a.json".to_owned(), text.as_bytes().to_vec())]);
            directory.swap(&files).unwrap();
            assert_eq!(
                fs::read_to_string(directory.path().join("a.json")).unwrap(),
                text
            );
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
