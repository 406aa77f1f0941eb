//! A pod that stands still is named.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use trunkline_tests::events;
use trunkline_tests::kubernetes::{Cluster, eventually};

use crate::site::{SECRET, Site, condition, describe};

/// How soon `Ready` has to tell of a pod that does not follow.
const SOON: Duration = Duration::from_secs(10);

/// Lets the kubelet go on, also when the test fails: other tests use it.
struct Thaw<'a>(&'a Cluster);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        self.0.kubelet().thaw();
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_pod_whose_configuration_is_stuck_is_named() {
    let site = Site::alone("stuck").await;
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
