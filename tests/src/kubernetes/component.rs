//! [`Component`]: one long-running program of the cluster, to be stopped, frozen and started again.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::enclosure::bound_to_launcher;
use super::launcher::Launcher;

/// How many of a log's last lines a message quotes.
const QUOTED_LINES: usize = 15;

/// How long a program may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command line and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
    user: Option<&'static str>,
}

impl Program {
    /// A program, called `name` in logs and messages.
    pub(crate) fn new(name: &'static str, path: impl Into<PathBuf>) -> Self {
        Self {
            name,
            path: path.into(),
            arguments: Vec::new(),
            user: None,
        }
    }

    /// An argument.
    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// An argument `--name=value`.
    pub(crate) fn flag(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.argument(format!("--{name}={value}"))
    }

    /// An argument `--name=path`.
    pub(crate) fn file(self, name: &str, path: &std::path::Path) -> Self {
        self.flag(name, path.display())
    }

    /// The user that it runs as, instead of ours.
    pub(crate) fn user(mut self, user: &'static str) -> Self {
        self.user = Some(user);
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    fn command(&self) -> Command {
        let mut command = match self.user {
            None => Command::new(&self.path),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", user, "--regid", user, "--init-groups"])
                    // The change of user clears what the outer setpriv asked for.
                    .args(["--pdeathsig", "KILL", "--"])
                    .arg(&self.path);
                command
            }
        };
        command.args(&self.arguments);
        bound_to_launcher(&command)
    }
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Component {
    program: Program,
    launcher: Arc<Launcher>,
    log: PathBuf,
    child: Child,
}

impl Component {
    /// Starts the program; what it prints is appended to `log`.
    pub(crate) fn start(program: Program, launcher: Arc<Launcher>, log: PathBuf) -> Self {
        let child = launch(&program, &launcher, &log);
        Self {
            program,
            launcher,
            log,
            child,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.program.name
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9` of it and its children.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        // Fails only when it has been waited for.
        let _ = self.child.wait();
    }

    /// Asks it to end, and kills it when it does not.
    pub fn stop(&mut self) {
        self.stop_by(Signal::SIGTERM);
    }

    /// The same with the signal that it understands so.
    pub(crate) fn stop_by(&mut self, signal: Signal) {
        // Its children are its own to stop. Fails only when it has ended.
        let _ = kill(self.pid(), signal);
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            if Instant::now() > deadline {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it and its children where they stand; their sockets stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets them run again.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts it after its end, with the same command line.
    pub fn start_again(&mut self) {
        self.kill();
        self.child = launch(&self.program, &self.launcher, &self.log);
    }

    /// Panics with the end of its log when it has ended.
    pub(crate) fn check(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended: {status}\n{}", self.name(), self.log_tail());
        }
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }

    /// Sends a signal to the program first, so that it starts no new children, then to them.
    fn signal(&self, signal: Signal) {
        let children = children(self.pid());
        for process in std::iter::once(self.pid()).chain(children) {
            // One that has ended meanwhile needs no signal.
            let _ = kill(process, signal);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The children of a process.
fn children(parent: Pid) -> Vec<Pid> {
    let lists = std::fs::read_dir(format!("/proc/{parent}/task"));
    lists
        .into_iter()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| {
            let pids = list.split_whitespace();
            pids.filter_map(|pid| pid.parse().ok())
                .map(Pid::from_raw)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn launch(program: &Program, launcher: &Launcher, log: &std::path::Path) -> Child {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let mut command = program.command();
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .process_group(0);
    launcher
        .spawn(command)
        .unwrap_or_else(|error| panic!("{}: {error}", program.name))
}
