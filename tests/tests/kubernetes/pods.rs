//! What a platform asks of the ingesters' pods.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use trunkline_tests::kubernetes::eventually;
use trunkline_tests::{Collector, events};

use crate::site::{PATIENCE, SECRET, Site};

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn pods_have_the_environment_labels_and_places_of_the_manifest() {
    let site = Site::with("pod-options", "replicas: 1", "CREATEROLE").await;
    let _evidence = site.cluster.evidence();
    let collector = Collector::start_at(site.cluster.machine_address()).await;
    site.patch_main(json!({"spec": {
        "env": [
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": collector.endpoint()},
            {"name": "OTEL_BSP_SCHEDULE_DELAY", "value": "100"},
            {"name": "OTEL_SERVICE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "podMetadata": {"labels": {"team": "data"}, "annotations": {"example.com/scrape": "true"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}}},
    }}))
    .await;
    site.kubectl.apply(&site.source("segment")).await;
    let pods: Api<Pod> = Api::namespaced(site.cluster.client().await, "pod-options");
    let chosen = ListParams::default().labels("team=data");
    eventually("the pod", PATIENCE, async || {
        let pods = pods.list(&chosen).await.unwrap().items;
        let main = site.main().await.status.unwrap_or_default();
        let is_rolled_out = main
            .conditions
            .iter()
            .any(|it| it.type_ == "PodsReady" && it.status == "True");
        match pods.as_slice() {
            [pod] if is_rolled_out => {
                let annotations = pod.metadata.annotations.clone().unwrap_or_default();
                assert_eq!(annotations["example.com/scrape"], "true");
                Ok(())
            }
            _ => Err(format!("{} pods, {:?}", pods.len(), main.conditions)),
        }
    })
    .await;
    let url = site.url("segment").await;
    let event = &events(4, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    let spans = collector.wait_for(1).await;
    assert_eq!(spans[0].service, "pod-options");
}
