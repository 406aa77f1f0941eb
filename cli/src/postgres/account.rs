//! Who runs the server: ourselves, or an unprivileged user when we are root.
//!
//! PostgreSQL refuses to run as root, so root gives its processes and its folder to another user.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, User, chown, geteuid};

use super::Error;

/// Users that a server of root's may run as: the packages' own, then one that every system has.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];

/// The user of the server's processes and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// We are an ordinary user already.
    Ourselves,
    /// We are root and step down to this user.
    StepDown {
        /// For messages.
        name: String,
        /// Owner of the files and of the processes.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
}

impl Account {
    /// The user for a data directory: its owner when it has one already, so that data made by one
    /// user is never touched as another.
    ///
    /// # Errors
    /// [`Error::OtherOwner`] or [`Error::NoAccount`].
    pub(crate) fn for_directory(directory: &Path) -> Result<Self, Error> {
        let owner = std::fs::metadata(directory)
            .map_err(Error::io(format!("reading {}", directory.display())))?
            .uid();
        if !geteuid().is_root() {
            return if owner == geteuid().as_raw() {
                Ok(Self::Ourselves)
            } else {
                Err(Error::OtherOwner {
                    directory: directory.to_owned(),
                    owner,
                })
            };
        }
        let user = if Uid::from_raw(owner).is_root() {
            UNPRIVILEGED_USERS
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
        } else {
            User::from_uid(Uid::from_raw(owner)).ok().flatten()
        };
        let user = user.ok_or(Error::NoAccount)?;
        Ok(Self::StepDown {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })
    }

    /// Makes a program run as this user. The standard library drops root's supplementary groups
    /// together with its user id.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::StepDown { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a file or folder to this user.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        if let Self::StepDown { name, uid, gid } = self {
            chown(path, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
                .map_err(std::io::Error::from)
                .map_err(Error::io(format!(
                    "giving {} to user `{name}`",
                    path.display()
                )))?;
        }
        Ok(())
    }

    /// Checks that the user may enter every folder on the way to `directory`, which root never
    /// notices by itself.
    ///
    /// # Errors
    /// [`Error::Unreachable`] with the folder that is closed.
    pub(crate) fn check_reachable(&self, directory: &Path) -> Result<(), Error> {
        let Self::StepDown { name, uid, gid } = self else {
            return Ok(());
        };
        for folder in directory.ancestors().skip(1) {
            let metadata = std::fs::metadata(folder)
                .map_err(Error::io(format!("reading {}", folder.display())))?;
            if !may_enter(&metadata, *uid, *gid) {
                return Err(Error::Unreachable {
                    user: name.clone(),
                    closed: folder.to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The execute bit that counts for this user: its own, its group's or everyone's.
fn may_enter(folder: &Metadata, uid: u32, gid: u32) -> bool {
    let bit = if folder.uid() == uid {
        0o100
    } else if folder.gid() == gid {
        0o010
    } else {
        0o001
    };
    folder.mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_closed_parent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::set_permissions(&top, PermissionsExt::from_mode(0o755)).unwrap();
        let closed = top.join("closed");
        let data = closed.join("deep/data");
        std::fs::create_dir_all(&data).unwrap();
        let metadata = std::fs::metadata(&closed).unwrap();
        let stranger = Account::StepDown {
            name: "stranger".to_owned(),
            uid: metadata.uid() + 1,
            gid: metadata.gid() + 1,
        };

        stranger.check_reachable(&data).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        let error = stranger.check_reachable(&data).unwrap_err();
        assert!(matches!(&error, Error::Unreachable { closed: named, .. } if *named == closed));
        assert!(
            error
                .to_string()
                .contains(&format!("chmod o+x {}", closed.display())),
            "{error}"
        );
        Account::Ourselves.check_reachable(&data).unwrap();
    }
}
