//! The server's process: its command line, and its end.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::Account;
use super::data_dir::DataDir;
use super::watchdog::Watchdog;
use super::{Error, Installation};

/// Settings of every private server, which [`super::Options::settings`] may override.
const SETTINGS: &[(&str, &str)] = &[
    ("cluster_name", "trunkline"),
    ("max_connections", "60"),
    // One COPY locks every leaf partition that it meets.
    ("max_locks_per_transaction", "512"),
    ("shared_buffers", "128MB"),
    // An event's body may stand in the statement or the context of an error: keep both out of the
    // log.
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_checkpoints", "off"),
];

/// Settings that nothing overrides: who can reach the server, and where its log goes.
const FIXED: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
];

/// How long a server may take to write its last checkpoint before it is stopped without one.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to stop without a checkpoint; it kills its own children after 5 s.
const QUIT_PATIENCE: Duration = Duration::from_secs(8);

/// How often a stopping server is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A running server with the watchdog beside it. Dropping it stops the server and waits for that.
#[derive(Debug)]
pub(crate) struct Postmaster {
    child: Child,
    /// Its data is thrown away, so that no checkpoint is worth the wait.
    temporary: bool,
    /// Dropped after the server has stopped.
    _watchdog: Watchdog,
}

impl Postmaster {
    /// Starts the server; it is not ready when this returns.
    pub(crate) fn spawn(
        installation: &Installation,
        data_dir: &mut DataDir,
        port: u16,
        settings: &[(String, String)],
    ) -> Result<Self, Error> {
        let log = data_dir.open_log()?;
        let cluster = data_dir.cluster();
        let mut command = Command::new(installation.program("postgres"));
        // `orphan` recognises a server by this beginning.
        command
            .arg("-D")
            .arg(&cluster)
            .args(["-p", &port.to_string()]);
        let own = SETTINGS.iter().chain(compression(installation, data_dir));
        for (name, value) in own {
            command.args(["-c", &format!("{name}={value}")]);
        }
        for (name, value) in settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        for (name, value) in FIXED {
            command.args(["-c", &format!("{name}={value}")]);
        }
        prepare(&mut command, data_dir.account());
        command.stderr(log);
        let child = command.spawn().map_err(Error::io("starting postgres"))?;
        let watchdog = Watchdog::start(
            child.id(),
            &cluster.join("postmaster.pid"),
            data_dir.temporary(),
            data_dir.account(),
        );
        match watchdog {
            Ok(watchdog) => Ok(Self {
                child,
                temporary: data_dir.temporary().is_some(),
                _watchdog: watchdog,
            }),
            Err(error) => {
                stop(child, Signal::SIGQUIT);
                Err(Error::io("starting a shell to watch over postgres")(error))
            }
        }
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes a checkpoint at its end worth the wait.
    pub(crate) fn keep_data(&mut self) {
        self.temporary = false;
    }

    /// How the server ended, or none while it runs.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child
            .try_wait()
            .map_err(Error::io("waiting for postgres"))
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        stop(
            &mut self.child,
            if self.temporary {
                Signal::SIGQUIT
            } else {
                Signal::SIGINT
            },
        );
    }
}

/// Stops the server: fast with a checkpoint (SIGINT), else at once (SIGQUIT), at last by force.
fn stop(mut child: impl std::borrow::BorrowMut<Child>, first: Signal) {
    let child = child.borrow_mut();
    let steps = [
        (Signal::SIGINT, CHECKPOINT_PATIENCE),
        (Signal::SIGQUIT, QUIT_PATIENCE),
        (Signal::SIGKILL, QUIT_PATIENCE),
    ];
    for (signal, patience) in steps.into_iter().skip_while(|(signal, _)| *signal != first) {
        if signal_child(child, signal).is_none() {
            return;
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Signals a child that has not been waited for yet; none when it has ended.
fn signal_child(child: &mut Child, signal: Signal) -> Option<()> {
    // Until `try_wait` has seen its end, the number cannot belong to another process.
    if !matches!(child.try_wait(), Ok(None)) {
        return None;
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).ok()?);
    kill(pid, signal).ok()?;
    // A frozen server would never see the signal.
    kill(pid, Signal::SIGCONT).ok()
}

/// What all of the server's processes have in common.
fn prepare(command: &mut Command, account: &Account) {
    command
        .env("LC_ALL", "C")
        .env_remove("PGDATA")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in the terminal reaches a whole group; the server must outlive our drain.
        .process_group(0);
    account.apply(command);
}

/// The best compression of this build, which only the build itself knows: lz4 is an option of
/// PostgreSQL's compilation, and `postgres -C` refuses a value that it does not have.
fn compression(
    installation: &Installation,
    data_dir: &DataDir,
) -> &'static [(&'static str, &'static str)] {
    const LZ4: &[(&str, &str)] = &[
        ("default_toast_compression", "lz4"),
        ("wal_compression", "lz4"),
    ];
    // Before 15 the log knows only on and off.
    const LZ4_TABLES: &[(&str, &str)] = &[
        ("default_toast_compression", "lz4"),
        ("wal_compression", "on"),
    ];
    const NONE: &[(&str, &str)] = &[("wal_compression", "on")];
    let wanted = if installation.major() >= 15 {
        LZ4
    } else {
        LZ4_TABLES
    };
    let mut command = Command::new(installation.program("postgres"));
    command
        .arg("-D")
        .arg(data_dir.cluster())
        .args(["-C", "wal_compression"]);
    for (name, value) in wanted {
        command.args(["-c", &format!("{name}={value}")]);
    }
    prepare(&mut command, data_dir.account());
    match command.status() {
        Ok(status) if status.success() => wanted,
        _ => NONE,
    }
}
