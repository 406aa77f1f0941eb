//! Nothing is refused and nothing lost while everything changes.

use std::time::Duration;

use serde_json::json;
use trunkline_tests::kubernetes::{eventually, project_image};
use trunkline_tests::scaled;

use crate::prober::{Prober, Watcher};
use crate::site::{OPERATOR_NAMESPACE, PATIENCE, SECRET, Site};

async fn rolled_out(site: &Site, generation: i64) {
    eventually("the rollout", PATIENCE, async || {
        let main = site.main().await;
        let conditions = main
            .status
            .map(|status| status.conditions)
            .unwrap_or_default();
        let ready = conditions.iter().find(|it| it.type_ == "Ready");
        match ready {
            Some(ready)
                if ready.status == "True" && ready.observed_generation >= Some(generation) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn change(site: &Site, spec: serde_json::Value) {
    println!("changing {spec}");
    site.patch_main(json!({"spec": spec})).await;
    let generation = site.main().await.metadata.generation.unwrap();
    rolled_out(site, generation).await;
}

async fn secret(site: &Site, name: &str, value: &str) {
    site.kubectl
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {}}}\n\
             stringData: {{secret: {value}}}\n",
            site.namespace
        ))
        .await;
}

/// A source that accepts what these Secrets hold.
fn source(site: &Site, secrets: &[&str]) -> String {
    let references: Vec<_> = secrets
        .iter()
        .map(|name| format!("{{secretKeyRef: {{name: {name}, key: secret}}}}"))
        .collect();
    site.source("probed").replace(
        "[{secretKeyRef: {name: signing, key: secret}}]",
        &format!("[{}]", references.join(", ")),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make e2e"]
async fn nothing_is_refused_while_everything_changes() {
    let site = Site::alone("rolling").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("probed")).await;
    site.url("probed").await;
    let prober = Prober::start(&site, "probed", SECRET).await;
    let watcher = Watcher::start(&site, "probed").await;

    println!("sources added and removed");
    for number in 0..scaled(10, 50) {
        let name = format!("other-{number}");
        site.kubectl.apply(&site.source(&name)).await;
        if number % 5 == 4 {
            site.url(&name).await;
        }
        site.kubectl
            .run(&["delete", "whs", &name, "-n", "rolling", "--wait=false"])
            .await;
    }

    println!("secrets rotated by a second one");
    let mut current = ("signing".to_owned(), SECRET.to_owned());
    for number in 0..scaled(2, 10) {
        let next = (
            format!("next-{number}"),
            format!("the-next-shared-secret-{number}"),
        );
        secret(&site, &next.0, &next.1).await;
        site.kubectl
            .apply(&source(&site, &[&current.0, &next.0]))
            .await;
        site.url("probed").await;
        *prober.secret.lock().unwrap() = next.1.clone();
        // What was signed before has to arrive before the old one goes.
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.kubectl.apply(&source(&site, &[&next.0])).await;
        site.url("probed").await;
        current = next;
    }

    println!("secrets rotated by edits in place");
    for number in 0..scaled(2, 10) {
        let value = format!("an-edit-in-place-{number}");
        secret(&site, &current.0, &value).await;
        // The sender is told later than we are, and by then pods have the new one.
        tokio::time::sleep(Duration::from_secs(3)).await;
        *prober.secret.lock().unwrap() = value;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    let image = project_image("trunkline-ingester");
    let other = image.replace("trunkline-ingester:", "trunkline-ingester-again:");
    site.cluster.tag_image(&image, &other);
    change(&site, json!({"image": other})).await;
    change(&site, json!({"size": "2xsmall"})).await;
    change(&site, json!({"replicas": 4})).await;
    change(&site, json!({"replicas": 1})).await;

    println!("operator killed");
    let kill = [
        "delete",
        "pod",
        "--all",
        "--force",
        "--grace-period=0",
        "-n",
        OPERATOR_NAMESPACE,
    ];
    site.kubectl.run(&kill).await;
    println!("operator restarted");
    site.restart_operator().await;
    println!("operator upgraded");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/trunkline");
    let upgrade = [
        "upgrade",
        "trunkline",
        chart,
        "--namespace",
        OPERATOR_NAMESPACE,
        "--set",
        "podAnnotations.upgraded=yes",
        "--wait",
        "--timeout",
        "3m",
    ];
    site.cluster.helm().run(&upgrade).await;
    change(&site, json!({"replicas": 2})).await;
    site.url("probed").await;

    watcher.finish().await;
    prober.finish(&site, "probed.events").await;
}
