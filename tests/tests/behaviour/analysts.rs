//! What analysts find of an event that was just posted, from the front door to the typed column.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{Client, Dev, signed_batch};

/// Within which a new event is a relation that can be queried.
const SOON: Duration = Duration::from_secs(2);

/// `trunkline dev` with the source of the examples and relations like Segment's.
struct Analysts {
    dev: Dev,
    database: tokio_postgres::Client,
    _folder: tempfile::TempDir,
}

impl Analysts {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        for entry in std::fs::read_dir(Dev::examples()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), manifests.join(entry.file_name())).unwrap();
        }
        let dev = Dev::start(&manifests, &folder.path().join("data"), &[]);
        let url = dev.line("database", "", "")["url"].clone();
        let _ = dev.line("ready", "source", "default/segment");
        let (database, connection) =
            tokio_postgres::connect(url.as_str().unwrap(), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        Self {
            dev,
            database,
            _folder: folder,
        }
    }

    async fn post(&self, events: &[Value]) {
        let events: Vec<_> = events.iter().map(ToString::to_string).collect();
        let batch = signed_batch(Dev::SECRET.as_bytes(), &events);
        let headers = [(SIGNATURE_HEADER, batch.signature.as_str())];
        let path = "/webhooks/default/segment";
        let mut client = Client::new(self.dev.address());
        let answer = client.post(path, &headers, batch.body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// Asks until the query works and gives a row, and tells how long that took.
    async fn first_row(&self, sql: &str) -> (String, Duration) {
        let start = Instant::now();
        loop {
            let last = match self.database.query(sql, &[]).await {
                Ok(rows) if !rows.is_empty() => return (rows[0].get(0), start.elapsed()),
                Ok(_) => "no row".to_owned(),
                Err(error) => format!("{error:?}"),
            };
            assert!(start.elapsed() < Duration::from_secs(20), "{sql}: {last}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn track(event: &str, id: &str, properties: &Value) -> Value {
    json!({"type": "track", "event": event, "messageId": id, "userId": "ada",
        "timestamp": "2026-11-24T10:00:00.000Z", "properties": properties})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_event_is_a_typed_relation_within_two_seconds_and_nothing_odd_fails_a_query() {
    let analysts = Analysts::start().await;
    let due = "2026-12-01T00:00:00Z";
    let order = json!({"total": 12.5, "paid": true, "due": due, "plan": {"name": "pro"}});
    for (round, event) in ["Order Completed", "Plan Changed", "Signed Out"]
        .iter()
        .enumerate()
    {
        analysts
            .post(&[track(event, &format!("m{round}"), &order)])
            .await;
        let relation = event.to_lowercase().replace(' ', "_");
        let sql = format!(
            "SELECT concat_ws('|', id, user_id, event, total + 1, paid, \
             due AT TIME ZONE 'UTC', plan_name) FROM segment.{relation}"
        );
        let (row, took) = analysts.first_row(&sql).await;
        println!("{event} after {took:?}");
        assert_eq!(
            row,
            format!("m{round}|ada|{relation}|13.5|t|2026-12-01 00:00:00|pro")
        );
        assert!(took < SOON, "{took:?}");
    }

    // A property that is new, and values that do not fit.
    let odd = [
        json!({"total": "n/a", "paid": "perhaps", "due": "2026-02-31", "coupon": "x"}),
        json!({"id": "own", "order": 1, "row_num": 2, "a\"b": 3, "it's": 4, "🦀": 5, "": 6}),
        json!({"total": {"amount": 1}, "due": "+275760-09-13T00:00:00.000Z", "paid": [true]}),
    ];
    let odd: Vec<_> = odd
        .into_iter()
        .enumerate()
        .map(|(n, properties)| track("Order Completed", &format!("odd{n}"), &properties))
        .collect();
    analysts.post(&odd).await;
    let coupon = "SELECT concat_ws('|', coupon, coalesce(total::text, 'NULL'), \
                  coalesce(paid::text, 'NULL'), coalesce(due::text, 'NULL')) \
                  FROM segment.order_completed WHERE id = 'odd0'";
    let (row, _) = analysts.first_row(coupon).await;
    assert_eq!(row, "x|NULL|NULL|NULL");
    let garbage = json!({"type": "track", "event": "Order Completed", "messageId": "garbage",
        "timestamp": "garbage", "properties": {"total": 1}});
    let wide: serde_json::Map<_, _> = (0..1_700).map(|n| (format!("p{n}"), n.into())).collect();
    analysts
        .post(&[garbage, track("Wide", "wide", &wide.into())])
        .await;
    let _ = analysts.first_row("SELECT id FROM segment.wide").await;
    let discards = "SELECT string_agg(column_name || '=' || column_value, ' ' \
                    ORDER BY column_name, column_value COLLATE \"C\") \
                    FROM segment.discards HAVING count(*) = 6";
    let (row, _) = analysts.first_row(discards).await;
    assert_eq!(
        row,
        "due=+275760-09-13T00:00:00.000Z due=2026-02-31 paid=[true] paid=perhaps total=n/a \
         total={\"amount\": 1}"
    );

    // Very many names.
    for part in 0..10 {
        let events: Vec<_> = (0..1_000)
            .map(|n| {
                let id = format!("n{part}-{n}");
                track(
                    &format!("Name {part} {n}"),
                    &id,
                    &json!({format!("q{part}_{n}"): 1}),
                )
            })
            .collect();
        analysts.post(&events).await;
    }
    let counted = "SELECT count(*)::text FROM segment.tracks HAVING count(*) = 10008";
    let _ = analysts.first_row(counted).await;
    let all = "SELECT format('SELECT * FROM %s', c.oid::regclass) FROM pg_class c \
               WHERE relnamespace = 'segment'::regnamespace";
    let all = analysts.database.query(all, &[]).await.unwrap();
    for row in &all {
        let sql: String = row.get(0);
        analysts
            .database
            .simple_query(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    assert!(analysts.dev.end(Signal::SIGINT).success());
}
