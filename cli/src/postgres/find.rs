//! Where this machine keeps the programs of PostgreSQL.
//!
//! Reads folders and asks `postgres --version`; changes nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, OLDEST_MAJOR};

/// Folders that packages install into without putting them on PATH. `*` stands for one version.
///
/// Sources: PGDG's apt and yum layouts, Homebrew's `opt` links, Postgres.app, MacPorts, Alpine and
/// openSUSE packages, Gentoo slots, and the default prefix of a build from source.
const USUAL_FOLDERS: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/opt/local/lib/postgresql*/bin",
    "/usr/local/pgsql/bin",
];

/// The programs of one PostgreSQL: a folder with `initdb` and `postgres`, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    bin_dir: PathBuf,
    major: u32,
}

impl Installation {
    /// The first installation that is new enough: on PATH, then where `pg_config` points, then in
    /// the usual folders, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the install command for this system.
    pub fn find() -> Result<Self, Error> {
        let mut too_old = Vec::new();
        let found = Self::first(candidates(), |found| {
            let enough = found.major >= OLDEST_MAJOR;
            if !enough {
                too_old.push(format!("{} in {}", found.major, found.bin_dir.display()));
            }
            enough
        });
        found.ok_or_else(|| Error::NotFound {
            seen: match too_old.as_slice() {
                [] => String::new(),
                old => format!(" (too old: {})", old.join(", ")),
            },
            install: install_command(std::env::consts::OS, &os_release()).map_or_else(
                || "the package manager".to_owned(),
                |command| format!("`{command}`"),
            ),
        })
    }

    /// The installation in a folder that the caller names.
    ///
    /// # Errors
    /// [`Error::NotABinDir`] when the programs are missing or too old.
    pub fn at(bin_dir: &Path) -> Result<Self, Error> {
        Self::first([bin_dir.to_owned()], |found| found.major >= OLDEST_MAJOR)
            .ok_or_else(|| Error::NotABinDir(bin_dir.to_owned()))
    }

    /// The installation of exactly this major version, for data that it wrote.
    pub(crate) fn find_major(major: u32) -> Option<Self> {
        Self::first(candidates(), |found| found.major == major)
    }

    /// The folder of `initdb` and `postgres`, free of symbolic links.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The major version, such as 15.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    fn first(
        folders: impl IntoIterator<Item = PathBuf>,
        mut wanted: impl FnMut(&Self) -> bool,
    ) -> Option<Self> {
        folders
            .into_iter()
            .filter_map(|folder| Self::examine(&folder))
            .find(|found| wanted(found))
    }

    /// Looks behind a link on PATH, since `postgres` finds its share folder beside its real self.
    fn examine(folder: &Path) -> Option<Self> {
        let postgres = folder.join("postgres").canonicalize().ok()?;
        let bin_dir = postgres.parent()?.to_owned();
        if !bin_dir.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(&postgres).arg("--version").output().ok()?;
        let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { bin_dir, major })
    }
}

/// Every folder worth a look, lazily, so that `pg_config` only runs when PATH had nothing.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    on_path
        .into_iter()
        .chain(std::iter::once_with(pg_config_bindir).flatten())
        .chain(USUAL_FOLDERS.iter().flat_map(|pattern| expand(pattern)))
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(folder.trim_end()))
}

/// The folders that a pattern with at most one `*` names, the highest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let mut found: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?;
            let folder = PathBuf::from(format!("{parent}/{name}{after}"));
            folder.is_dir().then(|| (version_key(version), folder))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// `9.6` before `14` before `17`, which the order of letters gets wrong.
fn version_key(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The major version out of `postgres (PostgreSQL) 15.18 (Debian …)`, `… 17beta1` or `… 18devel`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = version.len()
        - version
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    version[..digits].parse().ok()
}

