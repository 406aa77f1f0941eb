//! What has not changed is not written, and what is not ours is left alone.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::Patch;
use serde_json::json;
use trunkline_tests::kubernetes::{AuditEvent, AuditMark, Cluster, eventually};
use trunkline_tests::scaled;

use crate::site::{OPERATOR_NAMESPACE, Site};

const PATIENCE: Duration = Duration::from_secs(30);

/// How soon after a replica's end another acts.
const HANDOVER: Duration = Duration::from_secs(5);

/// What the operator has written since, besides its lease.
fn writes(cluster: &Cluster, mark: AuditMark, namespace: &str) -> Vec<String> {
    let operator = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:");
    let is_of_interest = |event: &AuditEvent| {
        let object = event.object_ref.clone().unwrap_or_default();
        event.user.username.starts_with(&operator)
            && event.is_write()
            && event.resource() != "leases.coordination.k8s.io"
            && object.namespace == namespace
    };
    cluster
        .audit()
        .since(mark)
        .iter()
        .filter(|event| is_of_interest(event))
        .map(|event| {
            let object = event.object_ref.clone().unwrap_or_default();
            format!("{} {} {}", event.verb, event.resource(), object.name)
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn nothing_is_written_without_a_change() {
    let site = Site::new("quiet").await;
    let _evidence = site.cluster.evidence();
    let count = scaled(20, 100);
    let manifests: String = (0..count)
        .map(|number| site.source(&format!("quiet-{number}")))
        .collect();
    site.kubectl.apply(&manifests).await;
    for number in 0..count {
        site.url(&format!("quiet-{number}")).await;
    }
    settled(&site).await;

    let mark = site.cluster.audit().mark();
    tokio::time::sleep(Duration::from_secs(scaled(15, 120))).await;
    assert_eq!(
        writes(site.cluster, mark, "quiet"),
        Vec::<String>::new(),
        "idle"
    );

    let mark = site.cluster.audit().mark();
    site.kubectl.apply(&manifests).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        writes(site.cluster, mark, "quiet"),
        Vec::<String>::new(),
        "applied again"
    );

    let mark = site.cluster.audit().mark();
    let before = holder(&site).await;
    site.restart_operator().await;
    // The lease is given back: unless it were, it would be good for ten seconds more at least.
    let asked = Instant::now();
    eventually("another holder", HANDOVER, async || {
        let holder = holder(&site).await;
        if holder.is_empty() || holder == before {
            Err(holder)
        } else {
            Ok(())
        }
    })
    .await;
    println!("another replica acts after {:?}", asked.elapsed());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        writes(site.cluster, mark, "quiet"),
        Vec::<String>::new(),
        "the operator started again"
    );
}

/// Which replica of the operator acts.
async fn holder(site: &Site) -> String {
    let path = "jsonpath={.spec.holderIdentity}";
    let lease = [
        "get",
        "lease",
        "trunkline-operator",
        "-n",
        OPERATOR_NAMESPACE,
        "-o",
        path,
    ];
    site.kubectl.run(&lease).await
}

/// Waits until the last write is some time ago.
async fn settled(site: &Site) {
    loop {
        let mark = site.cluster.audit().mark();
        tokio::time::sleep(Duration::from_secs(4)).await;
        if writes(site.cluster, mark, &site.namespace).is_empty() {
            return;
        }
    }
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_foreign_label_survives_and_an_owned_field_is_put_back() {
    let site = Site::with("drift", "replicas: 1", "").await;
    let _evidence = site.cluster.evidence();
    let deployments: Api<Deployment> = Api::namespaced(site.cluster.client().await, "drift");
    eventually("the Deployment", PATIENCE, async || {
        deployments.get("main-ingester").await
    })
    .await;
    let patch = json!({
        "metadata": {"labels": {"foreign": "1"}},
        "spec": {"template": {"spec": {"terminationGracePeriodSeconds": 11}}},
    });
    deployments
        .patch("main-ingester", &Default::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    eventually("the owned field", PATIENCE, async || {
        let found = deployments.get("main-ingester").await.unwrap();
        let grace = found
            .spec
            .and_then(|spec| spec.template.spec?.termination_grace_period_seconds);
        assert_eq!(found.metadata.labels.unwrap()["foreign"], "1");
        (grace == Some(40))
            .then_some(())
            .ok_or(format!("{grace:?}"))
    })
    .await;
    // What the spec no longer asks for is taken away.
    site.patch_main(json!({"spec": {"exposure": null}})).await;
    eventually("the end of the Ingress", PATIENCE, async || {
        let listed = site
            .kubectl
            .run(&["get", "ingress", "-n", "drift", "-o", "name"])
            .await;
        if listed.is_empty() {
            Ok(())
        } else {
            Err(listed)
        }
    })
    .await;
}
