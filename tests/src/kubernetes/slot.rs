//! [`Slot`]: what one run has to itself on a machine where several run at once.
//!
//! Invariant: two slots that are held at the same time share no address, no folder and no cgroup,
//! since all of these are made from the slot's number.

use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// How many runs fit on a machine: as many as there are /20 networks in 198.18.0.0/15.
const SLOTS: u8 = 32;

/// A number that nobody else on this machine holds, and a folder.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u8,
    directory: PathBuf,
    lock: File,
}

impl Slot {
    /// Takes the first number that is free and empties its folder.
    ///
    /// # Panics
    /// When all are taken.
    pub(crate) fn claim() -> Self {
        // By user, since another user's folders are closed to us.
        let parent = std::env::temp_dir().join(format!("trunkline-kubernetes-{}", geteuid()));
        std::fs::create_dir_all(&parent).unwrap();
        let (number, lock) = (0..SLOTS)
            .find_map(|number| Some((number, try_lock(&parent.join(format!("{number}.lock")))?)))
            .expect("all slots are taken: stop the other runs");
        let directory = parent.join(number.to_string());
        if directory.exists() {
            std::fs::remove_dir_all(&directory).unwrap();
        }
        std::fs::create_dir(&directory).unwrap();
        Self {
            number,
            directory,
            lock,
        }
    }

    /// The folder of everything that the run writes.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The lock, to be held as well by whoever clears up behind us.
    pub(crate) fn lock(&self) -> File {
        self.lock.try_clone().unwrap()
    }

    /// The name of what the kernel keeps for the run: cgroups and the host's network interface.
    pub(crate) fn name(&self) -> String {
        format!("trunkline-{}", self.number)
    }

    /// An address of the machine's own that nobody else has a reason to listen on.
    pub(crate) fn loopback(&self) -> Ipv4Addr {
        let user = geteuid().as_raw().to_le_bytes()[0];
        Ipv4Addr::new(127, 83, user, self.number + 1)
    }

    /// The first address of a /20 of 198.18.0.0/15, which RFC 2544 sets apart for tests of network
    /// equipment, so that no network that the machine is in uses it.
    pub(crate) fn network(&self) -> Ipv4Addr {
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
        Ipv4Addr::from(first + (u32::from(self.number) << 12))
    }
}

/// The lock on a file, which the system drops with the last process that holds it.
fn try_lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .unwrap();
    file.try_lock().ok().map(|()| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_not_given_again() {
        let (one, other) = (Slot::claim(), Slot::claim());
        assert_ne!(one.name(), other.name());
        assert_ne!(one.network(), other.network());
        assert_ne!(one.loopback(), other.loopback());
        assert_ne!(one.directory(), other.directory());
        // A copy of the lock is the lock.
        let (directory, copy) = (one.directory().to_owned(), one.lock());
        drop(one);
        let third = Slot::claim();
        assert_ne!(third.directory(), directory);
        for directory in [&directory, other.directory(), third.directory()] {
            std::fs::remove_dir(directory).unwrap();
        }
        drop(copy);
    }

    #[test]
    fn networks_stay_in_the_range_for_tests() {
        let last = Slot {
            number: SLOTS - 1,
            directory: PathBuf::new(),
            lock: tempfile::tempfile().unwrap(),
        };
        assert_eq!(last.network(), Ipv4Addr::new(198, 19, 240, 0));
    }
}
