//! [`IngesterProcess`]: the real binary.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use trunkline_cli::ReservedPort;

use crate::binaries::binary;
use crate::client::{Answer, Client};
use crate::memory_group::MemoryGroup;

/// How long a start may take on a machine that does other things too.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How long an end may take: the ingester gives requests 25 s.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running `trunkline-ingester`. Dropping it kills it.
#[derive(Debug)]
pub struct IngesterProcess {
    child: Child,
    config_dir: PathBuf,
    port: ReservedPort,
    admin: ReservedPort,
    extras: Extras,
    folder: TempDir,
}

/// What a test adds to the command line and to the environment.
#[derive(Debug, Default)]
struct Extras {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The control group that it is started in, when it has one of its own.
    group: Option<PathBuf>,
}

impl IngesterProcess {
    /// Starts the binary on two free ports; it may not be ready when this returns.
    #[must_use]
    pub fn start(config_dir: &Path) -> Self {
        Self::start_with(config_dir, &[], &[])
    }

    /// The same with more arguments and variables of the environment.
    #[must_use]
    pub fn start_with(config_dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let own = |text: &&str| (*text).to_owned();
        let extras = Extras {
            arguments: arguments.iter().map(own).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| (own(name), own(value)))
                .collect(),
            group: None,
        };
        Self::start_as(config_dir, extras)
    }

    /// The same in a control group.
    #[must_use]
    pub fn start_in(group: &MemoryGroup, config_dir: &Path) -> Self {
        let extras = Extras {
            group: Some(group.folder().to_owned()),
            ..Extras::default()
        };
        Self::start_as(config_dir, extras)
    }

    fn start_as(config_dir: &Path, extras: Extras) -> Self {
        let [port, admin] = [(); 2].map(|()| ReservedPort::any().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(
            config_dir,
            &port,
            &admin,
            &extras,
            &folder.path().join("log"),
        );
        Self {
            child,
            config_dir: config_dir.to_owned(),
            port,
            admin,
            extras,
            folder,
        }
    }

    /// Where senders post to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// A sender.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// A page of the admin listener; none while nothing listens.
    pub async fn admin(&self, path: &str) -> Option<Answer> {
        Client::new(self.admin.address()).get(path).await.ok()
    }

    /// Waits for `/readyz`.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + START_DEADLINE;
        let mut said = String::new();
        while Instant::now() < deadline {
            if let Some(exit) = self.child.try_wait().unwrap() {
                panic!("the ingester ended ({exit}):\n{}", self.log());
            }
            match self.admin("/readyz").await {
                Some(answer) if answer.status == 200 => return,
                Some(answer) => said = answer.text,
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the ingester is not ready ({said}):\n{}", self.log());
    }

    /// Waits until it serves the configuration of this hash.
    pub async fn serving(&self, hash: &str) {
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            // It may not listen yet.
            if let Some(answer) = self.admin("/config").await
                && parse(&answer)["hash"] == hash
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the configuration is not served:\n{}", self.log());
    }

    /// What `/config` says.
    pub async fn config(&self) -> serde_json::Value {
        parse(&self.admin("/config").await.expect("the admin listener"))
    }

    /// The sum of a metric over its labels that contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self
            .admin("/metrics")
            .await
            .expect("the admin listener")
            .text;
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        // Only fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after its end, on the same ports.
    pub fn start_again(&mut self) {
        self.kill();
        let log = self.folder.path().join("log");
        self.child = spawn(
            &self.config_dir,
            &self.port,
            &self.admin,
            &self.extras,
            &log,
        );
    }

    /// Asks it to stop, as a kubelet does.
    pub fn terminate(&self) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_DEADLINE;
        while Instant::now() < deadline {
            if let Some(exit) = self.child.try_wait().unwrap() {
                return exit;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the ingester does not stop:\n{}", self.log());
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it takes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let statm = self.proc("statm");
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
        pages * u64::try_from(page.unwrap().unwrap()).unwrap()
    }

    /// The processor time that it has used.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<_> = fields.split(' ').collect();
        let ticks = |number: usize| fields[number].parse::<u64>().unwrap();
        // `utime` and `stime` of proc(5), in Linux's ticks of 10 ms.
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// How many file descriptors it has open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.id());
        std::fs::read_dir(folder).unwrap().count()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.id())).unwrap()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for IngesterProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn parse(answer: &Answer) -> serde_json::Value {
    serde_json::from_str(&answer.text).expect("JSON")
}

fn spawn(
    config_dir: &Path,
    port: &ReservedPort,
    admin: &ReservedPort,
    extras: &Extras,
    log: &Path,
) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let program = binary("trunkline-ingester");
    let mut command = match &extras.group {
        None => Command::new(program),
        // A shell joins the group and becomes the ingester, so that nothing is counted elsewhere.
        Some(group) => {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
                .arg(group.join("cgroup.procs"))
                .arg(program);
            shell
        }
    };
    command
        .arg("--config-dir")
        .arg(config_dir)
        .args([
            "--listen",
            &port.address().to_string(),
            "--admin-listen",
            &admin.address().to_string(),
        ])
        .args(&extras.arguments)
        .envs(extras.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("trunkline-ingester")
}
