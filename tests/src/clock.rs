//! [`FakeClock`]: the clock of a database's processes, and of nobody else's.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trunkline_cli::postgres::Installation;

/// A clock that can be set, for a server that runs.
#[derive(Debug)]
pub struct FakeClock {
    folder: TempDir,
}

impl FakeClock {
    /// A clock that is right.
    ///
    /// It is a folder of programs in which `postgres` runs the machine's own under libfaketime.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // For the user that PostgreSQL runs as.
        let open = |path: &Path| std::fs::set_permissions(path, Permissions::from_mode(0o755));
        open(folder.path()).unwrap();
        let real = Installation::find().expect("PostgreSQL");
        let real = real.bin_dir();
        let clock = Self { folder };
        clock.step_to("+0");
        // The library tells the server to wait for as long as it asks to; only what the time is, is
        // another.
        let script = format!(
            "#!/bin/sh\n\
             export LD_PRELOAD='/usr/$LIB/faketime/libfaketime.so.1'\n\
             export FAKETIME_TIMESTAMP_FILE='{}' FAKETIME_CACHE_DURATION=1\n\
             export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1\n\
             exec '{}' \"$@\"\n",
            clock.setting().display(),
            real.join("postgres").display(),
        );
        let postgres = clock.bin_dir().join("postgres");
        std::fs::write(&postgres, script).unwrap();
        open(&postgres).unwrap();
        symlink(real.join("initdb"), clock.bin_dir().join("initdb")).unwrap();
        clock
    }

    /// The folder of the programs.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Sets it to the right time and so much more, such as `+1d` or `-36h`. Processes that run see
    /// it within a second.
    pub fn step_to(&self, offset: &str) {
        // Replaced as a whole, since processes read it at any time.
        let fresh = self.folder.path().join("setting.new");
        std::fs::write(&fresh, format!("{offset}\n")).unwrap();
        std::fs::rename(fresh, self.setting()).unwrap();
    }

    fn setting(&self) -> PathBuf {
        self.folder.path().join("setting")
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}
