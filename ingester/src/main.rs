//! `trunkline-ingester`: command line, log and signals around [`trunkline_ingester::Ingester`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use trunkline_ingester::{Ingester, Options, Timeouts, TlsFiles, raise_descriptor_limit};
use trunkline_telemetry::log::{self, LogFormat};
use trunkline_telemetry::traces::Traces;

/// musl's own allocator has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes signed webhooks over HTTP and commits them to PostgreSQL; a 200 means committed.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// Directory of the configuration files; changes are picked up while running
    #[arg(long, value_name = "DIR")]
    config_dir: PathBuf,
    /// Address that senders post to
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Address of /livez, /readyz, /metrics, /config and /refusals
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9090")]
    admin_listen: SocketAddr,
    /// UID of the pod, which /config tells
    #[arg(long, env = "POD_UID", value_name = "UID")]
    pod_uid: Option<String>,
    /// Who refused a request, in the rows of trunkline.rejections; in Kubernetes the pod's name
    #[arg(long, env = "HOSTNAME", value_name = "NAME")]
    name: Option<String>,
    /// Certificate in PEM that senders see, with those that lead to an authority; renewals are picked up
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Form of the log on standard error; RUST_LOG sets its level
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  Serve a configuration on the default ports:
    trunkline-ingester --config-dir /etc/trunkline/config

  On this machine alone, with more in the log:
    RUST_LOG=debug trunkline-ingester --config-dir ./config \\
      --listen 127.0.0.1:8080 --admin-listen 127.0.0.1:9090

  See what is served:
    curl -s http://127.0.0.1:9090/config

SIGTERM or SIGINT answers every request that was accepted and ends with exit code 0; a second one
ends at once. Exit codes: 0 stopped, 1 failed, 2 wrong arguments.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(arguments.log_format, "info");
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    if let Err(error) = raise_descriptor_limit() {
        warn!(%error, "cannot raise the limit of open files");
    }
    let tls = arguments.tls_cert.zip(arguments.tls_key);
    let tls = tls.map(|(certificate, key)| TlsFiles { certificate, key });
    let ingester = Ingester::start(Options {
        config_dir: arguments.config_dir,
        listen: arguments.listen,
        admin_listen: arguments.admin_listen,
        pod_uid: arguments.pod_uid,
        name: arguments.name,
        traces: traces(),
        tls,
        timeouts: Timeouts::default(),
    })
    .await?;
    info!(listen = %ingester.local_addr(), admin = %ingester.admin_addr(), "listening");
    asked_to_end(&mut terminate, &mut interrupt).await;
    info!("stopping");
    tokio::select! {
        () = ingester.stop() => {
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = asked_to_end(&mut terminate, &mut interrupt) => {
            error!("ended before every request was answered");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Without a usable collector, requests are served all the same.
fn traces() -> Traces {
    Traces::from_env("trunkline-ingester").unwrap_or_else(|error| {
        warn!("no traces: {:#}", anyhow::Error::from(error));
        Traces::default()
    })
}

async fn asked_to_end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
