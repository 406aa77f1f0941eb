//! What stands still is named, and ends nothing that has to end.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use trunkline_tests::events;
use trunkline_tests::kubernetes::{Cluster, eventually};

use crate::site::{SECRET, Site, condition, describe};

/// How soon `Ready` has to tell of a pod that does not follow.
const SOON: Duration = Duration::from_secs(10);

/// How long a deletion waits for a database, and the time to hear of its end.
const DELETION: Duration = Duration::from_secs(100);

/// Lets a frozen part go on, also when the test fails: other tests use it.
struct Thaw<'a>(&'a Cluster);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        self.0.kubelet().thaw();
        self.0.postgres().thaw();
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_pod_whose_configuration_is_stuck_is_named() {
    let site = Site::new("stuck").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("segment")).await;
    let url = site.url("segment").await;
    let pods: Api<Pod> = Api::namespaced(site.cluster.client().await, "stuck");
    let pods = pods.list(&ListParams::default()).await.unwrap();
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();

    // No pod hears of anything new, while all go on serving what they have.
    site.cluster.kubelet().freeze();
    let thaw = Thaw(site.cluster);
    let changed = site.source_with("segment", "includeHeaders: {all: true}");
    site.kubectl.apply(&changed).await;
    let since = Instant::now();
    let sources = site.sources().await;
    eventually("a condition that names the pod", SOON, async || {
        let source = sources.get("segment").await.unwrap();
        let (status, reason, message, generation) = condition(&source, "Ready").unwrap();
        let is_named = names.iter().any(|name| message.contains(name.as_str()));
        let is_told = status != "True" && generation == source.metadata.generation && is_named;
        is_told
            .then_some(())
            .ok_or(format!("{status} {reason}: {message}"))
    })
    .await;
    println!("named after {:?}", since.elapsed());
    let event = &events(5, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);

    drop(thaw);
    println!(
        "{}",
        describe(&site.ready("segment", "True", "Serving").await)
    );
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_deletion_ends_without_a_database() {
    let site = Site::new("dbless").await;
    let _evidence = site.cluster.evidence();
    let manifest = site.source_with("dropped", "deletionPolicy: Delete");
    site.kubectl.apply(&manifest).await;
    let url = site.url("dropped").await;
    let event = &events(6, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);

    site.cluster.postgres().freeze();
    let thaw = Thaw(site.cluster);
    let arguments = ["delete", "whs", "dropped", "-n", "dbless", "--wait=false"];
    site.kubectl.run(&arguments).await;
    let since = Instant::now();
    eventually("404", SOON, async || {
        match site.post(&url, "{}", "another secret").await.status {
            404 => Ok(()),
            status => Err(format!("answered {status}")),
        }
    })
    .await;
    println!("404 after {:?}", since.elapsed());
    let sources = site.sources().await;
    eventually("the end of the object", DELETION, async || {
        match sources.get_opt("dropped").await.unwrap() {
            None => Ok(()),
            Some(source) => Err(describe(&source)),
        }
    })
    .await;
    println!("the object ended after {:?}", since.elapsed());
    let told: Api<Event> = Api::namespaced(site.cluster.client().await, "dbless");
    eventually("the event RowsKept", SOON, async || {
        let events = told.list(&ListParams::default()).await.unwrap();
        let reasons: Vec<_> = events
            .items
            .iter()
            .filter_map(|it| it.reason.clone())
            .collect();
        let is_told = reasons.iter().any(|reason| reason == "RowsKept");
        is_told.then_some(()).ok_or(format!("{reasons:?}"))
    })
    .await;

    drop(thaw);
    assert_eq!(site.count("dropped.events").await, 1);
    // As the event says: made again, and deleted with a database that answers.
    site.kubectl.apply(&manifest).await;
    site.url("dropped").await;
    assert_eq!(site.count("dropped.events").await, 1);
    site.kubectl.run(&arguments).await;
    let gone = "pg_namespace WHERE nspname = 'dropped'";
    eventually("the end of the rows", DELETION, async || {
        match site.count(gone).await {
            0 => Ok(()),
            _ => Err("still there"),
        }
    })
    .await;
}
