//! The folder of a private server: what is in it, whose it is, and that only one process uses it.
//!
//! ```text
//! DIRECTORY/             locked (flock) by the process that uses it
//!   pgpass               port and password, in the format of PGPASSFILE; also our mark
//!   cluster/             PostgreSQL's own data directory, complete as soon as it has this name
//!   cluster.new/         an initdb under way, or one that was interrupted
//!   postgres.log         what the server prints
//! ```
//! Invariant: nothing is written to a folder that is neither empty nor carries our mark.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;
use tempfile::TempDir;

use super::account::Account;
use super::{Error, SUPERUSER};

/// Start of the name of every temporary data directory, so that a leftover is recognised.
const TEMPORARY_PREFIX: &str = "trunkline-postgres-";

/// The file that marks a folder as ours.
const PGPASS: &str = "pgpass";

/// A log larger than this is emptied at the next start; a year of `dev` should not fill a disk.
const LOG_LIMIT_BYTES: u64 = 8 << 20;

/// Lines of the log that an error quotes.
const TAIL_LINES: usize = 12;

/// An opened and locked folder.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    account: Account,
    credentials: Credentials,
    /// Where this start's lines begin in the log.
    log_start: u64,
    temporary: Option<TempDir>,
    _lock: FolderLock,
}

/// What a client needs beside the address, kept across starts.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// The port of the last start, tried again first so that a printed URL stays true; 0 is none.
    pub(crate) port: u16,
    /// The superuser's password.
    pub(crate) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl DataDir {
    /// Opens the caller's folder, created when absent, or a temporary one that is removed at the end.
    ///
    /// # Errors
    /// When the folder is someone else's, in use, or out of reach for the user of the server.
    pub(crate) fn open(wanted: Option<&Path>) -> Result<Self, Error> {
        let (path, temporary) = match wanted {
            Some(path) => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(path)
                    .map_err(Error::io(format!(
                        "creating data directory {}",
                        path.display()
                    )))?;
                (path.to_owned(), None)
            }
            None => {
                let made = tempfile::Builder::new()
                    .prefix(TEMPORARY_PREFIX)
                    .permissions(std::fs::Permissions::from_mode(0o700))
                    .tempdir()
                    .map_err(Error::io("creating a temporary data directory"))?;
                (made.path().to_owned(), Some(made))
            }
        };
        // The server's command line carries this path, and a later run recognises it by that.
        let path = path.canonicalize().map_err(Error::io(format!(
            "opening data directory {}",
            path.display()
        )))?;
        let account = Account::for_directory(&path)?;
        account.check_reachable(&path)?;
        let lock = FolderLock::take(&path)?;
        let pgpass = path.join(PGPASS);
        let credentials = if pgpass.exists() {
            Credentials::read(&pgpass)?
        } else {
            refuse_foreign(&path)?;
            account.own(&path)?;
            let credentials = Credentials {
                port: 0,
                password: new_password(),
            };
            credentials.write(&pgpass, &account)?;
            credentials
        };
        Ok(Self {
            path,
            account,
            credentials,
            log_start: 0,
            temporary,
            _lock: lock,
        })
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// PostgreSQL's data directory inside it.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.path.join("cluster")
    }

    /// Where `initdb` works until the result is complete.
    pub(crate) fn unfinished_cluster(&self) -> PathBuf {
        self.path.join("cluster.new")
    }

    /// Port and password, in the format that `PGPASSFILE` names.
    pub(crate) fn pgpass(&self) -> PathBuf {
        self.path.join(PGPASS)
    }

    /// What the server prints.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    /// The user of its files and of the server.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Password and last port.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The folder to remove at the end, when it is ours alone.
    pub(crate) fn temporary(&self) -> Option<&Path> {
        self.temporary.as_ref().map(TempDir::path)
    }

    /// The major version that wrote the data, or none before the first start.
    pub(crate) fn major(&self) -> Result<Option<u32>, Error> {
        let file = self.cluster().join("PG_VERSION");
        match std::fs::read_to_string(&file) {
            Ok(text) => text
                .trim()
                .parse()
                .map(Some)
                .map_err(|_| Error::DamagedFile(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("reading {}", file.display()))(error)),
        }
    }

    /// Remembers the port for the next start.
    pub(crate) fn remember_port(&mut self, port: u16) -> Result<(), Error> {
        if self.credentials.port != port {
            self.credentials.port = port;
            self.credentials.write(&self.pgpass(), &self.account)?;
        }
        Ok(())
    }

    /// Takes over the password of a copied server.
    pub(crate) fn take_password(&mut self, other: &Self) -> Result<(), Error> {
        self.credentials
            .password
            .clone_from(&other.credentials.password);
        self.credentials.write(&self.pgpass(), &self.account)
    }

    /// Opens the log for one start of the server.
    pub(crate) fn open_log(&mut self) -> Result<File, Error> {
        let path = self.log_path();
        let failed = || Error::io(format!("opening log {}", path.display()));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed())?;
        if file.metadata().map_err(failed())?.len() > LOG_LIMIT_BYTES {
            file.set_len(0).map_err(failed())?;
        }
        self.log_start = file.metadata().map_err(failed())?.len();
        self.account.own(&path)?;
        Ok(file)
    }

    /// The last lines that the server printed since the log was opened.
    pub(crate) fn log_tail(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            // A log that cannot be read costs the quotation, not the error that quotes it.
            let _ = file
                .seek(SeekFrom::Start(self.log_start))
                .and_then(|_| file.read_to_end(&mut text));
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Credentials {
    /// Reads the one line `host:port:database:user:password` that [`Credentials::write`] wrote.
    fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(Error::io(format!("reading {}", path.display())))?;
        let fields: Vec<&str> = text.trim_end().split(':').collect();
        match fields.as_slice() {
            [_, port, _, _, password] if !password.is_empty() => Ok(Self {
                port: port
                    .parse()
                    .map_err(|_| Error::DamagedFile(path.to_owned()))?,
                password: (*password).to_owned(),
            }),
            _ => Err(Error::DamagedFile(path.to_owned())),
        }
    }

    /// Written beside and renamed, so that a killed process leaves the old file or the new one.
    fn write(&self, path: &Path, account: &Account) -> Result<(), Error> {
        let new = path.with_extension("new");
        let line = format!("127.0.0.1:{}:*:{SUPERUSER}:{}\n", self.port, self.password);
        write_private(&new, &line, account)?;
        std::fs::rename(&new, path).map_err(Error::io(format!("writing {}", path.display())))
    }
}

