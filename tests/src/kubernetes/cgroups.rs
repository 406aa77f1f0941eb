//! Cgroups of a run's own, under which the kubelet keeps its pods.
//!
//! Two kubelets that share a root would each remove the other's pods as orphans. The janitor removes
//! what is made here.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// What a kubelet needs of the unified hierarchy.
const CONTROLLERS: &str = "+cpuset +cpu +memory +pids";

/// Makes a cgroup in every hierarchy and returns the kubelet's `cgroupRoot`.
///
/// # Panics
/// Where cgroups cannot be made, as in an unprivileged container.
pub(crate) fn make(name: &str) -> String {
    for hierarchy in hierarchies() {
        let cgroup = hierarchy.join(name);
        std::fs::create_dir_all(&cgroup)
            .unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
        if hierarchy == Path::new(ROOT) {
            // Most systems have done so for the first of the two.
            for cgroup in [hierarchy, cgroup] {
                let enabled = std::fs::write(cgroup.join("cgroup.subtree_control"), CONTROLLERS);
                enabled.unwrap_or_else(|error| panic!("{}: {error}", cgroup.display()));
            }
        }
    }
    format!("/{name}")
}

/// The one of version 2, or those of version 1, of which several may be the same under two names.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}
