//! What an ingester notes of the shapes of events, where and when, and what that costs nobody.

use std::time::{Duration, Instant};

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{
    Client, ConfigDir, Database, IngesterProcess, SECRET, SourceDraft, Station, events,
    signed_batch,
};

/// How soon an analyst is to see what a first event has.
const SOON: Duration = Duration::from_secs(1);

/// How soon after an outage, with the pauses that grow in it.
const LATER: Duration = Duration::from_secs(30);

const ORDER: &str = r#"{"type":"track","event":"Order Completed","userId":"anna@example.com",
    "properties":{"total":1234.56,"paid":true,"coupon":"SUMMER-77","items":[{"sku":"S-4711"}],
    "at":"2026-01-02T03:04:05.678Z","customer":{"plan":"gold"},"tax":null},
    "context":{"ip":"203.0.113.9"}}"#;

const ORDER_SHAPES: [&str; 8] = [
    "track - {context,ip} text",
    "track Order Completed {properties,at} timestamp",
    "track Order Completed {properties,coupon} text",
    "track Order Completed {properties,customer,plan} text",
    "track Order Completed {properties,items} array",
    "track Order Completed {properties,paid} boolean",
    "track Order Completed {properties,total} number",
    "track Order Completed {} seen",
];

fn noting(name: &str) -> SourceDraft {
    let mut draft = SourceDraft::unverified(name);
    draft.settings.notes_shapes = true;
    draft.settings.split_arrays = true;
    draft
}

