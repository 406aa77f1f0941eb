//! The end of a source: its URL, its rows.

use std::time::{Duration, Instant};

use crate::site::{SECRET, Site};
use trunkline_tests::events;
use trunkline_tests::kubernetes::eventually;

const PATIENCE: Duration = Duration::from_secs(30);

async fn gone(site: &Site, url: &str) {
    let since = Instant::now();
    eventually("404", PATIENCE, async || {
        match site.post(url, "{}", "another secret").await.status {
            404 => Ok(()),
            status => Err(format!("answered {status}")),
        }
    })
    .await;
    println!("404 after {:?}", since.elapsed());
}

async fn delete(site: &Site, source: &str) {
    let arguments = [
        "delete",
        "whs",
        source,
        "-n",
        &site.namespace,
        "--wait=false",
    ];
    site.kubectl.run(&arguments).await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn rows_are_kept_and_taken_up_again_or_dropped() {
    let site = Site::new("deletion").await;
    let _evidence = site.cluster.evidence();
    let event = &events(3, 1)[0].json;

    site.kubectl.apply(&site.source("kept")).await;
    let url = site.url("kept").await;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    delete(&site, "kept").await;
    gone(&site, &url).await;
    assert_eq!(site.count("kept.events").await, 1);
    site.kubectl.apply(&site.source("kept")).await;
    assert_eq!(site.url("kept").await, url);
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    assert_eq!(site.count("kept.events").await, 2);

    let dropped = site.source_with("dropped", "deletionPolicy: Delete");
    site.kubectl.apply(&dropped).await;
    let url = site.url("dropped").await;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    delete(&site, "dropped").await;
    gone(&site, &url).await;
    let sources = site.sources().await;
    eventually("the end of the object", PATIENCE, async || {
        match sources.get_opt("dropped").await.unwrap() {
            None => Ok(()),
            Some(_) => Err("still there"),
        }
    })
    .await;
    assert_eq!(
        site.count("pg_namespace WHERE nspname = 'dropped'").await,
        0
    );
    assert_eq!(site.count("kept.events").await, 2);
}
