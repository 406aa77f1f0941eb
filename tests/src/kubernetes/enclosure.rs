//! [`Enclosure`]: the processes and files of one run, which all end with it.
//!
//! Two kinds. An open one is processes on this machine and needs no rights. An isolated one has
//! network, mount and process namespaces of its own, for a node: whatever the node's programs mount,
//! route or start is the kernel's to remove once the first process in it ends. Its first process ends
//! with the [`Launcher`]'s thread, and so however the test process ends.
//!
//! The test process itself stays outside. That way tests need no special start, a debugger and a
//! second terminal see what they see, and several enclosures can be open at once; see `network` for
//! how the two sides reach each other.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::component::{Component, Program};
use super::janitor::Janitor;
use super::launcher::Launcher;
use super::slot::Slot;
use super::tools::built;

/// Where everything of one run is. Fields end in their order.
#[derive(Debug)]
pub(crate) struct Enclosure {
    /// The first process of the namespaces, in an isolated one.
    holder: Option<Holder>,
    launcher: Arc<Launcher>,
    _janitor: Janitor,
    slot: Slot,
}

/// A process whose end is the end of every process in its namespaces.
#[derive(Debug)]
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only when it has ended. The wait lasts until the kernel has killed the others.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Enclosure {
    /// One that shares the machine's namespaces.
    pub(crate) fn open() -> Self {
        Self::new(None, Launcher::new())
    }

    /// One with namespaces of its own.
    ///
    /// # Panics
    /// Without root's rights.
    pub(crate) fn isolated() -> Self {
        assert!(
            geteuid().is_root(),
            "a Kubernetes node needs root: use sudo"
        );
        let launcher = Launcher::new();
        launcher
            .run(|| {
                unshare(
                    CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID,
                )
            })
            .expect("namespaces of our own");
        let mut pause = bound_to_launcher(&Command::new(built("pause")));
        pause.stdin(Stdio::null()).stdout(Stdio::null());
        let holder = launcher
            .spawn(pause)
            .map(Holder)
            .expect("the first process of the namespaces");
        let enclosure = Self::new(Some(holder), launcher);
        enclosure.isolate_mounts();
        enclosure
    }

    fn new(holder: Option<Holder>, launcher: Launcher) -> Self {
        let slot = Slot::claim();
        let janitor = Janitor::start(&slot, holder.as_ref().map(|holder| holder.0.id()));
        for folder in ["log", "node", "tmp"] {
            std::fs::create_dir(slot.directory().join(folder)).unwrap();
        }
        Self {
            holder,
            launcher: Arc::new(launcher),
            _janitor: janitor,
            slot,
        }
    }

    /// Gives the node's programs a `/run`, `/var/log` and `/var/lib` to write to, since several of
    /// their paths are fixed, and memory for what they keep: it is gone with the namespace.
    fn isolate_mounts(&self) {
        let path = |folder: &str| self.path(folder).to_str().unwrap().to_owned();
        self.run("mount", &["--make-rprivate", "/"]);
        self.run("mount", &["-t", "proc", "proc", "/proc"]);
        self.run("mount", &["-t", "tmpfs", "tmpfs", &path("node")]);
        let folders = ["upper", "work"].map(|folder| self.path("node").join(folder));
        self.inside(move || folders.iter().try_for_each(std::fs::create_dir))
            .unwrap();
        self.run("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]);
        self.run("mount", &["--bind", &path("log"), "/var/log"]);
        let layers = format!(
            "lowerdir=/var/lib,upperdir={},workdir={}",
            path("node/upper"),
            path("node/work")
        );
        self.run(
            "mount",
            &["-t", "overlay", "-o", &layers, "overlay", "/var/lib"],
        );
    }

    /// A path in the run's folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.slot.directory().join(relative)
    }

    /// What the kernel's objects of the run are called.
    pub(crate) fn name(&self) -> String {
        self.slot.name()
    }

    /// An address of the machine's own.
    pub(crate) fn loopback(&self) -> Ipv4Addr {
        self.slot.loopback()
    }

    /// The first address of the run's /20.
    pub(crate) fn network(&self) -> Ipv4Addr {
        self.slot.network()
    }

    /// The first process of the namespaces.
    pub(crate) fn holder(&self) -> Option<u32> {
        self.holder.as_ref().map(|holder| holder.0.id())
    }

    /// Starts a program that runs until it is stopped.
    pub(crate) fn start(&self, program: Program) -> Component {
        let log = self.path(&format!("log/{}.log", program.name()));
        Component::start(program, Arc::clone(&self.launcher), log)
    }

    /// Does something on the thread that is inside.
    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.launcher.run(work)
    }

    /// Runs a program inside to its end and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.try_run(program, arguments)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same.
    ///
    /// # Errors
    /// What the program said when it failed.
    pub(crate) fn try_run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let output = self
            .launcher
            .run(move || command.output())
            .map_err(|error| format!("{program}: {error}; run scripts/install e2e"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program} {}: {said}", arguments.join(" ")))
    }
}

/// The command, ended by the kernel when the thread that starts it ends.
pub(crate) fn bound_to_launcher(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    bound
}

/// Writes a file that we alone may read.
pub(crate) fn write_private(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
