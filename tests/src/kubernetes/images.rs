//! Images without a registry: archives made from static binaries, loaded into containerd.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::enclosure::Enclosure;
use super::evidence::target_directory;
use super::node::CONTAINERD;
use super::tools::built;

/// What every pod's sandbox runs.
pub(crate) const PAUSE: &str = "localhost/pause:1";

/// A shell and small tools, for pods that look at the cluster from inside: `/busybox sh -c …`.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// The archives that `make images` has made.
///
/// # Panics
/// When there are none.
#[must_use]
pub(crate) fn project_archives() -> Vec<PathBuf> {
    let folder = target_directory().join("images");
    let archives: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    assert!(
        !archives.is_empty(),
        "{} holds no images; run make images",
        folder.display()
    );
    archives
}

/// The image of one of the project's programs, as the chart's default values name it.
#[must_use]
pub fn project_image(program: &str) -> String {
    format!("ghcr.io/trunkline/{program}:{}", env!("CARGO_PKG_VERSION"))
}

/// The archive of the sandbox's image.
pub(crate) fn pause(folder: &Path) -> PathBuf {
    archive(PAUSE, built("pause"), folder)
}

/// The archive of [`BUSYBOX`].
pub(crate) fn busybox(folder: &Path) -> PathBuf {
    archive(BUSYBOX, Path::new("/bin/busybox"), folder)
}

/// Loads an archive into the node.
pub(crate) fn load(enclosure: &Enclosure, archive: &Path) {
    let archive = archive.to_str().unwrap();
    let namespace = ["--address", CONTAINERD, "--namespace", "k8s.io"];
    enclosure.run(
        "ctr",
        &[&namespace[..], &["images", "import", archive]].concat(),
    );
}

/// Names an image of the node once more.
pub(crate) fn tag(enclosure: &Enclosure, image: &str, other: &str) {
    let namespace = ["--address", CONTAINERD, "--namespace", "k8s.io"];
    enclosure.run(
        "ctr",
        &[&namespace[..], &["images", "tag", "--force", image, other]].concat(),
    );
}

fn archive(image: &str, binary: &Path, folder: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/image-archive");
    let archive = folder
        .join(image.replace(['/', ':'], "-"))
        .with_extension("tar");
    let output = Command::new(script)
        .arg(image)
        .args([binary, &archive])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    archive
}
