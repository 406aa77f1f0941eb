//! The receivers that are compared, each as a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use tokio::net::TcpStream;
use trunkline_tests::{Client, ReservedPort};

use crate::station::Station;

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How often a receiver that starts is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Who receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The ingester
    Trunkline,
    /// The ingester, noting the shapes of events
    Noting,
    /// The ingester, with sources that have relations for analysts
    Layout,
    /// The ingester, with sources that store no repeats
    Deduplicate,
    /// The ingester of another build, given with --baseline
    Baseline,
    /// The least that a receiver has to do
    Floor,
    /// A receiver in fastify and pg, as people write them
    Fastify,
}

impl Kind {
    /// As in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trunkline => "trunkline",
            Self::Noting => "noting",
            Self::Layout => "layout",
            Self::Deduplicate => "deduplicate",
            Self::Baseline => "baseline",
            Self::Floor => "floor",
            Self::Fastify => "fastify",
        }
    }
}

/// Where the receivers' programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) ingester: PathBuf,
    pub(crate) baseline: Option<PathBuf>,
    pub(crate) floor: PathBuf,
    /// The script that node runs.
    pub(crate) fastify: PathBuf,
    /// Connections that write; fastify has a pool of its own size.
    pub(crate) writers: usize,
}

impl Programs {
    /// Those that were built with this program.
    pub(crate) fn beside_this(baseline: Option<PathBuf>, writers: usize) -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let folder = here.parent().context("a folder of programs")?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        Ok(Self {
            ingester: folder.join("trunkline-ingester"),
            baseline,
            floor: folder.join("trunkline-floor"),
            fastify: source.join("fastify/server.mjs"),
            writers,
        })
    }
}

/// A running receiver. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Receiver {
    child: Child,
    pub(crate) address: SocketAddr,
    _ports: [ReservedPort; 2],
}

impl Receiver {
    /// Starts one and returns when it takes requests.
    pub(crate) async fn start(
        kind: Kind,
        programs: &Programs,
        station: &Station,
    ) -> anyhow::Result<Self> {
        let ports = [ReservedPort::any()?, ReservedPort::any()?];
        let [address, admin] = ports.each_ref().map(ReservedPort::address);
        let mut command = command(kind, programs, station, address, admin)?;
        let log = File::create(station.log())?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let mut receiver = Self {
            child,
            address,
            _ports: ports,
        };
        let deadline = Instant::now() + START_DEADLINE;
        while !is_ready(kind, address, admin).await {
            if let Some(status) = receiver.child.try_wait()? {
                let log = std::fs::read_to_string(station.log()).unwrap_or_default();
                bail!("{} ended ({status}): {log}", kind.name());
            }
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(station.log()).unwrap_or_default();
                bail!("{} does not start: {log}", kind.name());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(receiver)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Only fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(
    kind: Kind,
    programs: &Programs,
    station: &Station,
    address: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<Command> {
    let address = address.to_string();
    let ingester = |program: &Path, config_dir: &Path| {
        let mut command = Command::new(program);
        command.arg("--config-dir").arg(config_dir).args([
            "--listen",
            &address,
            "--admin-listen",
            &admin.to_string(),
        ]);
        command
    };
    Ok(match kind {
        Kind::Trunkline => ingester(&programs.ingester, station.config_dir()),
        Kind::Noting => ingester(&programs.ingester, station.noting_config_dir()),
        Kind::Layout => ingester(&programs.ingester, station.layout_config_dir()?),
        Kind::Deduplicate => ingester(&programs.ingester, station.deduplicating_config_dir()),
        Kind::Baseline => {
            let program = programs.baseline.as_ref();
            let program = program.context("which build is the baseline? say it with --baseline")?;
            ingester(program, station.config_dir())
        }
        Kind::Floor => {
            let mut command = Command::new(&programs.floor);
            command.arg("--routes").arg(station.routes()).args([
                "--listen",
                &address,
                "--writers",
                &programs.writers.to_string(),
            ]);
            command
        }
        Kind::Fastify => {
            let mut command = Command::new("node");
            command
                .arg(&programs.fastify)
                .arg(station.routes())
                .arg(&address)
                .env("NODE_ENV", "production");
            command
        }
    })
}

/// The floor and fastify listen once they have connected to the database.
async fn is_ready(kind: Kind, address: SocketAddr, admin: SocketAddr) -> bool {
    match kind {
        Kind::Floor | Kind::Fastify => TcpStream::connect(address).await.is_ok(),
        Kind::Trunkline | Kind::Noting | Kind::Layout | Kind::Deduplicate | Kind::Baseline => {
            Client::new(admin)
                .get("/readyz")
                .await
                .is_ok_and(|answer| answer.status == 200)
        }
    }
}
