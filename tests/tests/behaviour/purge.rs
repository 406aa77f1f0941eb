//! `trunkline purge` by its binary: whom it finds, what it prints, what it leaves.

use std::process::{Command, Output};

use serde_json::Value;
use trunkline_tests::{SourceDraft, Station, binary};

fn purge(station: &Station, arguments: &[&str]) -> Output {
    Command::new(binary("trunkline"))
        .arg("purge")
        .args(["--database-url", &station.database.url()])
        .args(arguments)
        .output()
        .unwrap()
}

/// What it printed, after it succeeded.
fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn post(station: &Station, bodies: &[&str]) {
    let mut client = station.ingester.client();
    for source in &station.sources {
        for body in bodies {
            let answer = client
                .post(&source.path(), &[], (*body).to_owned())
                .await
                .unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_person_is_counted_and_then_gone_from_all_sources() {
    let sources = ["shop", "web"].map(SourceDraft::unverified);
    let station = Station::with(sources.to_vec()).await;
    post(
        &station,
        &[
            r#"{"type":"track","userId":"ada","anonymousId":"5f1c"}"#,
            r#"{"type":"page","anonymousId":"5f1c"}"#,
            r#"{"type":"track","userId":4711,"note":"\u0000"}"#,
            r#"{"type":"track","userId":"eve"}"#,
        ],
    )
    .await;
    let both = ["--user-id", "ada", "--anonymous-id", "5f1c"];
    let dry = printed(&purge(&station, &[&both[..], &["--dry-run"]].concat()));
    assert_eq!(dry, "user_id ada: 2 rows\nanonymous_id 5f1c: 2 rows\n");
    let rows = "SELECT count(*) FROM trunkline.events";
    assert_eq!(station.database.count(rows).await, 8);

    let gone = purge(&station, &[&both[..], &["-o", "json"]].concat());
    let gone: Vec<Value> = printed(&gone)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(gone.len(), 2);
    assert_eq!(
        (&gone[0]["id"], &gone[0]["rows"]),
        (&"ada".into(), &2.into())
    );
    assert_eq!(
        (&gone[1]["kind"], &gone[1]["rows"]),
        (&"anonymous_id".into(), &2.into())
    );
    assert_eq!(station.database.count(rows).await, 4);
    let audit = format!(
        "SELECT count(*) FROM trunkline.purges WHERE finished_at IS NOT NULL AND rows = 2 \
         AND id IN ({}, {})",
        gone[0]["purge"], gone[1]["purge"]
    );
    assert_eq!(station.database.count(&audit).await, 2);

    // A number is a user as well, and one source can be enough.
    let number = purge(&station, &["--user-id", "4711", "--source", "default/web"]);
    assert!(printed(&number).starts_with("user_id 4711: 1 rows deleted (purge "));
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM shop.events")
            .await,
        2
    );
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM web.events")
            .await,
        1
    );
}

#[tokio::test]
async fn whom_delete_events_name_is_listed_and_then_gone() {
    let sources = ["shop", "web"].map(SourceDraft::unverified);
    let station = Station::with(sources.to_vec()).await;
    post(
        &station,
        &[
            r#"{"type":"identify","userId":"ada"}"#,
            r#"{"type":"delete","userId":"ada"}"#,
            r#"{"type":"identify","userId":"eve"}"#,
        ],
    )
    .await;
    let from = ["--from-deletes", "default/shop"];
    let listed = printed(&purge(&station, &[&from[..], &["--dry-run"]].concat()));
    assert_eq!(listed, "user_id ada: 4 rows\n");
    let gone = printed(&purge(&station, &from));
    assert!(gone.starts_with("user_id ada: 4 rows deleted"), "{gone}");
    let left = "SELECT count(*) FROM trunkline.events WHERE user_id = 'eve'";
    assert_eq!(station.database.count(left).await, 2);
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM trunkline.events")
            .await,
        2
    );
    let again = purge(&station, &from);
    assert_eq!(printed(&again), "");
    let errors = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(errors.contains("no delete event is stored"), "{errors}");
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM trunkline.purges")
            .await,
        1
    );
}

#[tokio::test]
async fn what_it_cannot_do_it_says_before_it_does_anything() {
    let station = Station::with(vec![SourceDraft::unverified("shop")]).await;
    post(&station, &[r#"{"userId":"ada"}"#]).await;
    for (arguments, words) in [
        (&[][..], "--user-id"),
        (&["--user-id", ""], "--user-id"),
        (
            &["--user-id", "ada", "--source", "default/shp"],
            "there is no source default/shp in this database; there are: default/shop",
        ),
        (
            &["--from-deletes", "default/shp"],
            "there is no source default/shp",
        ),
    ] {
        let output = purge(&station, arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM trunkline.events")
            .await,
        1
    );
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM trunkline.purges")
            .await,
        0
    );
}