/// The shapes of a source, each in a line.
async fn shapes(database: &Database, source: &str) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', call, coalesce(event, '-'), path::text, kind) COLLATE \"C\" \
               FROM trunkline.shapes WHERE source = 'default/' || $1 ORDER BY 1";
    let rows = database.rows(sql, &[&source]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until a source has `count` shapes.
async fn noted(database: &Database, source: &str, count: usize, deadline: Duration) -> Vec<String> {
    let start = Instant::now();
    loop {
        let shapes = shapes(database, source).await;
        if shapes.len() >= count {
            return shapes;
        }
        assert!(start.elapsed() < deadline, "{shapes:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Posts what is stored.
async fn post(client: &mut Client, path: &str, body: impl Into<bytes::Bytes>) {
    let answer = client.post(path, &[], body.into()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.elapsed < SOON, "{:?}", answer.elapsed);
}

/// The role that gives ingesters their rights.
async fn ingest_group(station: &Station) -> String {
    let group = "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname ~ '_ingest$'";
    station.database.rows(group, &[]).await[0].get(0)
}

/// Waits until an ingester has handed over `count` shapes in all, also such as were there.
async fn handed_over(ingester: &IngesterProcess, count: f64) {
    let start = Instant::now();
    while ingester
        .metric("trunkline_ingester_noted_shapes_total", "")
        .await
        < count
    {
        assert!(start.elapsed() < LATER, "{}", ingester.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_shapes_of_a_first_event_are_there_at_once_and_hold_no_value() {
    let silent = SourceDraft::unverified("silent");
    let mut station = Station::with(vec![noting("shop"), silent]).await;
    let [shop, silent] = [0, 1].map(|index| station.sources[index].path());
    let mut client = station.ingester.client();
    post(&mut client, &silent, ORDER).await;
    post(&mut client, &shop, ORDER).await;
    assert_eq!(
        noted(&station.database, "shop", ORDER_SHAPES.len(), SOON).await,
        ORDER_SHAPES
    );
    let values = "SELECT count(*) FROM trunkline.shapes s \
                  WHERE (s.source, call, event, path, kind)::text ~ 'anna|1234|SUMMER|4711|2026-01-02|gold|203'";
    assert_eq!(station.database.count(values).await, 0);
    let news = "SELECT count(*) FROM trunkline.shapes WHERE handled_at IS NULL \
                AND noted_at BETWEEN now() - interval '1 minute' AND now()";
    let count = i64::try_from(ORDER_SHAPES.len()).unwrap();
    assert_eq!(station.database.count(news).await, count);
    let log = station.ingester.log();
    assert!(
        !log.contains("Order Completed") && !log.contains("coupon"),
        "{log}"
    );

    // What is known is not written again, whoever sees it.
    post(&mut client, &shop, ORDER).await;
    let mut second = IngesterProcess::start(station.config.path());
    second.ready().await;
    post(&mut second.client(), &shop, ORDER).await;
    handed_over(&second, count as f64).await;
    station.ingester.start_again();
    station.ingester.ready().await;
    post(&mut station.ingester.client(), &shop, ORDER).await;
    handed_over(&station.ingester, count as f64).await;
    assert_eq!(
        station
            .database
            .count("SELECT count(*) FROM trunkline.shapes")
            .await,
        count
    );

    // A source begins to be noted with its settings.
    station.sources[1].settings.notes_shapes = true;
    station.reload().await;
    let mut client = station.ingester.client();
    post(&mut client, &silent, ORDER).await;
    assert_eq!(
        noted(&station.database, "silent", ORDER_SHAPES.len(), SOON).await,
        ORDER_SHAPES
    );
}

#[tokio::test]
async fn every_path_finds_in_the_body_what_its_kind_says() {
    let mut segment = SourceDraft::segment("segment", &[SECRET]);
    segment.settings.notes_shapes = true;
    let station = Station::with(vec![segment]).await;
    let odd = r#"{"type":"track","event":"Odd \u0000\ud800 name","properties":{"":1,"\u0000":true,
        "a\"b":{"c d":{"{x}":"y"}},"big":1e400000,"é\\":[],"deep":{"b":{"c":{"d":{"e":{"f":1}}}}},
        "t1":"2026-01-02T03:04Z","t2":"2026-01-02T03:04:05.123456789+05:30","t3":"0001-01-01T00:00:00Z",
        "t4":"2026-01-02T03:04:05-0800","t5":"2026-01-02T03:04:05+01","t6":"2026-06-30T23:59:59Z"}}"#;
    let mut texts: Vec<String> = events(7, 99).into_iter().map(|event| event.json).collect();
    texts.push(odd.to_owned());
    let batch = signed_batch(SECRET.as_bytes(), &texts);
    let signed = [(SIGNATURE_HEADER, batch.signature.as_str())];
    let mut client = station.ingester.client();
    let path = station.path();
    // More than a burst of news: what has no room is news again.
    let start = Instant::now();
    let unnoted = || {
        station
            .ingester
            .metric("trunkline_ingester_unnoted_shapes_total", "rate")
    };
    loop {
        let before = unnoted().await;
        let answer = client
            .post(&path, &signed, batch.body.clone())
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        if unnoted().await == before {
            break;
        }
        assert!(start.elapsed() < LATER);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let name = "Odd \u{fffd}\u{fffd} name";
    let timestamps = "SELECT count(*) FROM trunkline.shapes s WHERE kind = 'timestamp' \
                      AND event LIKE 'Odd%'";
    let start = Instant::now();
    while station.database.count(timestamps).await < 6 {
        assert!(
            start.elapsed() < LATER,
            "{:?}",
            shapes(&station.database, "segment").await
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let database = &station.database;
    let wrong = "SELECT s::text FROM trunkline.shapes s WHERE s.kind <> 'seen' AND NOT EXISTS (\
                 SELECT FROM segment.events e WHERE e.type = s.call \
                 AND (s.event IS NULL OR e.event = s.event) AND jsonb_typeof(e.body #> s.path) \
                 = CASE WHEN s.kind IN ('text', 'timestamp') THEN 'string' ELSE s.kind END)";
    let wrong: Vec<String> = database
        .rows(wrong, &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(wrong, [""; 0]);
    let times = "SELECT count((e.body #>> s.path)::timestamptz) FROM trunkline.shapes s \
                    JOIN segment.events e ON e.event = s.event \
                    WHERE s.kind = 'timestamp' AND s.event LIKE 'Odd%'";
    assert!(database.count(times).await >= 6);
    let odd: Vec<_> = shapes(database, "segment").await;
    let odd: Vec<_> = odd
        .iter()
        .filter_map(|line| line.split_once(name))
        .map(|(_, it)| it)
        .collect();
    assert_eq!(odd.len(), 13, "{odd:?}");
    let unseen = "SELECT count(*) FROM (SELECT DISTINCT type, CASE type WHEN 'track' THEN event END \
                  FROM segment.events EXCEPT SELECT call, event FROM trunkline.shapes \
                  WHERE kind = 'seen') AS missing";
    assert_eq!(database.count(unseen).await, 0);
}

#[tokio::test]
async fn names_without_end_stop_at_a_bound_and_their_events_are_stored() {
    let station = Station::with(vec![noting("wide"), noting("many")]).await;
    let [wide, many] = [0, 1].map(|index| station.sources[index].path());
    let mut client = station.ingester.client();
    let names: Vec<_> = (0..10_000)
        .map(|number| format!("\"p{number}\":1"))
        .collect();
    let properties = names.join(",");
    let event = format!(
        r#"{{"type":"track","event":"Wide","properties":{{{properties}}},"context":{{"c":1}}}}"#
    );
    let count = "SELECT count(*) FROM trunkline.shapes WHERE source = 'default/wide'";
    // The call, its fields, and what is in its context: the burst is one too few.
    let start = Instant::now();
    while station.database.count(count).await < 502 {
        post(&mut client, &wide, event.clone()).await;
        assert!(start.elapsed() < LATER);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for chunk in names.chunks(500) {
        let properties = chunk.join(",");
        post(
            &mut client,
            &wide,
            format!(r#"{{"type":"track","event":"Wide","properties":{{{properties}}}}}"#),
        )
        .await;
    }
    let named: Vec<_> = (0..1_000)
        .map(|number| format!(r#"{{"type":"track","event":"Event {number}"}}"#))
        .collect();
    for _ in 0..3 {
        post(&mut client, &many, format!("[{}]", named.join(","))).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let events = noted(&station.database, "many", 500, SOON).await;
    assert_eq!(events.len(), 500);
    assert_eq!(station.database.count(count).await, 502);
    let stored = "SELECT count(*) FROM many.events";
    assert_eq!(station.database.count(stored).await, 3_000);
    for (source, bound) in [
        ("wide", "fields"),
        ("wide", "rate"),
        ("many", "event_names"),
    ] {
        let unnoted = station
            .ingester
            .metric(
                "trunkline_ingester_unnoted_shapes_total",
                &format!("source=\"default/{source}\",reason=\"{bound}\""),
            )
            .await;
        assert!(unnoted > 0.0, "{source} {bound}");
    }
}

#[tokio::test]
async fn while_shapes_cannot_be_written_events_are_and_nothing_is_forgotten() {
    let mut station = Station::with(vec![noting("shop")]).await;
    let path = station.path();
    let page = |field: &str| format!(r#"{{"type":"page","properties":{{"{field}":1}}}}"#);
    let mut client = station.ingester.client();
    let admin = station.database.connect().await;
    let run = async |sql: &str| admin.batch_execute(sql).await.expect(sql);

    // Locked by somebody.
    run("BEGIN; LOCK TABLE trunkline.shapes IN ACCESS EXCLUSIVE MODE").await;
    post(&mut client, &path, page("a")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    post(&mut client, &path, page("b")).await;
    run("COMMIT").await;
    noted(&station.database, "shop", 3, LATER).await;

    // Not allowed.
    let group = ingest_group(&station).await;
    run(&format!("REVOKE INSERT ON trunkline.shapes FROM {group}")).await;
    post(&mut client, &path, page("c")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    run(&format!("GRANT INSERT ON trunkline.shapes TO {group}")).await;
    // Nobody has to send it again.
    noted(&station.database, "shop", 4, LATER).await;
    let log = station.ingester.log();
    assert!(log.contains("cannot write to trunkline.shapes"), "{log}");
    assert!(log.contains("permission denied for table shapes"), "{log}");

    // Away, and back without what was noted: as a standby or a backup may be.
    run("TRUNCATE trunkline.shapes").await;
    drop(admin);
    station.database.shut_down().await;
    let answer = client.post(&path, &[], page("d")).await.unwrap();
    assert_eq!(answer.status, 503);
    station.database.start_again().await;
    let start = Instant::now();
    while client.post(&path, &[], page("d")).await.unwrap().status != 200 {
        assert!(start.elapsed() < LATER);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for field in ["a", "b", "c"] {
        post(&mut client, &path, page(field)).await;
    }
    noted(&station.database, "shop", 5, LATER).await;

    // Another one.
    let other = Database::start().await;
    other
        .provision(&ConfigDir::cluster(), &mut station.sources)
        .await;
    station.config.move_to(other.ingest_url());
    let hash = station.config.write(&station.sources);
    station.ingester.serving(&hash).await;
    let start = Instant::now();
    while other.count("SELECT count(*) FROM trunkline.shapes").await < 2 {
        post(&mut client, &path, page("a")).await;
        assert!(start.elapsed() < LATER);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_waits_is_written_when_an_ingester_ends() {
    let mut station = Station::with(vec![noting("shop")]).await;
    let (admin, group) = (
        station.database.connect().await,
        ingest_group(&station).await,
    );
    let run = async |sql: &str| admin.batch_execute(sql).await.expect(sql);
    run(&format!("REVOKE INSERT ON trunkline.shapes FROM {group}")).await;
    let mut client = station.ingester.client();
    post(&mut client, &station.path(), ORDER).await;
    let start = Instant::now();
    while !station
        .ingester
        .log()
        .contains("cannot write to trunkline.shapes")
    {
        assert!(start.elapsed() < LATER);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // By now the pauses are longer than the end takes.
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    run(&format!("GRANT INSERT ON trunkline.shapes TO {group}")).await;
    station.ingester.terminate();
    assert!(station.ingester.ended().await.success());
    assert_eq!(shapes(&station.database, "shop").await, ORDER_SHAPES);
}
