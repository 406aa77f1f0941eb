//! Secrets that come late, change, lose a key, go; each is said, and a sender keeps its events.

use std::time::{Duration, Instant};

use crate::site::{SECRET, Site, condition, describe};
use trunkline_tests::events;

/// How soon the condition follows the Secret. The bar is two seconds; a machine that builds beside
/// the test takes longer, and what it took is printed.
const SOON: Duration = Duration::from_secs(20);

fn signing(namespace: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: own, namespace: {namespace}}}\n{data}\n"
    )
}

async fn expect(site: &Site, status: &str, reason: &str, words: &str, what: &str) {
    let changed = Instant::now();
    let source = site.ready("late", status, reason).await;
    let took = changed.elapsed();
    println!("{what}: {reason} after {took:?}");
    assert!(took < SOON, "{what} took {took:?}");
    let all = describe(&source);
    assert!(all.contains(words), "{what}: {all}");
    assert!(!all.contains("hunter2"), "{all}");
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn every_state_of_a_secret_is_said() {
    let site = Site::new("secrets").await;
    let _evidence = site.cluster.evidence();
    let manifest = site
        .source("late")
        .replace("name: signing, key: secret", "name: own, key: secret");
    site.kubectl.apply(&manifest).await;
    expect(
        &site,
        "False",
        "SecretNotFound",
        "there is no Secret \"own\"",
        "absent",
    )
    .await;

    let event = &events(7, 1)[0].json;
    let first = "hunter2-is-the-first-value";
    site.kubectl
        .apply(&signing(
            "secrets",
            &format!("stringData: {{secret: {first}}}"),
        ))
        .await;
    let url = site.url("late").await;
    assert_eq!(site.post(&url, event, first).await.status, 200);

    // An edit in place: the new value is accepted, and the old one for as long as its grace.
    let second = "hunter2-is-the-second-value";
    site.kubectl
        .apply(&signing(
            "secrets",
            &format!("stringData: {{secret: {second}}}"),
        ))
        .await;
    accepted_soon(&site, &url, event, second).await;
    assert_eq!(site.post(&url, event, first).await.status, 200);
    assert_eq!(site.post(&url, event, SECRET).await.status, 400);
    // Without a grace the old one ends at once.
    let source = manifest.replace("spec:\n", "spec:\n  rotationGrace: 0s\n");
    site.kubectl.apply(&source).await;
    site.url("late").await;
    assert_eq!(site.post(&url, event, first).await.status, 400);
    assert_eq!(site.post(&url, event, second).await.status, 200);

    site.kubectl
        .run(&[
            "patch", "secret", "own", "-n", "secrets", "--type=json", "-p",
            r#"[{"op":"remove","path":"/data/secret"},{"op":"add","path":"/data/other","value":"eA=="}]"#,
        ])
        .await;
    expect(
        &site,
        "False",
        "SecretKeyNotFound",
        "its keys are: other",
        "no key",
    )
    .await;
    unavailable_soon(&site, &url, event, second).await;

    let newline = signing(
        "secrets",
        "stringData: {secret: \"hunter2-ends-with-a-newline\\n\"}",
    );
    site.kubectl.apply(&newline).await;
    let source = site.ready("late", "True", "Serving").await;
    let (_, _, message, _) = condition(&source, "SecretsResolved").unwrap();
    assert!(message.contains("trailing newline"), "{message}");

    site.kubectl
        .run(&["delete", "secret", "own", "-n", "secrets"])
        .await;
    expect(
        &site,
        "False",
        "SecretNotFound",
        "there is no Secret",
        "deleted",
    )
    .await;
    // 503 and never 404: the sender keeps the event and tries again.
    unavailable_soon(&site, &url, event, "hunter2-ends-with-a-newline\n").await;
    nothing_tells_the_value(&site).await;
}

async fn accepted_soon(site: &Site, url: &str, event: &str, secret: &str) {
    let since = Instant::now();
    while site.post(url, event, secret).await.status != 200 {
        assert!(since.elapsed() < SOON, "not accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("new value accepted after {:?}", since.elapsed());
}

async fn unavailable_soon(site: &Site, url: &str, event: &str, secret: &str) {
    let since = Instant::now();
    loop {
        let answer = site.post(url, event, secret).await;
        match answer.status {
            503 => break,
            200 => assert!(since.elapsed() < SOON, "still accepted"),
            other => panic!("answered {other}: {}", answer.text),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("503 after {:?}", since.elapsed());
}

/// Values are in their own Secret and in the configuration Secrets, and nowhere else.
async fn nothing_tells_the_value(site: &Site) {
    let kubectl = &site.kubectl;
    let objects = kubectl
        .run(&[
            "get",
            "all,events,whc,whs,ingress,pdb,sa,cm,endpointslices",
            "-n",
            &site.namespace,
            "-o",
            "yaml",
        ])
        .await;
    let mut logs = kubectl
        .run(&[
            "logs",
            "-n",
            crate::site::OPERATOR_NAMESPACE,
            "-l",
            "app.kubernetes.io/name=trunkline",
            "--tail=-1",
        ])
        .await;
    logs += &kubectl
        .run(&[
            "logs",
            "-n",
            &site.namespace,
            "-l",
            "app.kubernetes.io/name=trunkline-ingester",
            "--tail=-1",
            "--prefix",
        ])
        .await;
    assert!(!logs.is_empty());
    let metrics = metrics(site).await;
    assert!(metrics.contains("trunkline_ingester_requests"), "{metrics}");
    for text in [objects, logs, metrics] {
        assert!(!text.contains("hunter2"), "a value is told");
        assert!(!text.contains(&site.database.password), "the password");
    }
    // Past every view: where etcd has them, in whatever object.
    let stored = site.cluster.stored().await;
    let with = |value: &str| -> Vec<String> {
        let holding = stored.iter().filter(|entry| entry.holds(value));
        holding.map(|entry| entry.key.clone()).collect()
    };
    assert_eq!(with("hunter2"), Vec::<String>::new());
    // Other tests' namespaces have the same in their Secret of that name.
    let is_signing =
        |key: &String| key.starts_with("/registry/secrets/") && key.ends_with("/signing");
    let signing = with(SECRET);
    assert!(signing.iter().all(is_signing), "{signing:?}");
    assert!(signing.contains(&"/registry/secrets/secrets/signing".to_owned()));
    assert_eq!(
        with(&site.database.password),
        ["/registry/secrets/secrets/warehouse"]
    );
}

/// What every pod of the site and of the operator tells a scraper.
async fn metrics(site: &Site) -> String {
    let mut metrics = String::new();
    for (namespace, app, port) in [
        (site.namespace.as_str(), "trunkline-ingester", 9090),
        (crate::site::OPERATOR_NAMESPACE, "trunkline", 8080),
    ] {
        let label = format!("app.kubernetes.io/name={app}");
        let names = ["get", "pods", "-n", namespace, "-l", &label, "-o", "name"];
        let pods = site.kubectl.run(&names).await;
        for pod in pods.lines().filter_map(|name| name.strip_prefix("pod/")) {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
            metrics += &site.kubectl.run(&["get", "--raw", &path]).await;
        }
    }
    metrics
}
