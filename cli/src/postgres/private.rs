//! [`PrivatePostgres`]: a server from its start to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::data_dir::DataDir;
use super::postmaster::Postmaster;
use super::{DATABASE, Error, Installation, SUPERUSER, Template, init, orphan, ready};
use crate::port::ReservedPort;

/// How long a start may take. A clean one takes a fraction of a second; after a crash the server
/// first replays its log.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// How long to wait before the next try when something of an earlier server is still there.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How to start a private server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the data lives, created when absent. None: a temporary folder, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// The port on 127.0.0.1. 0: the one of the last start if it is free, else any that is.
    pub port: u16,
    /// Further settings of the server, as `name` and `value`. They override Trunkline's own, but
    /// not the address that it listens on.
    pub settings: Vec<(String, String)>,
    /// The folder of `initdb` and `postgres`. None: found on this machine.
    pub bin_dir: Option<PathBuf>,
    /// What an empty folder is filled with. None: what `initdb` makes.
    pub template: Option<Arc<Template>>,
}

/// A running PostgreSQL of our own.
///
/// Dropping it stops the server and waits for that, which may block for as long as a checkpoint
/// takes; asynchronous code calls [`PrivatePostgres::stop`].
#[derive(Debug)]
pub struct PrivatePostgres {
    /// None only while it is being started again. Dropped before its folder is.
    postmaster: Option<Postmaster>,
    data_dir: DataDir,
    installation: Installation,
    settings: Vec<(String, String)>,
    port: u16,
    /// Keeps the port while the server is down, unless the caller named it.
    reserved: Option<ReservedPort>,
}

impl PrivatePostgres {
    /// Starts a server and returns once it takes connections and holds [`DATABASE`].
    ///
    /// An empty folder is filled first. A server that a killed process left on the same folder is
    /// stopped first.
    ///
    /// # Errors
    /// When there is no PostgreSQL, the folder is not ours to use, or the server does not start;
    /// the message names the fix or quotes the server's log.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let mut data_dir = DataDir::open(options.data_dir.as_deref())?;
        let installation = choose(options.bin_dir.as_deref(), &data_dir)?;
        if data_dir.major()?.is_none() {
            match &options.template {
                Some(template) => init::copy(template.data_dir(), &mut data_dir).await?,
                None => init::init(&installation, &data_dir).await?,
            }
        }
        orphan::stop(&data_dir.cluster()).await?;
        let mut server = Self {
            postmaster: None,
            data_dir,
            installation,
            settings: options.settings,
            port: options.port,
            reserved: None,
        };
        server.launch().await?;
        Ok(server)
    }

    /// Starts the server again after it ended, on the same port and folder, and with the same
    /// password; a server that still runs is stopped first.
    ///
    /// # Errors
    /// As for [`PrivatePostgres::start`].
    pub async fn start_again(&mut self) -> Result<(), Error> {
        self.halt().await;
        self.launch().await
    }

    /// Stops the server and waits for its end; a temporary folder is removed with it.
    pub async fn stop(mut self) {
        self.halt().await;
    }

    /// Where to connect: user, password, address and [`DATABASE`]. It holds the password.
    #[must_use]
    pub fn url(&self) -> String {
        let password = &self.data_dir.credentials().password;
        format!(
            "postgres://{SUPERUSER}:{password}@127.0.0.1:{}/{DATABASE}",
            self.port
        )
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server (the postmaster; each of its children has a group of its own).
    /// None when it could not be started again.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// Whether the server has not ended.
    ///
    /// # Errors
    /// [`Error::Io`] when the system does not say.
    pub fn is_running(&mut self) -> Result<bool, Error> {
        match &mut self.postmaster {
            Some(postmaster) => Ok(postmaster.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// The folder of everything: PostgreSQL's data in `cluster`, `postgres.log`, `pgpass`.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Whether the folder is removed at the end.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.data_dir.temporary().is_some()
    }

    /// The server's log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.data_dir.log_path()
    }

    /// The programs it runs from.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Stops the server with a checkpoint; its folder stays with the caller.
    pub(crate) async fn stop_and_keep(mut self) -> DataDir {
        if let Some(postmaster) = &mut self.postmaster {
            postmaster.keep_data();
        }
        self.halt().await;
        self.data_dir
    }

    async fn halt(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            // The wait for the process blocks. The task can only fail by a panic, which has been
            // printed by then.
            let _ = tokio::task::spawn_blocking(move || drop(postmaster)).await;
        }
    }

    /// Tries until the server runs, or until it is clear that trying again changes nothing.
    async fn launch(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_DEADLINE;
        let wanted = self.port;
        loop {
            if wanted == 0 {
                let reserved = reserve(self.data_dir.credentials().port)?;
                self.port = reserved.number();
                self.reserved = Some(reserved);
            }
            let mut postmaster = Postmaster::spawn(
                &self.installation,
                &mut self.data_dir,
                self.port,
                &self.settings,
            )?;
            let within = deadline.saturating_duration_since(Instant::now());
            let error = match ready::wait(&mut postmaster, &self.data_dir, self.port, within).await
            {
                Ok(()) => {
                    self.postmaster = Some(postmaster);
                    return self.data_dir.remember_port(self.port);
                }
                Err(error) => error,
            };
            let obstacle = match &error {
                Error::EndedEarly { tail, .. } => obstacle(tail),
                _ => None,
            };
            match obstacle {
                Some(Obstacle::Port) if wanted != 0 => return Err(Error::PortTaken(wanted)),
                Some(_) if Instant::now() < deadline => tokio::time::sleep(RETRY_PAUSE).await,
                _ => return Err(error),
            }
        }
    }
}

/// The programs to use: the caller's, else those that wrote the data, else the newest.
fn choose(bin_dir: Option<&Path>, data_dir: &DataDir) -> Result<Installation, Error> {
    let data = data_dir.major()?;
    let installation = match bin_dir {
        Some(bin_dir) => Installation::at(bin_dir)?,
        None => Installation::find()?,
    };
    match data {
        Some(data) if data != installation.major() => bin_dir
            .is_none()
            .then(|| Installation::find_major(data))
            .flatten()
            .ok_or_else(|| Error::OtherMajor {
                directory: data_dir.path().to_owned(),
                data,
            }),
        _ => Ok(installation),
    }
}

/// What kept a server from starting, and is gone a moment later.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    /// Someone who named the port was quicker to listen on it.
    Port,
    /// Children of a killed server have not noticed its death yet.
    Children,
}

/// Reads the obstacle out of the log, which is in English because the server runs with `LC_ALL=C`.
fn obstacle(log_tail: &str) -> Option<Obstacle> {
    if log_tail.contains("could not create any TCP/IP sockets") {
        Some(Obstacle::Port)
    } else if log_tail.contains("pre-existing shared memory block") {
        Some(Obstacle::Children)
    } else {
        None
    }
}

/// The preferred port when nothing listens on it, else one that the system chooses.
fn reserve(preferred: u16) -> Result<ReservedPort, Error> {
    // 0 lets the system choose, so a preference of 0 needs no case of its own.
    ReservedPort::at(preferred)
        .or_else(|_| ReservedPort::any())
        .map_err(Error::io("looking for a free port on 127.0.0.1"))
}