/// The system's own description, as `os-release(5)` has it; empty where there is none.
fn os_release() -> String {
    ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

/// The command that installs PostgreSQL on the system that an `os-release` file describes.
fn install_command(os: &str, os_release: &str) -> Option<&'static str> {
    if os == "macos" {
        return Some("brew install postgresql@17");
    }
    let field = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or_default()
            .trim_matches('"')
    };
    // The system itself first; ID_LIKE lists its relatives from the closest on.
    let mut names = std::iter::once(field("ID")).chain(field("ID_LIKE").split_whitespace());
    names.find_map(|name| match name {
        "debian" | "ubuntu" => Some("apt-get install postgresql"),
        "fedora" | "rhel" | "centos" => Some("dnf install postgresql-server"),
        "alpine" => Some("apk add postgresql"),
        "arch" => Some("pacman -S postgresql"),
        "suse" | "opensuse" => Some("zypper install postgresql-server"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A folder that looks like an installation of the given version.
    fn fake_installation(bin_dir: &Path, version: &str) {
        std::fs::create_dir_all(bin_dir).unwrap();
        for program in ["postgres", "initdb"] {
            let file = bin_dir.join(program);
            std::fs::write(
                &file,
                format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn the_major_version_is_read_from_every_form_that_postgres_prints() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 17beta1\n", Some(17)),
            ("postgres (PostgreSQL) 18devel\n", Some(18)),
            ("postgres (PostgreSQL) 9.6.24\n", Some(9)),
            ("postgres (EnterpriseDB) x\n", None),
            ("", None),
        ] {
            assert_eq!(parse_major(text), major, "{text:?}");
        }
    }

    #[test]
    fn a_link_on_path_leads_to_the_real_folder() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir
            .path()
            .canonicalize()
            .unwrap()
            .join("lib/postgresql/15/bin");
        fake_installation(&real, "15.4");
        let path_dir = dir.path().join("bin");
        std::fs::create_dir(&path_dir).unwrap();
        symlink(real.join("postgres"), path_dir.join("postgres")).unwrap();
        let found = Installation::at(&path_dir).unwrap();
        assert_eq!((found.bin_dir(), found.major()), (real.as_path(), 15));
    }

    #[test]
    fn the_newest_of_several_versions_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["9.6", "14", "17"] {
            std::fs::create_dir_all(dir.path().join(version).join("bin")).unwrap();
        }
        let pattern = format!("{}/*/bin", dir.path().display());
        let expected: Vec<PathBuf> = ["17", "14", "9.6"]
            .iter()
            .map(|v| dir.path().join(v).join("bin"))
            .collect();
        assert_eq!(expand(&pattern), expected);
    }

    #[test]
    fn an_old_version_and_a_folder_without_initdb_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (old, bare, good) = (
            dir.path().join("old"),
            dir.path().join("bare"),
            dir.path().join("good"),
        );
        fake_installation(&old, "13.9");
        fake_installation(&bare, "16.1");
        std::fs::remove_file(bare.join("initdb")).unwrap();
        fake_installation(&good, "14.0");
        assert!(matches!(Installation::at(&old), Err(Error::NotABinDir(_))));
        let found =
            Installation::first([bare, old, good], |found| found.major >= OLDEST_MAJOR).unwrap();
        assert_eq!(found.major(), 14);
    }

    #[test]
    fn the_install_command_fits_the_system() {
        for (os, os_release, command) in [
            (
                "linux",
                "NAME=x\nID=debian\n",
                Some("apt-get install postgresql"),
            ),
            (
                "linux",
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                Some("apt-get install postgresql"),
            ),
            (
                "linux",
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Some("dnf install postgresql-server"),
            ),
            ("linux", "ID=alpine\n", Some("apk add postgresql")),
            ("linux", "ID=arch\n", Some("pacman -S postgresql")),
            (
                "linux",
                "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n",
                Some("zypper install postgresql-server"),
            ),
            ("macos", "", Some("brew install postgresql@17")),
            ("linux", "", None),
        ] {
            assert_eq!(install_command(os, os_release), command, "{os_release}");
        }
    }
}
