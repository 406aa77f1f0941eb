//! The end of a source: its URL, its rows.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use trunkline_tests::kubernetes::eventually;
use trunkline_tests::{Behaviour, events};

use crate::site::{SECRET, Site, describe};

const PATIENCE: Duration = Duration::from_secs(30);

/// How long a deletion waits for a database, and the time to hear of its end.
const WITHOUT_DATABASE: Duration = Duration::from_secs(100);

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

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn a_deletion_ends_without_a_database() {
    let (site, way) = Site::behind_proxy("dbless").await;
    let _evidence = site.cluster.evidence();
    let manifest = site.source_with("dropped", "deletionPolicy: Delete");
    site.kubectl.apply(&manifest).await;
    let url = site.url("dropped").await;
    let event = &events(6, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);

    // As a server that hangs: connections stay, and nothing is answered.
    way.behave(Behaviour::BlackHole);
    let arguments = ["delete", "whs", "dropped", "-n", "dbless", "--wait=false"];
    site.kubectl.run(&arguments).await;
    let since = Instant::now();
    eventually("404", PATIENCE, async || {
        match site.post(&url, "{}", "another secret").await.status {
            404 => Ok(()),
            status => Err(format!("answered {status}")),
        }
    })
    .await;
    println!("404 after {:?}", since.elapsed());
    let sources = site.sources().await;
    eventually(
        "the end of the object",
        WITHOUT_DATABASE,
        async || match sources.get_opt("dropped").await.unwrap() {
            None => Ok(()),
            Some(source) => Err(describe(&source)),
        },
    )
    .await;
    println!("the object ended after {:?}", since.elapsed());
    let told: Api<Event> = Api::namespaced(site.cluster.client().await, "dbless");
    eventually("the event RowsKept", PATIENCE, async || {
        let events = told.list(&ListParams::default()).await.unwrap();
        let reasons: Vec<_> = events
            .items
            .iter()
            .filter_map(|it| it.reason.clone())
            .collect();
        let is_told = reasons.iter().any(|reason| reason == "RowsKept");
        is_told.then_some(()).ok_or(format!("{reasons:?}"))
    })
    .await;

    way.behave(Behaviour::Pass);
    assert_eq!(site.count("dropped.events").await, 1);
    // As the event says: made again, and deleted with a database that answers.
    site.kubectl.apply(&manifest).await;
    site.url("dropped").await;
    assert_eq!(site.count("dropped.events").await, 1);
    site.kubectl.run(&arguments).await;
    let gone = "pg_namespace WHERE nspname = 'dropped'";
    eventually(
        "the end of the rows",
        WITHOUT_DATABASE,
        async || match site.count(gone).await {
            0 => Ok(()),
            _ => Err("still there"),
        },
    )
    .await;
}
