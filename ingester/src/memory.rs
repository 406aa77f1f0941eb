//! The memory that this process may use, as its control groups say.
//!
//! A container's limit may be another than the one that its WebhookCluster names: a namespace's
//! LimitRange, a sidecar's tool, somebody who runs the program by hand. The kernel ends a process by
//! its real limit.

use std::fs;
use std::path::{Component, Path, PathBuf};

use trunkline_model::limits::bytes_in_flight;

/// Numbers from here on are version 1's way of saying that there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The lowest limit of the process's own group and those above it, in bytes; none where there is
/// none or it cannot be read.
pub(crate) fn limit() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/self").join(name)).ok();
    let groups = groups(&read("cgroup")?, &read("mountinfo")?);
    groups.iter().filter_map(Group::limit).min()
}

/// The bytes that requests may hold, and what has set that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) bytes: usize,
    /// `configuration` or `memory`.
    pub(crate) set_by: &'static str,
}

impl InFlight {
    /// What is configured, or less where the memory has no room for it.
    pub(crate) fn new(configured: usize, memory: Option<u64>) -> Self {
        let room = memory.map_or(u64::MAX, bytes_in_flight);
        match usize::try_from(room) {
            Ok(room) if room < configured => Self {
                bytes: room,
                set_by: "memory",
            },
            _ => Self {
                bytes: configured,
                set_by: "configuration",
            },
        }
    }
}

/// A group of a hierarchy that bounds memory.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The process's group, below it.
    folder: PathBuf,
    /// The file that has the limit.
    file: &'static str,
}

impl Group {
    fn limit(&self) -> Option<u64> {
        self.folder
            .ancestors()
            .take_while(|folder| folder.starts_with(&self.mount))
            .filter_map(|folder| fs::read_to_string(folder.join(self.file)).ok())
            // Version 2 writes `max` where there is none.
            .filter_map(|text| text.trim().parse().ok())
            .filter(|&bytes| bytes < NO_LIMIT)
            .min()
    }
}

/// The groups that a process is in, by its `cgroup` (cgroups(7)) and its `mountinfo`
/// (proc_pid_mountinfo(5)).
fn groups(cgroup: &str, mountinfo: &str) -> Vec<Group> {
    mountinfo
        .lines()
        .filter_map(|line| group(cgroup, line))
        .collect()
}

fn group(cgroup: &str, mount: &str) -> Option<Group> {
    let (mount, file_system) = mount.split_once(" - ")?;
    let mut file_system = file_system.split(' ');
    let (kind, options) = (file_system.next()?, file_system.nth(1)?);
    let (controller, file) = match kind {
        "cgroup2" => ("", "memory.max"),
        "cgroup" if options.split(',').any(|option| option == "memory") => {
            ("memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let own = cgroup.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let is_there = controllers.split(',').any(|name| name == controller);
        is_there.then_some(path)
    })?;
    let mut mount = mount.split(' ').skip(3);
    let (root, mount) = (mount.next()?, PathBuf::from(mount.next()?));
    // Without a namespace of its own, a container sees the host's path, of which its mount is a part.
    // A process outside of the mount's part is bounded by what can be seen of it.
    let below = Path::new(own).strip_prefix(root).unwrap_or(Path::new(""));
    let is_plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let folder = if is_plain {
        mount.join(below)
    } else {
        mount.clone()
    };
    Some(Group {
        mount,
        folder,
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(cgroup: &str, mountinfo: &str) -> Vec<String> {
        groups(cgroup, mountinfo)
            .iter()
            .map(|group| group.folder.join(group.file).display().to_string())
            .collect()
    }

    #[test]
    fn a_process_finds_its_group_in_either_version() {
        let unified = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(
            folders("0::/system.slice/ingester.service\n", unified),
            ["/sys/fs/cgroup/system.slice/ingester.service/memory.max"]
        );
        assert_eq!(folders("0::/\n", unified), ["/sys/fs/cgroup/memory.max"]);
        // Moved out of its namespace.
        assert_eq!(
            folders("0::/../x\n", unified),
            ["/sys/fs/cgroup/memory.max"]
        );
        let first = "40 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                     41 31 0:34 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                     42 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(
            folders("4:memory:/a/b\n1:cpu,cpuacct:/c\n0::/\n", first),
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/unified/memory.max"
            ]
        );
        let of_a_container =
            "40 31 0:33 /kubepods/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        for (own, below) in [("/kubepods/x", ""), ("/kubepods/x/y", "y/"), ("/other", "")] {
            assert_eq!(
                folders(&format!("4:memory:{own}\n"), of_a_container),
                [format!(
                    "/sys/fs/cgroup/memory/{below}memory.limit_in_bytes"
                )]
            );
        }
        assert!(folders("", "").is_empty());
        assert!(folders("nonsense", "nonsense - cgroup2").is_empty());
    }

    #[test]
    fn the_smaller_of_the_two_bounds_what_is_in_flight() {
        for (memory, bytes, set_by) in [
            (None, 1 << 20, "configuration"),
            (Some(7 << 20), 1 << 20, "configuration"),
            (Some(7 << 10), 4 << 10, "memory"),
        ] {
            assert_eq!(InFlight::new(1 << 20, memory), InFlight { bytes, set_by });
        }
    }

    #[test]
    fn the_lowest_limit_up_to_the_mount_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("mount");
        let own = mount.join("pod/container");
        fs::create_dir_all(&own).unwrap();
        let group = Group {
            mount: mount.clone(),
            folder: own.clone(),
            file: "memory.max",
        };
        assert_eq!(group.limit(), None);
        let write = |folder: &Path, text: &str| fs::write(folder.join("memory.max"), text).unwrap();
        write(&own, "max\n");
        write(folder.path(), "1\n");
        assert_eq!(group.limit(), None);
        write(&mount.join("pod"), "167772160\n");
        write(&mount, "9223372036854771712\n");
        assert_eq!(group.limit(), Some(167_772_160));
        write(&own, "1048576\n");
        assert_eq!(group.limit(), Some(1_048_576));
    }
}
