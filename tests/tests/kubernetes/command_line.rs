//! `trunkline status`, `trunkline probe` and `trunkline schema` against a real cluster.

use serde_json::Value;
use trunkline_tests::kubernetes::{CommandLine, eventually};
use trunkline_tests::{binary, events, seed};

use crate::site::{PATIENCE, Site};

fn trunkline(site: &Site) -> CommandLine {
    site.kubectl.with_program(&binary("trunkline"))
}

/// What `trunkline status` prints once everything in the namespace is ready.
async fn status_once_ready(site: &Site, format: &str) -> String {
    let trunkline = trunkline(site);
    eventually("everything is ready", PATIENCE, async || {
        let arguments = ["status", "-n", &site.namespace, "-o", format];
        let output = trunkline.output(&arguments).await;
        let text = String::from_utf8(output.stdout).unwrap();
        match output.status.code() {
            Some(0) => Ok(text),
            _ => Err(text),
        }
    })
    .await
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn status_tells_every_part_and_the_next_step() {
    let site = Site::new("told").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("segment")).await;
    site.url("segment").await;
    let report: Value = serde_json::from_str(&status_once_ready(&site, "json").await).unwrap();
    let cluster = &report["clusters"][0];
    assert_eq!(cluster["ready"]["status"], "True");
    assert_eq!(cluster["roles"], "Managed");
    let pods = cluster["pods"].as_array().unwrap();
    assert_eq!(pods.len(), 2, "{pods:?}");
    for pod in pods {
        assert_eq!(pod["configuration"], "newest", "{pod}");
        assert_eq!(pod["database"], "ready", "{pod}");
    }
    let trunkline = trunkline(&site);
    let text = trunkline.run(&["status", "-n", "told", "segment"]).await;
    println!("{text}");
    assert!(
        text.contains("configuration newest  database ready"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "colour without a terminal");

    // What is refused is counted, with what to do, and harms no readiness.
    let url = site.url("segment").await;
    let event = &events(seed(), 1)[0].json;
    for _ in 0..3 {
        assert_eq!(site.post(&url, event, "wrong").await.status, 400);
    }
    let text = trunkline.run(&["status", "-n", "told"]).await;
    println!("{text}");
    let refused = "refused 3 in the last hour: signature_mismatch (3)\n    \
        next: Compare the secrets of sender and source";
    assert!(text.contains(refused), "{text}");
    eventually("the reason in the status", PATIENCE, async || {
        let source = site.sources().await.get("segment").await.unwrap();
        let top = source.status.and_then(|status| status.top_refusal);
        let is_said = top.as_deref() == Some("signature_mismatch");
        is_said.then_some(()).ok_or(format!("{top:?}"))
    })
    .await;

    let delete = ["delete", "secret", "signing", "-n", "told"];
    site.kubectl.run(&delete).await;
    site.ready("segment", "False", "SecretNotFound").await;
    let output = trunkline.output(&["status", "-n", "told"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let next = "next: kubectl -n told create secret generic signing \
        --from-literal=secret=SHARED_SECRET";
    assert!(text.contains(next), "{text}");

    let output = trunkline.output(&["status", "-n", "told", "nobody"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("\"nobody\""), "{error}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn status_says_what_it_may_not_ask() {
    let site = Site::new("viewed").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("segment")).await;
    site.url("segment").await;
    // The role `view` reads both kinds and pods, and proxies to none.
    site.kubectl
        .apply(
            "apiVersion: v1
kind: ServiceAccount
metadata: {name: viewer, namespace: viewed}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewer, namespace: viewed}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: viewer, namespace: viewed}]
",
        )
        .await;
    let create = ["create", "token", "viewer", "-n", "viewed"];
    let token = site.kubectl.run(&create).await;
    let view = ["config", "view", "--raw", "-o", "json"];
    let mut config: Value = serde_json::from_str(&site.kubectl.run(&view).await).unwrap();
    for user in config["users"].as_array_mut().unwrap() {
        user["user"] = serde_json::json!({"token": token.trim()});
    }
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kubeconfig.path(), config.to_string()).unwrap();

    let trunkline = trunkline(&site).with_kubeconfig(kubeconfig.path());
    let output = trunkline.output(&["status", "-n", "viewed"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("the right to get pods/proxy"), "{text}");
    assert!(text.contains("segment.events"), "{text}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_probe_through_the_ingress_finds_every_row() {
    let site = Site::new("probed-by-hand").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("segment")).await;
    site.url("segment").await;
    let ingress = format!("{}:80", site.cluster.node_address());
    let what = ["probe", "--source", "probed-by-hand/segment", "-o", "json"];
    let how = ["--for", "5s", "--rate", "100", "--connect-to", &ingress];
    let arguments = [&what[..], &how[..]].concat();
    let account = trunkline(&site).run(&arguments).await;
    println!("{account}");
    let account: Value = serde_json::from_str(&account).unwrap();
    assert_eq!(account["first_request"]["status"], 200);
    assert_eq!(account["rows"]["missing"], 0);
    assert_eq!(account["rows"]["found"], account["sent"]);
    let rows = site.count("segment.events").await;
    assert_eq!(Some(rows), account["sent"].as_i64());

    // The database is found through the source, and without one through the only cluster.
    for arguments in [
        &["schema", "show", "-n", "probed-by-hand", "segment"][..],
        &["schema", "show", "-n", "probed-by-hand"],
    ] {
        let shown = trunkline(&site).run(arguments).await;
        assert!(
            shown.starts_with("there are no relations beside events"),
            "{shown}"
        );
    }
}
