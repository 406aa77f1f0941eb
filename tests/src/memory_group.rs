//! [`MemoryGroup`]: a control group with a memory limit, as a container has one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

/// A control group of its own. Dropping it removes it, once its processes have ended.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    is_unified: bool,
}

impl MemoryGroup {
    /// A group whose processes are ended when they hold more than `bytes`.
    ///
    /// # Panics
    /// Where control groups cannot be made, as in an unprivileged container.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-memory-{}-{number}", std::process::id());
        let root = Path::new(ROOT);
        let is_unified = root.join("cgroup.controllers").exists();
        let folder = if is_unified {
            write(&root.join("cgroup.subtree_control"), "+memory");
            root.join(name)
        } else {
            root.join("memory").join(name)
        };
        std::fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let group = Self { folder, is_unified };
        if is_unified {
            write(&group.folder.join("memory.max"), &bytes.to_string());
            // Absent where the kernel does not account swap.
            let _ = std::fs::write(group.folder.join("memory.swap.max"), "0");
        } else {
            write(
                &group.folder.join("memory.limit_in_bytes"),
                &bytes.to_string(),
            );
        }
        group
    }

    /// Where the kernel shows it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many of its processes were ended for their memory.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let file = if self.is_unified {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.expect(file).trim().parse().unwrap()
    }

    /// The most that it has held, page cache included, in bytes; 0 where the kernel does not tell.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let file = if self.is_unified {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A process leaves its group a moment after it has ended.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
