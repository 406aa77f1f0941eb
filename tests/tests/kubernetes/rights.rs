//! The chart grants what the operator does, and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_tests::kubernetes::{Cluster, eventually};

use crate::site::{OPERATOR_NAMESPACE, PATIENCE, Site};

/// Verb and resource, as in a Role.
type Right = (String, String);

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn the_audit_log_and_the_charts_rules_are_the_same() {
    let site = Site::new("rights").await;
    let _evidence = site.cluster.evidence();
    everything_the_operator_can_do(&site).await;
    let granted = granted(site.cluster).await;
    let used = eventually("every right in use", PATIENCE, async || {
        let used = used(site.cluster);
        let spare: Vec<_> = granted.difference(&used).cloned().collect();
        if spare.is_empty() {
            Ok(used)
        } else {
            Err(format!("{spare:?}"))
        }
    })
    .await;
    assert_eq!(used, granted);
    println!("{} rights granted, all of them used", granted.len());
}

async fn everything_the_operator_can_do(site: &Site) {
    let source = site.source_with("doomed", "deletionPolicy: Delete");
    site.kubectl.apply(&source).await;
    site.url("doomed").await;
    // The same Event twice is one Event with a count.
    let signing = site
        .kubectl
        .run(&["get", "secret", "signing", "-n", "rights", "-o", "yaml"])
        .await;
    for _ in 0..2 {
        site.kubectl
            .run(&["delete", "secret", "signing", "-n", "rights"])
            .await;
        site.ready("doomed", "False", "SecretNotFound").await;
        site.kubectl.apply(&signing).await;
        site.url("doomed").await;
    }
    // What the spec no longer asks for is deleted.
    site.patch_main(json!({"spec": {"exposure": null, "replicas": 1}}))
        .await;
    site.kubectl
        .run(&["delete", "whs", "doomed", "-n", "rights"])
        .await;
    // A watch is in the log once it has ended.
    site.restart_operator().await;
}

/// What the operator has done since it was installed. Nothing that it asked for was forbidden.
fn used(cluster: &Cluster) -> BTreeSet<Right> {
    // Not the account of `helm test`, which has rights of its own while it runs.
    let operator = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:trunkline-operator");
    let mut used = BTreeSet::new();
    for event in cluster.audit().all() {
        if event.user.username != operator || event.object_ref.is_none() {
            continue;
        }
        // A namespace that is going forbids everything, whatever the rules are.
        let namespace = event.object_ref.clone().unwrap_or_default().namespace;
        if event.code() == 403 && namespace != "rights" {
            continue;
        }
        assert_ne!(event.code(), 403, "forbidden: {event:?}");
        let resource = event.resource();
        // An apply of what is not there yet is a patch that needs the right to create.
        if event.verb == "patch" && event.code() == 201 {
            used.insert(("create".to_owned(), resource.clone()));
        }
        used.insert((event.verb.clone(), resource));
    }
    used
}

/// What the chart's roles grant to the operator.
async fn granted(cluster: &Cluster) -> BTreeSet<Right> {
    let get = async |arguments: &[&str]| -> Value {
        let output = cluster.kubectl().run(arguments).await;
        serde_json::from_str(&output).unwrap()
    };
    let cluster_role = get(&["get", "clusterrole", "trunkline-operator", "-o", "json"]).await;
    let roles = get(&["get", "roles", "-n", OPERATOR_NAMESPACE, "-o", "json"]).await;
    let rules = roles["items"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&cluster_role])
        .flat_map(|role| role["rules"].as_array().unwrap());
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().unwrap();
        list.iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let mut granted = BTreeSet::new();
    for rule in rules {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let (name, sub) = resource.split_once('/').unwrap_or((&resource, ""));
                let mut full = name.to_owned();
                if !group.is_empty() {
                    full = format!("{full}.{group}");
                }
                if !sub.is_empty() {
                    full = format!("{full}/{sub}");
                }
                for verb in texts(&rule["verbs"]) {
                    granted.insert((verb, full.clone()));
                }
            }
        }
    }
    granted
}
