//! `trunkline dev` as the README has it: manifests in, rows out, from one command.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use trunkline_tests::{Dev, events, seed};

const SECRET: &str = Dev::SECRET;

/// A copy of the examples that a test can edit.
fn examples() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(Dev::examples()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// The source of the examples under the name `second`.
fn second_source(source: &str) -> String {
    source
        .replace("name: segment\n", "name: second\n")
        .replace("  path: /webhooks/default/segment # the default\n", "")
        .replace("  schema: segment # the default\n", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_works_and_edits_are_served_without_a_restart() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let data = data.path().join("data");
    let seed = seed();
    let dev = Dev::start(manifests.path(), &data, &[]);
    let database = dev.line("database", "", "")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let ready = dev.line("ready", "source", "default/segment");
    let path = "/webhooks/default/segment";
    assert_eq!(ready["url"], format!("http://{}{path}", dev.address()));
    assert_eq!(ready["relation"], "segment.events");
    assert_eq!(
        dev.post(path, SECRET, seed).await,
        200,
        "the first POST after ready"
    );
    assert_eq!(dev.post(path, "another", seed).await, 400);

    let (client, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let id = &events(seed, 1)[0].message_id;
    let row = client
        .query_one(
            "SELECT message_id, headers->>'user-agent', event_type FROM segment.events",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), id);

    // A second source appears beside the first.
    let source = std::fs::read_to_string(manifests.path().join("source.yaml")).unwrap();
    let second = second_source(&source);
    std::fs::write(manifests.path().join("second.yaml"), &second).unwrap();
    assert_eq!(
        dev.line("ready", "source", "default/second")["relation"],
        "second.events"
    );
    assert_eq!(
        dev.post("/webhooks/default/second", SECRET, seed).await,
        200
    );

    // A mistake is said and changes nothing.
    std::fs::write(
        manifests.path().join("second.yaml"),
        second.replace("format: Json", "format: Jsn"),
    )
    .unwrap();
    let invalid = dev.line("invalid", "", "")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(invalid.contains("second.yaml"), "{invalid}");
    assert_eq!(
        dev.post("/webhooks/default/second", SECRET, seed).await,
        200
    );

    // It goes away again.
    std::fs::remove_file(manifests.path().join("second.yaml")).unwrap();
    let _ = dev.line("removed", "source", "default/second");
    assert_eq!(
        dev.post("/webhooks/default/second", SECRET, seed).await,
        404
    );
    assert_eq!(dev.post(path, SECRET, seed + 1).await, 200);

    // Another secret replaces the one there was.
    let secret = std::fs::read_to_string(manifests.path().join("secret.yaml")).unwrap();
    std::fs::write(
        manifests.path().join("secret.yaml"),
        secret.replace(SECRET, "a new one"),
    )
    .unwrap();
    let start = Instant::now();
    while dev.post(path, "a new one", seed + 2).await != 200 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the new secret is not served"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What Segment still signs with is accepted until the grace is over.
    assert_eq!(dev.post(path, SECRET, seed + 3).await, 200);
    std::fs::write(
        manifests.path().join("source.yaml"),
        source.replace("spec:\n", "spec:\n  rotationGrace: 0s\n"),
    )
    .unwrap();
    let start = Instant::now();
    while dev.post(path, SECRET, seed).await != 400 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the old secret is still served"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert!(dev.end(Signal::SIGINT).success());
    assert!(
        tokio_postgres::connect(&database, tokio_postgres::NoTls)
            .await
            .is_err()
    );

    // The rows are there after another start of the same folder.
    let dev = Dev::start(manifests.path(), &data, &[]);
    let database = dev.line("database", "", "")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let _ = dev.line("ready", "source", "default/segment");
    let (client, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let count: i64 = client
        .query_one("SELECT count(DISTINCT message_id) FROM segment.events", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 4);
    assert!(dev.end(Signal::SIGTERM).success());
}

/// Days ago whose partitions the second start finds: one within the retention, one beyond it.
const PAST: [i32; 2] = [3, 40];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_drops_what_is_too_old_and_freezes_what_is_over() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let data = data.path().join("data");
    let source = manifests.path().join("source.yaml");
    let kept = std::fs::read_to_string(&source)
        .unwrap()
        .replace("spec:\n", "spec:\n  retention: 30d\n");
    std::fs::write(source, kept).unwrap();
    let dev = Dev::start(manifests.path(), &data, &[]);
    let database = connect(&dev).await;
    let _ = dev.line("ready", "source", "default/segment");
    let bucket = "SELECT bucket FROM trunkline.sources WHERE source = 'default/segment'";
    let bucket: i32 = database.query_one(bucket, &[]).await.unwrap().get(0);
    for age in PAST {
        // Made as the days were that passed.
        let day = format!(
            "DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {age}; \
             leaf text := 'trunkline_data.bucket_{bucket}_' || to_char(day, 'YYYYMMDD'); BEGIN \
             EXECUTE format('CREATE TABLE %s (LIKE trunkline_data.bucket_{bucket} INCLUDING DEFAULTS)', leaf); \
             EXECUTE format('ALTER TABLE trunkline_data.bucket_{bucket} ATTACH PARTITION %s \
             FOR VALUES FROM (%L) TO (%L)', leaf, day || ' 00:00+00', day + 1 || ' 00:00+00'); END $$"
        );
        database.batch_execute(&day).await.unwrap();
    }
    assert!(dev.end(Signal::SIGINT).success());

    let dev = Dev::start(manifests.path(), &data, &[]);
    let database = connect(&dev).await;
    let count = format!(
        "SELECT count(f.partition) FROM unnest(ARRAY[{}, {}]) age \
         JOIN pg_class c ON c.relname = 'bucket_{bucket}_' || \
         to_char((now() AT TIME ZONE 'UTC')::date - age, 'YYYYMMDD') \
         LEFT JOIN trunkline.frozen_partitions f ON f.partition = c.oid \
         GROUP BY age ORDER BY age",
        PAST[0], PAST[1]
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let rows = database.query(&count, &[]).await.unwrap();
        let frozen: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        // One is left, and that one is frozen.
        if frozen == [1] {
            break;
        }
        assert!(Instant::now() < deadline, "{frozen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(dev.end(Signal::SIGINT).success());
}

/// The database that was announced.
async fn connect(dev: &Dev) -> tokio_postgres::Client {
    let line = dev.line("database", "", "");
    let url = line["url"].as_str().unwrap();
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_shows_every_type_counted() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let dev = Dev::start(
        manifests.path(),
        &data.path().join("data"),
        &["--send", "200"],
    );
    let counted = dev.line("counted", "relation", "segment.events");
    let types = counted["types"].as_object().unwrap();
    assert_eq!(types.len(), 7, "{types:?}");
    assert_eq!(types.values().filter_map(Value::as_i64).sum::<i64>(), 200);
    let shown = dev.line("relations", "schema", "segment");
    let relations = shown["relations"].as_object().unwrap();
    let rows = |relation: &str| relations.get(relation).and_then(Value::as_i64).unwrap_or(0);
    assert_eq!(
        Some(rows("tracks")),
        types["track"].as_i64(),
        "{relations:?}"
    );
    // Those of events have all of them between themselves.
    let always = [
        "tracks",
        "identifies",
        "users",
        "pages",
        "screens",
        "groups",
        "accounts",
        "aliases",
        "deletes",
        "discards",
    ];
    let of_events = relations
        .keys()
        .filter(|name| !always.contains(&name.as_str()));
    let of_events: i64 = of_events.map(|name| rows(name)).sum();
    assert_eq!(of_events, rows("tracks"), "{relations:?}");
    assert!(dev.end(Signal::SIGINT).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_while_it_sends_is_served_afterwards() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let data = data.path().join("data");
    let dev = Dev::start(manifests.path(), &data, &["--send", "5000"]);
    let _ = dev.line("ready", "source", "default/segment");
    let source = std::fs::read_to_string(manifests.path().join("source.yaml")).unwrap();
    let second = manifests.path().join("second.yaml");
    std::fs::write(second, second_source(&source)).unwrap();
    let _ = dev.line("counted", "relation", "segment.events");
    let _ = dev.line("ready", "source", "default/second");
    assert!(dev.end(Signal::SIGINT).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_that_share_their_partitions_show_each_its_own_events() {
    let (manifests, data) = (examples(), tempfile::tempdir().unwrap());
    let source = std::fs::read_to_string(manifests.path().join("source.yaml")).unwrap();
    let source = source.replace("spec:\n", "spec:\n  storage: Shared\n  retention: 30d\n");
    std::fs::write(manifests.path().join("source.yaml"), &source).unwrap();
    let second = manifests.path().join("second.yaml");
    std::fs::write(second, second_source(&source)).unwrap();
    let seed = seed();
    let dev = Dev::start(manifests.path(), &data.path().join("data"), &[]);
    let database = dev.line("database", "", "")["url"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in ["second", "segment"] {
        let _ = dev.line("ready", "source", &format!("default/{name}"));
    }
    for (name, number) in [("segment", 0), ("second", 1), ("second", 2)] {
        let path = format!("/webhooks/default/{name}");
        assert_eq!(dev.post(&path, SECRET, seed + number).await, 200);
    }
    let (client, connection) = tokio_postgres::connect(&database, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let counted = client
        .query_one(
            "SELECT (SELECT count(*) FROM segment.events WHERE source = 'default/segment'), \
             (SELECT count(*) FROM second.events), (SELECT count(*) FROM trunkline.events), \
             (SELECT count(DISTINCT bucket) FROM trunkline.events)",
            &[],
        )
        .await
        .unwrap();
    let counted: Vec<i64> = (0..4).map(|column| counted.get(column)).collect();
    assert_eq!(counted, [1, 2, 3, 1]);

    // What all of them share is not one's to change.
    let shorter = source.replace("retention: 30d", "retention: 7d");
    std::fs::write(manifests.path().join("source.yaml"), shorter).unwrap();
    let refused = dev.line("unavailable", "source", "default/segment");
    assert!(refused.to_string().contains("retention: 30d"), "{refused}");
    assert!(dev.end(Signal::SIGINT).success());
}
