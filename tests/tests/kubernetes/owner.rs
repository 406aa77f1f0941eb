//! What the operator cannot do in the database stops nothing that needs no database.

use std::time::{Duration, Instant};

use trunkline_tests::events;
use trunkline_tests::kubernetes::eventually;

use crate::site::{PATIENCE, SECRET, Site, describe};

/// How soon an edited secret is accepted, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "needs Kubernetes: make e2e"]
async fn an_owner_who_cannot_log_in_stops_neither_senders_nor_rotations() {
    let site = Site::new("owner").await;
    let _evidence = site.cluster.evidence();
    site.kubectl.apply(&site.source("segment")).await;
    let url = site.url("segment").await;

    let mut wrong = site.database.clone();
    wrong.password = "not-the-password".to_owned();
    site.kubectl
        .apply(&wrong.secret("owner", "warehouse"))
        .await;
    eventually("the refused login", PATIENCE, async || {
        let conditions = site.main().await.status.unwrap().conditions;
        let database = conditions.iter().find(|it| it.type_ == "DatabaseReady");
        let reason = database.map(|database| database.reason.clone());
        let is_said = reason.as_deref() == Some("LoginRefused");
        is_said.then_some(()).ok_or(format!("{reason:?}"))
    })
    .await;

    let event = &events(11, 1)[0].json;
    assert_eq!(site.post(&url, event, SECRET).await.status, 200);
    let edited = "the-secret-after-the-edit";
    site.kubectl
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: signing, namespace: owner}}\n\
             stringData: {{secret: {edited}}}\n"
        ))
        .await;
    let since = Instant::now();
    while site.post(&url, event, edited).await.status != 200 {
        assert!(since.elapsed() < SOON, "the edited secret is not accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let source = site.sources().await.get("segment").await.unwrap();
    site.ready("segment", "True", "Serving").await;
    println!("{}", describe(&source));
}
