//! `trunkline-operator`: command line, log, signals and leadership around
//! [`trunkline_operator::controller::Operator`].

mod args;
mod leader;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use trunkline_operator::admin::Admin;
use trunkline_operator::controller::{Operator, Options};
use trunkline_operator::metrics::Metrics;
use trunkline_operator::pods::PodAccess;
use trunkline_operator::watches::Scope;
use trunkline_telemetry::log;

use args::{Arguments, Reach, RunArgs};
use leader::Leadership;

/// The images are linked against musl, whose own allocator is slow under threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log::start(arguments.run.log_format, "info,kube_lease_manager=warn");
    match run(&arguments.run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &RunArgs) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let config = Config::infer()
        .await
        .context("no way to a Kubernetes API server; set KUBECONFIG, or run in a cluster")?;
    let client = Client::try_from(config).context("Kubernetes client")?;
    let metrics = Metrics::new();
    let admin = Admin::new(Arc::clone(&metrics));
    let mut server = tokio::spawn(admin.clone().serve(args.metrics_listen, stop.clone()));
    let access = match args.pod_access {
        Reach::Direct => PodAccess::Direct,
        Reach::Proxy => PodAccess::Proxy(client.clone()),
        Reach::Auto if Config::incluster().is_ok() => PodAccess::Direct,
        Reach::Auto => PodAccess::Proxy(client.clone()),
    };
    let options = Options {
        ingester_image: args.ingester_image.clone(),
    };
    // The watches of a replica that stands by are warm when it takes over.
    let operators: Vec<_> = scopes(&args.watch_namespaces)
        .iter()
        .map(|scope| {
            Operator::start(
                client.clone(),
                scope,
                options.clone(),
                access.clone(),
                Arc::clone(&metrics),
            )
        })
        .collect();
    let act = async {
        for operator in &operators {
            operator.wait_until_ready().await;
        }
        admin.set_ready();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            "everything has been seen"
        );
        let leadership = if args.leader_election {
            let lease = args.lease(&client);
            Some(Leadership::acquire(client.clone(), lease, &stop).await?)
        } else {
            None
        };
        if stop.is_cancelled() {
            return anyhow::Ok(());
        }
        metrics.set_leader(true);
        info!("acting");
        let lost = leadership.as_ref().map(Leadership::lost);
        let mut running = JoinSet::new();
        for operator in operators {
            running.spawn(operator.run(stop.clone()));
        }
        let is_lost = tokio::select! {
            () = wait_for_loss(lost) => true,
            () = stop.cancelled() => false,
        };
        if is_lost {
            // Another replica acts by now: end at once, the kubelet starts this one again.
            anyhow::bail!("the lease was lost");
        }
        info!("stopping");
        while running.join_next().await.is_some() {}
        metrics.set_leader(false);
        if let Some(leadership) = leadership {
            leadership.release().await;
        }
        info!("stopped");
        Ok(())
    };
    let mut act = pin!(act);
    tokio::select! {
        result = &mut act => {
            stop.cancel();
            result
        }
        result = &mut server => {
            result.context("admin listener")?.with_context(|| {
                format!("cannot listen on {}; choose another with --metrics-listen", args.metrics_listen)
            })?;
            anyhow::ensure!(stop.is_cancelled(), "the admin listener has ended");
            // The signal ends both, and the lease is still to be given back.
            act.await
        }
    }
}

async fn wait_for_loss(lost: Option<CancellationToken>) {
    match lost {
        Some(lost) => lost.cancelled().await,
        None => std::future::pending().await,
    }
}

fn scopes(namespaces: &[String]) -> Vec<Scope> {
    if namespaces.is_empty() {
        vec![Scope::All]
    } else {
        namespaces.iter().cloned().map(Scope::Namespace).collect()
    }
}

fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
