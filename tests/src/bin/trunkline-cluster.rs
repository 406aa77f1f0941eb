//! `make cluster`: the tests' Kubernetes for people to try things on, until Ctrl-C.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use trunkline_tests::kubernetes::{Cluster, INGRESS_CLASS, built};

/// The database, its owner and the Secret about it; the examples' name.
const DATABASE: &str = "warehouse";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Heard from the start, or a start that is interrupted would clear up behind our back.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked_to_end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::select! {
        served = serve() => served,
        () = asked_to_end => Ok(()),
    }
}

async fn serve() -> anyhow::Result<()> {
    say("starting Kubernetes");
    let cluster = Cluster::start().await;
    cluster.load_project_images();
    let login = cluster
        .postgres()
        .create_database(DATABASE, "CREATEROLE")
        .await;
    let kubectl = cluster.kubectl();
    kubectl.apply(&login.secret("default", DATABASE)).await;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("a workspace")?;
    let chart = workspace.join("charts/trunkline");
    if chart.join("Chart.yaml").exists() {
        say("helm install trunkline charts/trunkline");
        let chart = chart.to_str().context("a path in UTF-8")?;
        let place = ["-n", "trunkline-system", "--create-namespace"];
        let install = ["install", "trunkline", chart];
        cluster.helm().run(&[&install[..], &place].concat()).await;
    }
    banner(&cluster, &login.uri());
    std::future::pending().await
}

fn banner(cluster: &Cluster, uri: &str) {
    say(&format!(
        "Kubernetes is ready. In another terminal, as the same user:

  export KUBECONFIG={kubeconfig}
  alias kubectl={kubectl} helm={helm}
  kubectl apply -f examples/

Ingress     {ingress} (class {INGRESS_CLASS}); the Host header decides
Database    psql '{uri}'
            in the Secret default/{DATABASE}, as the examples expect it
Logs        {logs}

Pods, Services and the node can be reached from this machine by their addresses.
Ctrl-C stops and removes everything.",
        kubeconfig = cluster.kubeconfig().display(),
        kubectl = built("kubectl").display(),
        helm = built("helm").display(),
        ingress = cluster.ingress_url(),
        logs = cluster.logs().display(),
    ));
}

#[expect(clippy::print_stdout, reason = "the program's output")]
fn say(text: &str) {
    println!("{text}");
}
