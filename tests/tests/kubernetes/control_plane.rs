//! The control plane of the tests is a real one, belongs to the test alone, and ends with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use trunkline_tests::kubernetes::{ControlPlane, client, eventually};

use crate::site::Turn;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nobody/has:this}]}
";

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn controllers_run_and_collect_garbage() {
    let _turn = Turn::beside_others().await;
    let started = Instant::now();
    let cluster = ControlPlane::start().await;
    println!("control plane ready in {:?}", started.elapsed());
    let kubectl = cluster.kubectl();
    kubectl.apply(DEPLOYMENT).await;
    let client = cluster.client().await;
    let (sets, pods) = (
        Api::<ReplicaSet>::namespaced(client.clone(), "default"),
        Api::<Pod>::namespaced(client, "default"),
    );
    let pods_are = async |wanted: usize| {
        eventually("the pods of the Deployment", PATIENCE, async || {
            let found = pods.list(&ListParams::default()).await.unwrap().items.len();
            (found == wanted).then_some(()).ok_or(format!("{found}"))
        })
        .await;
    };
    pods_are(1).await;
    kubectl.run(&["delete", "deployment", "web"]).await;
    pods_are(0).await;
    assert!(
        sets.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_service_account_has_the_rights_of_its_role_and_the_audit_log_shows_their_use() {
    let _turn = Turn::beside_others().await;
    let cluster = ControlPlane::start().await;
    let kubectl = cluster.kubectl();
    kubectl.run(&["create", "serviceaccount", "writer"]).await;
    for arguments in [
        "create role writer --verb=create,get --resource=configmaps",
        "create rolebinding writer --role=writer --serviceaccount=default:writer",
    ] {
        kubectl.run(&arguments.split(' ').collect::<Vec<_>>()).await;
    }
    let kubeconfig = cluster
        .service_account_kubeconfig("default", "writer")
        .await;
    let maps = Api::<ConfigMap>::namespaced(client(&kubeconfig).await, "default");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some("written".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("key".to_owned(), "a value".to_owned())])),
        ..ConfigMap::default()
    };
    let mark = cluster.audit().mark();
    maps.create(&PostParams::default(), &map).await.unwrap();
    maps.get("written").await.unwrap();
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));

    let events = cluster.audit().since(mark);
    let own: Vec<_> = events
        .iter()
        .filter(|event| event.user.username == "system:serviceaccount:default:writer")
        .map(|event| (event.verb.as_str(), event.resource(), event.code()))
        .collect();
    let resource = || "configmaps".to_owned();
    assert_eq!(
        own,
        [
            ("create", resource(), 201),
            ("get", resource(), 200),
            ("list", resource(), 403)
        ]
    );
    assert!(!format!("{events:?}").contains("a value"));
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn helm_installs_a_chart() {
    let _turn = Turn::beside_others().await;
    let cluster = ControlPlane::start().await;
    let helm = cluster.helm();
    let chart = tempfile::tempdir().unwrap();
    let chart = chart.path().join("demo");
    let chart = chart.to_str().unwrap();
    helm.run(&["create", chart]).await;
    helm.run(&["install", "demo", chart, "-n", "demo", "--create-namespace"])
        .await;
    let listed = helm.run(&["list", "-n", "demo", "-o", "json"]).await;
    assert!(listed.contains("\"deployed\""), "{listed}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn the_api_server_can_be_away_and_come_back() {
    let _turn = Turn::beside_others().await;
    let mut cluster = ControlPlane::start().await;
    let client = cluster.client().await;
    cluster.api_server().kill();
    assert!(client.apiserver_version().await.is_err());
    cluster.api_server().start_again();
    eventually("the API server's answer", PATIENCE, async || {
        client.apiserver_version().await
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn two_control_planes_share_nothing_and_leave_nothing() {
    let _turn = Turn::beside_others().await;
    let (one, other) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    one.kubectl().run(&["create", "namespace", "here"]).await;
    let elsewhere = other.kubectl().output(&["get", "namespace", "here"]).await;
    assert!(!elsewhere.status.success());
    for cluster in [one, other] {
        let folder = cluster.kubeconfig().parent().unwrap().to_owned();
        let used = folder.to_str().unwrap().to_owned();
        assert!(!processes_with(&used).is_empty());
        drop(cluster);
        assert!(!folder.exists());
        assert_eq!(processes_with(&used), Vec::<String>::new());
    }
}

/// The command lines that mention `text`.
fn processes_with(text: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.contains(text))
        .collect()
}
