//! What can keep a private PostgreSQL from starting, each with its fix.

use std::path::PathBuf;
use std::time::Duration;

/// Why a private PostgreSQL could not be found, prepared, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No folder held the programs of a PostgreSQL that is new enough.
    #[error(
        "no PostgreSQL {oldest} or newer on this machine{seen}; install one with {install}, \
         or name a running server with --database-url",
        oldest = super::OLDEST_MAJOR
    )]
    NotFound {
        /// Older installations that were passed over, ready to print, or empty.
        seen: String,
        /// What installs PostgreSQL on this system, ready to print.
        install: String,
    },
    /// The folder was named by the caller, and the programs are not in it.
    #[error(
        "{} holds no PostgreSQL {oldest} or newer; name the folder of `initdb` and `postgres`",
        .0.display(),
        oldest = super::OLDEST_MAJOR
    )]
    NotABinDir(PathBuf),
    /// The data was written by a major version that is not installed.
    #[error(
        "data directory {} was made by PostgreSQL {data}, which is not installed; install that \
         version or name an empty directory",
        directory.display()
    )]
    OtherMajor {
        /// The data directory.
        directory: PathBuf,
        /// The major version that wrote it.
        data: u32,
    },
    /// The folder holds files, and none says that Trunkline made them.
    #[error(
        "data directory {} holds {what} that trunkline did not make; name an empty directory{hint}",
        directory.display()
    )]
    ForeignDirectory {
        /// The data directory.
        directory: PathBuf,
        /// What was found there.
        what: &'static str,
        /// A second way out, ready to print after the first, or empty.
        hint: &'static str,
    },
    /// A file of ours in the data directory cannot be understood.
    #[error("{} is damaged; restore it or name an empty data directory", .0.display())]
    DamagedFile(PathBuf),
    /// Another process holds the lock.
    #[error(
        "data directory {} is in use by another trunkline; stop that one or name another directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// The folder belongs to a user that we are not and cannot become.
    #[error(
        "data directory {} belongs to user id {owner}; run as that user or name another directory",
        directory.display()
    )]
    OtherOwner {
        /// The data directory.
        directory: PathBuf,
        /// The user id that owns it.
        owner: u32,
    },
    /// Root was asked to run a server, and there is nobody else to run it.
    #[error(
        "PostgreSQL refuses to run as root, and the system has neither a user `postgres` nor \
         `nobody`; run trunkline as an ordinary user"
    )]
    NoAccount,
    /// A folder on the way to the data directory is closed to the user that runs the server.
    #[error(
        "user `{user}`, which runs PostgreSQL because root may not, cannot enter {}; allow it with \
         `chmod o+x {}` or name a data directory elsewhere",
        closed.display(),
        closed.display()
    )]
    Unreachable {
        /// The user that runs the server.
        user: String,
        /// The folder it cannot enter.
        closed: PathBuf,
    },
    /// The port was named by the caller and something listens on it.
    #[error("port {0} on 127.0.0.1 is taken; name another one, or 0 for any that is free")]
    PortTaken(u16),
    /// The server ended before it took a connection.
    #[error("PostgreSQL ended at its start ({status}); its log {} ends with:\n{tail}", log.display())]
    EndedEarly {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The server's log file.
        log: PathBuf,
        /// The last lines of this start.
        tail: String,
    },
    /// The server runs and takes no connection.
    #[error(
        "PostgreSQL took no connection within {} s; its log {} ends with:\n{tail}",
        within.as_secs(),
        log.display()
    )]
    NotReady {
        /// How long was waited.
        within: Duration,
        /// The server's log file.
        log: PathBuf,
        /// The last lines of this start.
        tail: String,
    },
    /// `initdb` failed.
    #[error("initdb failed ({status}): {output}")]
    InitFailed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed on standard error.
        output: String,
    },
    /// A template could not be copied.
    #[error("copying the template failed ({status}): {output}")]
    CopyFailed {
        /// How `cp` ended.
        status: std::process::ExitStatus,
        /// What it printed on standard error.
        output: String,
    },
    /// A server that a killed process left behind does not end.
    #[error(
        "the PostgreSQL of an earlier run (process {pid}) does not stop; end it with `kill -9 {pid}`"
    )]
    OrphanStays {
        /// Its process id.
        pid: i32,
    },
    /// The server runs and does not let us in.
    #[error(
        "PostgreSQL refused the login that {} describes; if its password was changed, put the new \
         one there",
        pgpass.display()
    )]
    LoginRefused {
        /// The file with the password.
        pgpass: PathBuf,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server let us in and refused to create the database.
    #[error("creating database `{database}`", database = super::DATABASE)]
    CreateDatabase(#[source] tokio_postgres::Error),
    /// A call to the operating system failed.
    #[error("{what}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Names what was being done when the system said no.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
