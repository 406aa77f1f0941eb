//! [`SmallDisk`]: a file system that can be full, and nobody else's is.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::database::Database;
use crate::namespace::{is_inside, run};

/// A file system of a few megabytes in memory. No other process sees that it is mounted, and it
/// goes with the process whatever ends that.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Runs the calling test once more, in a process with mounts of its own, and panics when it
    /// fails there. None in the process that was called, which then has nothing left to do.
    ///
    /// `test` is the test's name with its modules.
    #[must_use]
    pub fn mount(test: &str, megabytes: u32) -> Option<Self> {
        if !is_inside("--mount", test) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // For the user that PostgreSQL runs as.
        let options = format!("size={megabytes}m,mode=0755");
        let place = folder.path().to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", place]);
        Some(Self { folder })
    }

    /// Moves a folder of a database's data directory here, and leaves a link in its place.
    pub async fn take(&self, database: &mut Database, name: &str) {
        database.shut_down().await;
        let old = database.server().data_dir().join("cluster").join(name);
        let new = self.folder.path().join(name);
        let (from, to) = (old.to_str().unwrap(), new.to_str().unwrap());
        // With its owner, and across file systems.
        run("cp", &["--archive", from, to]);
        std::fs::remove_dir_all(&old).unwrap();
        symlink(&new, &old).unwrap();
        database.start_again().await;
    }

    /// Takes all the space that is left.
    pub fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 4 << 10] {
            loop {
                match file.write(&vec![1; size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The folder below can then be removed. Whoever still has a file open keeps it.
        run("umount", &["--lazy", self.folder.path().to_str().unwrap()]);
    }
}
