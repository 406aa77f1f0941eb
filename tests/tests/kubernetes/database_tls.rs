//! TLS to the database, verified by an authority that a Secret holds.

use serde_json::json;
use trunkline_tests::kubernetes::eventually;
use trunkline_tests::{Authority, events};

use crate::site::{PATIENCE, SECRET, Site};

/// Waits until the condition of the database has this status and reason.
async fn database(site: &Site, status: &str, reason: &str) -> String {
    eventually(reason, PATIENCE, async || {
        let main = site.main().await;
        let generation = main.metadata.generation;
        let conditions = main.status.map(|it| it.conditions).unwrap_or_default();
        let found = conditions.iter().find(|it| it.type_ == "DatabaseReady");
        let is_it = |it: &&_| condition_is(it, status, reason, generation);
        let message = found.filter(is_it).map(|it| it.message.clone());
        message.ok_or(format!("{found:?}"))
    })
    .await
}

fn condition_is(
    condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
    status: &str,
    reason: &str,
    generation: Option<i64>,
) -> bool {
    condition.status == status
        && condition.reason == reason
        && condition.observed_generation == generation
}

async fn write_authority(site: &Site, authority: &Authority) {
    let pem = serde_json::to_string(&authority.pem()).unwrap();
    site.kubectl
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: warehouse-ca, namespace: {}}}\n\
             stringData: {{ca.crt: {pem}}}\n",
            site.namespace
        ))
        .await;
}

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn the_database_is_verified_by_the_authority_of_a_secret() {
    let site = Site::with("database-tls", "replicas: 1\n  suspend: true", "CREATEROLE").await;
    site.cluster.postgres().offer_tls().await;
    let _evidence = site.cluster.evidence();
    site.patch_main(json!({"spec": {
        "suspend": null,
        "database": {"caSecretRef": {"name": "warehouse-ca"}},
    }}))
    .await;
    let absent = database(&site, "False", "SecretNotFound").await;
    assert!(
        absent.contains("spec.database.caSecretRef.name"),
        "{absent}"
    );

    write_authority(&site, &Authority::new()).await;
    let untrusted = database(&site, "False", "CertificateNotTrusted").await;
    println!("{untrusted}");

    write_authority(&site, site.cluster.postgres().authority()).await;
    site.kubectl.apply(&site.source("segment")).await;
    let url = site.url("segment").await;
    let event = &events(3, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);

    // Ingesters and operator, whoever is connected.
    let superuser = site.cluster.postgres().connect().await;
    let sessions = superuser
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl \
             JOIN pg_stat_activity USING (pid) WHERE datname = 'database-tls'",
            &[],
        )
        .await
        .unwrap();
    let (all, with_tls): (i64, i64) = (sessions.get(0), sessions.get(1));
    println!("{with_tls} of {all} sessions have TLS");
    assert!(all > 0 && all == with_tls);
}
