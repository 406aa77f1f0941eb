//! Two manifests, a URL in the status, a POST, a row.

use std::time::{Duration, Instant};

use crate::site::{SECRET, Site};
use trunkline_tests::{events, scaled, seed};

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn two_manifests_a_url_a_post_a_row() {
    let site = Site::new("first-light").await;
    let _evidence = site.cluster.evidence();
    let applied = Instant::now();
    site.kubectl.apply(&site.source("segment")).await;
    let url = site.url("segment").await;
    println!("ready {:?} after apply, pods included", applied.elapsed());
    assert_eq!(
        url,
        "http://first-light.example.com/webhooks/first-light/segment"
    );
    let listed = site
        .kubectl
        .run(&["get", "whs", "-n", "first-light", "segment"])
        .await;
    assert!(listed.contains(&url), "{listed}");

    let event = &events(seed(), 1)[0];
    let answer = site.post(&url, &event.json, SECRET).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert_eq!(site.post(&url, &event.json, "wrong").await.status, 400);

    // As the reader: a role that is granted the source's group, and nothing else.
    let owner = site.database.connect().await;
    let group: String = owner
        .query_one(
            "SELECT r.rolname::text FROM pg_roles r JOIN pg_namespace n \
             ON has_schema_privilege(r.oid, n.oid, 'USAGE') \
             WHERE n.nspname = 'segment' AND r.rolname LIKE '%reader%'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    owner
        .batch_execute(&format!(
            "CREATE ROLE analyst LOGIN PASSWORD 'analyst'; GRANT \"{group}\" TO analyst"
        ))
        .await
        .unwrap();
    let mut login = site.database.clone();
    login.user = "analyst".to_owned();
    login.password = "analyst".to_owned();
    let analyst = login.connect().await;
    let row = analyst
        .query_one("SELECT message_id, auth_scope FROM segment.events", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), event.message_id);
    assert_eq!(row.get::<_, String>(1), "request");
    assert!(
        analyst
            .query("SELECT * FROM trunkline.events", &[])
            .await
            .is_err()
    );
}

/// Ready means that the first POST is accepted.
#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn the_first_post_after_ready_is_accepted() {
    let site = Site::new("fresh").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("warm")).await;
    site.url("warm").await;
    let count = scaled(20, 200);
    let mut took: Vec<Duration> = Vec::new();
    for (number, event) in events(seed(), count).iter().enumerate() {
        let name = format!("fresh-{number}");
        let applied = Instant::now();
        site.kubectl.apply(&site.source(&name)).await;
        let url = site.url(&name).await;
        took.push(applied.elapsed());
        let answer = site.post(&url, &event.json, SECRET).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    }
    took.sort();
    println!(
        "{count} of {count} first POSTs accepted; apply to Ready p50 {:?}, p95 {:?}, slowest {:?}",
        took[count / 2],
        took[count * 95 / 100],
        took[count - 1]
    );
}
