//! JSON that is valid and that jsonb refuses: stored, queryable, with its bytes as sent, and harmless
//! to its neighbours.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use trunkline_cli::segment::Event;
use trunkline_model::headers::HeaderColumn;
use trunkline_tests::{SourceDraft, Station, digest, events, scaled, seed};

/// The header that tells requests apart, and the column it has.
const LABEL: &str = "x-label";

/// Where the poison stands in its batch, and how long that is.
const PLACE: usize = 500;
const BATCH: usize = 1_000;

/// Good requests beside each poisoned one.
const NEIGHBOURS: usize = 50;

fn kinds() -> Vec<String> {
    let fields = [
        "messageId",
        "type",
        "event",
        "userId",
        "anonymousId",
        "timestamp",
        "originalTimestamp",
        "sentAt",
    ];
    let escapes = [
        r"\u0000",
        r"a\u0000b",
        r"\u0000\u0000\u0000",
        r"\\\u0000",
        r"\ud800",
        r"\uDBFF",
        r"\udc00",
        r"\uDFFF",
        r"\ud800\ud800",
        r"\udc00\ud800",
        r"\ud83dx",
        r"\ud800\u0041",
        r"\ud800\n",
        r"\ud83d\ude00\ude00",
    ];
    let numbers = [
        "1e400000",
        "-1e400000",
        "1E+131072",
        "1e-16384",
        "1e-400000",
        "1e99999999999999999999",
        "0.5e-99999999999999999999",
        "1e131071",
    ];
    let deep = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"a":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    let mut kinds = Vec::new();
    for field in fields {
        kinds.push(format!(r#"{{"{field}":"\u0000x","a":1}}"#));
        kinds.push(format!(r#"{{"{field}":"\udfffx","a":1}}"#));
    }
    for escape in escapes {
        kinds.push(format!(r#"{{"a":"{escape}","b":[1,2]}}"#));
        kinds.push(format!(r#"{{"a":{{"{escape}":1}}}}"#));
    }
    kinds.extend(numbers.map(|number| format!(r#"{{"a":[{number}],"b":{{"c":{number}}}}}"#)));
    kinds.push(format!(r#"{{"a":{}}}"#, "9".repeat(131_073)));
    kinds.push(format!(r#"{{"a":0.{}}}"#, "1".repeat(16_384)));
    kinds.push(deep("[", "]", 600));
    kinds.push(deep("[", "]", 20_000));
    kinds.push(deep("[", "]", 400_000));
    kinds.push(deep(r#"{"k":"#, "}", 20_000));
    kinds.push(deep(r#"[{"k\u0000":"#, "}]", 10_000));
    kinds.push(r#"{"a":1,"a":2}"#.to_owned());
    kinds.push(r#"{"a":{"b":1,"\u0062":[2]}}"#.to_owned());
    kinds.push(r#""\u0000""#.to_owned());
    kinds.push("1e400000".to_owned());
    kinds.push(r#"{"a\u0000":1,"a\ud800":"\u0000","b":1e999999,"b":2}"#.to_owned());
    kinds
}

#[test]
fn there_are_64_kinds_and_all_are_json() {
    let kinds = kinds();
    assert_eq!(kinds.len(), 64);
    for kind in kinds.iter().filter(|kind| kind.len() < 10_000) {
        // Only what serde_json can tell without building the value.
        let shallow = kind.matches(['[', '{']).count() < 100;
        let error = serde_json::from_str::<serde::de::IgnoredAny>(kind).err();
        assert!(!shallow || error.is_none(), "{kind}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_stored_as_sent_and_harms_no_neighbour() {
    let mut source = SourceDraft::unverified("poison");
    source.settings.split_arrays = true;
    source.settings.header_columns = vec![HeaderColumn {
        name: LABEL.to_owned(),
        column: "label".to_owned(),
        bytes: false,
    }];
    let station = Station::with(vec![source]).await;
    let good: Arc<[Event]> = events(seed(), BATCH - 1).into();
    let mut client = station.ingester.client();
    let path = station.path();
    // On every day one of eight is tried in a batch.
    let (batch_step, kinds) = (scaled(8, 1), kinds());

    for (number, kind) in kinds.iter().enumerate() {
        let label = format!("{number}/beside");
        let mut neighbours = JoinSet::new();
        for place in 0..NEIGHBOURS {
            let (mut client, path, good) =
                (station.ingester.client(), path.clone(), Arc::clone(&good));
            let label = label.clone();
            neighbours.spawn(async move {
                let body = good[place].json.clone();
                client
                    .post(&path, &[(LABEL, &label)], body)
                    .await
                    .unwrap()
                    .status
            });
        }
        let alone = format!("{number}/alone");
        let answer = client
            .post(&path, &[(LABEL, &alone)], kind.clone())
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{} {}", shown(kind), answer.text);
        assert_eq!(
            neighbours.join_all().await,
            [200; NEIGHBOURS],
            "{}",
            shown(kind)
        );

        if number % batch_step == 0 {
            let mut elements: Vec<&str> = good.iter().map(|event| event.json.as_str()).collect();
            elements.insert(PLACE, kind);
            let body = format!("[{}]", elements.join(","));
            let label = format!("{number}/batch");
            let answer = client.post(&path, &[(LABEL, &label)], body).await.unwrap();
            assert_eq!(answer.status, 200, "{} {}", shown(kind), answer.text);
        }
    }

    let database = station.database.connect().await;
    for (number, kind) in kinds.iter().enumerate() {
        let sql = "SELECT raw, body::text, jsonb_typeof(body), body->>'a', message_id, position,                    (SELECT count(*) FROM jsonb_path_query(body, '$.**'))                    FROM poison.events WHERE label = $1 ORDER BY position";
        let rows = database
            .query(sql, &[&format!("{number}/alone")])
            .await
            .unwrap();
        assert_eq!(rows.len(), 1, "{}", shown(kind));
        assert_as_sent(&rows[0], kind);

        let rows = database
            .query(sql, &[&format!("{number}/beside")])
            .await
            .unwrap();
        assert_eq!(rows.len(), NEIGHBOURS, "{}", shown(kind));
        let mut ids: Vec<&str> = rows.iter().map(|row| row.get(4)).collect();
        let mut sent: Vec<_> = good[..NEIGHBOURS]
            .iter()
            .map(|event| &*event.message_id)
            .collect();
        ids.sort_unstable();
        sent.sort_unstable();
        assert_eq!(ids, sent);

        if number % batch_step == 0 {
            let rows = database
                .query(sql, &[&format!("{number}/batch")])
                .await
                .unwrap();
            assert_eq!(rows.len(), BATCH, "{}", shown(kind));
            assert_as_sent(&rows[PLACE], kind);
            let neighbours = rows.iter().enumerate().filter(|(place, _)| *place != PLACE);
            for ((place, row), event) in neighbours.zip(good.iter()) {
                assert_eq!(usize::try_from(row.get::<_, i32>(5)).unwrap(), place);
                assert_eq!(row.get::<_, &str>(4), event.message_id);
                assert!(
                    row.get::<_, Option<&[u8]>>(0).is_none(),
                    "raw of a good event"
                );
                assert_eq!(digest(row.get(1)), digest(&event.json));
            }
        }
    }
    assert!(
        station
            .ingester
            .metric("trunkline_ingester_repaired_events", "default/poison")
            .await
            > 0.0
    );
}

/// The row keeps the bytes as sent, and its body can be read.
fn assert_as_sent(row: &tokio_postgres::Row, kind: &str) {
    let raw: Option<&[u8]> = row.get(0);
    let raw = raw.unwrap_or_else(|| panic!("no raw for {}", shown(kind)));
    assert_eq!(Sha256::digest(raw), Sha256::digest(kind), "{}", shown(kind));
    assert!(!row.get::<_, &str>(1).is_empty());
}

fn shown(kind: &str) -> String {
    kind.chars().take(80).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identifier_that_no_index_holds_is_stored_all_the_same() {
    let mut source = SourceDraft::unverified("poison");
    source.settings.split_arrays = true;
    let station = Station::with(vec![source]).await;
    let index = "DO $$ DECLARE leaf text; BEGIN \
                 FOR leaf IN SELECT relname FROM pg_class WHERE relname LIKE 'bucket%' \
                 AND relkind = 'r' LOOP \
                 EXECUTE format('CREATE INDEX ON trunkline_data.%I (user_id)', leaf); \
                 END LOOP; END $$";
    let database = station.database.connect().await;
    database.batch_execute(index).await.unwrap();
    // What does not compress.
    let long: String = (0..200_u32)
        .map(|n| hex::encode(Sha256::digest(n.to_be_bytes())))
        .collect();
    let kept = r#"{"messageId":"m1","userId":"ada"}"#;
    let odd = format!(r#"{{"messageId":"m2","userId":"{long}"}}"#);
    let body = format!("[{kept},{odd},{kept}]");
    let mut client = station.ingester.client();
    let answer = client.post(&station.path(), &[], body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let sql = "SELECT message_id, user_id, raw FROM poison.events ORDER BY position";
    let rows = database.query(sql, &[]).await.unwrap();
    let users: Vec<Option<&str>> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(users, [Some("ada"), None, Some("ada")]);
    assert_eq!(rows[1].get::<_, &str>(0), "m2");
    assert_eq!(rows[1].get::<_, &[u8]>(2), odd.as_bytes());
    assert_eq!(rows[0].get::<_, Option<&[u8]>>(2), None);
}