/// Writes a file that its owner alone may read.
pub(crate) fn write_private(path: &Path, text: &str, account: &Account) -> Result<(), Error> {
    let failed = || Error::io(format!("writing {}", path.display()));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed())?;
    account.own(path)
}

/// The lock on the folder itself, so that no lock file can be deleted under it. The system drops it
/// with the process.
#[derive(Debug)]
struct FolderLock(File);

impl FolderLock {
    fn take(path: &Path) -> Result<Self, Error> {
        let failed = || Error::io(format!("locking data directory {}", path.display()));
        let folder = File::open(path).map_err(failed())?;
        match folder.try_lock() {
            Ok(()) => Ok(Self(folder)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed()(error)),
        }
    }
}

impl Drop for FolderLock {
    /// Closing the file is not enough: the lock lasts as long as any copy of its descriptor, and a
    /// child that another thread has just forked has one until it executes its program.
    fn drop(&mut self) {
        // What fails here is released with the process.
        let _ = self.0.unlock();
    }
}

/// Refuses a folder that holds anything, since nothing in it can be ours without our mark.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let mut entries = std::fs::read_dir(path).map_err(Error::io(format!(
        "reading data directory {}",
        path.display()
    )))?;
    // `pgpass.new` is the mark of a first start that was interrupted before anything else.
    let foreign =
        entries.any(|entry| entry.map_or(true, |entry| entry.file_name() != "pgpass.new"));
    if !foreign {
        return Ok(());
    }
    let is_cluster = path.join("PG_VERSION").exists();
    Err(Error::ForeignDirectory {
        directory: path.to_owned(),
        what: if is_cluster {
            "a PostgreSQL cluster"
        } else {
            "files"
        },
        hint: if is_cluster {
            ", or start that server and pass --database-url"
        } else {
            ""
        },
    })
}

/// 128 random bits as hex, which no part of a URL or of a pgpass file needs to escape.
fn new_password() -> String {
    hex::encode(rand::rng().random::<[u8; 16]>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_password_file_survives_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        let written = Credentials {
            port: 5433,
            password: new_password(),
        };
        written.write(&path, &Account::Ourselves).unwrap();
        let read = Credentials::read(&path).unwrap();
        assert_eq!((read.port, &read.password), (5433, &written.password));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!format!("{read:?}").contains(&read.password));
    }

    #[test]
    fn a_damaged_password_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        for text in [
            "",
            "127.0.0.1:5432:*:postgres:\n",
            "127.0.0.1:x:*:postgres:p\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Credentials::read(&path).unwrap_err();
            assert!(
                matches!(&error, Error::DamagedFile(named) if *named == path),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_copy_of_the_lock_in_a_child_that_was_just_forked_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let held = FolderLock::take(dir.path()).unwrap();
        assert!(matches!(FolderLock::take(dir.path()), Err(Error::InUse(_))));
        let _of_the_child = held.0.try_clone().unwrap();
        drop(held);
        FolderLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_with_other_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        assert!(matches!(
            refuse_foreign(dir.path()),
            Err(Error::ForeignDirectory { .. })
        ));
        let entries: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn a_cluster_of_someone_else_is_refused_with_the_way_to_use_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        let error = refuse_foreign(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("PostgreSQL cluster") && error.contains("--database-url"),
            "{error}"
        );
    }
}
