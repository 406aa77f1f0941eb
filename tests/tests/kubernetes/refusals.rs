//! What is wrong with a manifest is said where its author looks, and the last good is served on.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::site::{SECRET, Site};
use trunkline_tests::events;
use trunkline_tests::kubernetes::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn every_invalid_manifest_is_refused_with_its_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("invalid-manifests");
    let site = Site::with("refusals", "replicas: 1", "CREATEROLE").await;
    let _evidence = site.cluster.evidence();
    let mut slowest = Duration::ZERO;
    let mut refused = [0, 0];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let words = lines.next().unwrap().strip_prefix("# expect: ").unwrap();
        let by_schema = lines.next().unwrap().ends_with("schema");
        let documents: Vec<&str> = text.split("\n---\n").collect();
        let (last, before) = documents.split_last().unwrap();
        // Each file has a namespace of its own, so that none is in another's way.
        let namespace = format!("invalid-{file}");
        let namespace = namespace[..namespace.len().min(60)]
            .trim_end_matches('-')
            .to_owned();
        let main = "apiVersion: trunkline.dev/v1alpha1\nkind: WebhookCluster\nmetadata: {name: main}\nspec: {replicas: 0, database: {secretRef: {name: warehouse}}}\n";
        site.kubectl.run(&["create", "namespace", &namespace]).await;
        let apply = async |document: &str| {
            let arguments = ["apply", "-n", &namespace, "-f", "-"];
            site.kubectl.output_with_input(&arguments, document).await
        };
        if !text.contains("kind: WebhookCluster") && file != "source-of-an-absent-cluster" {
            assert!(apply(main).await.status.success());
        }
        for document in before {
            let output = apply(document).await;
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}: {error}");
        }
        let output = apply(last).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), !by_schema, "{file}: {error}");
        refused[usize::from(by_schema)] += 1;
        if by_schema {
            assert!(error.contains(words), "{file}: {error}");
        } else {
            let since = Instant::now();
            eventually(&file, PATIENCE, async || {
                let said = site
                    .kubectl
                    .run(&[
                        "get",
                        "whc,whs",
                        "-n",
                        &namespace,
                        "-o",
                        "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status} {.status.conditions[?(@.type==\"Ready\")].message}{\"\\n\"}{end}",
                    ])
                    .await;
                let is_said = said
                    .lines()
                    .any(|line| line.starts_with("False ") && line.contains(words));
                is_said.then_some(()).ok_or(said)
            })
            .await;
            slowest = slowest.max(since.elapsed());
        }
        site.kubectl
            .run(&["delete", "namespace", &namespace, "--wait=false"])
            .await;
    }
    println!(
        "{} refused at apply, {} by the operator, the slowest after {slowest:?}",
        refused[1], refused[0]
    );
    assert!(refused[0] >= 10 && refused[1] >= 30);
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn an_invalid_edit_leaves_the_last_good_in_place() {
    let site = Site::new("last-good").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("segment")).await;
    let url = site.url("segment").await;
    let broken = site
        .source("segment")
        .replace("preset: segment", "preset: nobody");
    site.kubectl.apply(&broken).await;
    site.ready("segment", "False", "InvalidSpec").await;
    let event = &events(5, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    // The operator that starts again knows the last good from what is served.
    site.kubectl
        .run(&[
            "delete",
            "pod",
            "-n",
            crate::site::OPERATOR_NAMESPACE,
            "--all",
        ])
        .await;
    site.kubectl
        .run(&[
            "rollout",
            "status",
            "deployment",
            "-n",
            crate::site::OPERATOR_NAMESPACE,
        ])
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    site.kubectl.apply(&site.source("segment")).await;
    site.url("segment").await;
}
