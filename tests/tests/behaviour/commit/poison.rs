//! A row that the database refuses harms neither its neighbours nor itself.

use std::sync::Arc;
use std::time::Duration;

use trunkline_ingester::commit::{CommitError, CommitMetrics, Committed, Committer};
use trunkline_ingester::rows::EncodedRows;

use super::harness::{Fixture, encode, encoder, push_unrepaired, ready};

/// What jsonb refuses, in the order of its error classes: 22P05, 22P02, 22003, 54001.
fn refused_by_jsonb() -> [String; 4] {
    [
        r#"{"a":"\u0000"}"#.to_owned(),
        r#"{"a":"\ud800"}"#.to_owned(),
        r#"{"a":1e400000}"#.to_owned(),
        format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
    ]
}

/// Rows as if our own pass over the JSON had repaired nothing.
fn unrepaired(bucket: i32, bodies: &[String]) -> EncodedRows {
    let mut encoder = encoder(bucket);
    for body in bodies {
        push_unrepaired(&mut encoder, body);
    }
    encoder.finish()
}

#[tokio::test]
async fn a_row_that_only_the_database_refuses_is_stored_as_text_beside_its_neighbours() {
    let fixture = Fixture::start().await;
    let metrics = CommitMetrics::default();
    let committer = Committer::start(fixture.target(), 1, metrics.clone()).unwrap();
    ready(&committer).await;
    let committer = Arc::new(committer);

    // Many deliveries in the same commits: four are a bad row alone, one is a batch that holds all.
    let good = |name: &str, number: usize| format!(r#"{{"good":"{name}{number}"}}"#);
    let mut batch: Vec<_> = (0..1_000).map(|row| good("batched", row)).collect();
    for (index, bad) in refused_by_jsonb().into_iter().enumerate() {
        batch[200 * index + 100] = bad;
    }
    let mut deliveries: Vec<_> = (0..60).map(|number| vec![good("alone", number)]).collect();
    for (index, bad) in refused_by_jsonb().into_iter().enumerate() {
        deliveries.insert(10 * index + 5, vec![bad]);
    }
    deliveries.insert(30, batch.clone());
    let mut commits = tokio::task::JoinSet::new();
    for bodies in &deliveries {
        let (committer, rows) = (Arc::clone(&committer), unrepaired(fixture.bucket, bodies));
        commits.spawn(async move { committer.commit(rows, ()).await });
    }
    while let Some(answer) = commits.join_next().await {
        answer.unwrap().unwrap();
    }

    assert_eq!(metrics.quarantined_rows(), 8);
    assert_eq!(
        fixture
            .count("body_json->>'good' LIKE 'alone%' AND raw IS NULL")
            .await,
        60
    );
    assert_eq!(
        fixture
            .count("body_json->>'good' LIKE 'batched%' AND raw IS NULL")
            .await,
        996
    );
    let sql = "SELECT position, raw, body_json #>> '{}' FROM trunkline.events \
               WHERE raw IS NOT NULL";
    let rows = fixture
        .database
        .connect()
        .await
        .query(sql, &[])
        .await
        .unwrap();
    let mut found: Vec<(i32, Vec<u8>, String)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let mut expected: Vec<_> = refused_by_jsonb()
        .into_iter()
        .zip([100, 300, 500, 700])
        .flat_map(|(bad, position)| [(0, bad.clone()), (position, bad)])
        .map(|(position, bad)| (position, bad.clone().into_bytes(), bad))
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_source_without_a_partition_is_refused_and_its_neighbours_are_not() {
    let fixture = Fixture::start().await;
    let committer = Arc::new(fixture.committer(1).await);
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..60 {
        let is_lost = number % 20 == 7;
        let bucket = if is_lost { 999_999 } else { fixture.bucket };
        let rows = encode(bucket, r#"[{"messageId":"x"},{"messageId":"y"}]"#);
        let committer = Arc::clone(&committer);
        commits.spawn(async move { (is_lost, committer.commit(rows, ()).await) });
    }
    while let Some(answer) = commits.join_next().await {
        let (is_lost, answer) = answer.unwrap();
        assert_eq!(
            answer,
            if is_lost {
                Err(CommitError::NoPartition)
            } else {
                Ok(Committed::default())
            }
        );
    }
    assert_eq!(fixture.count("true").await, 57 * 2);
}

#[tokio::test]
async fn rows_that_a_constraint_refuses_in_every_form_are_refused_alone() {
    let fixture = Fixture::start().await;
    fixture
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF new.message_id = 'bad' THEN RAISE unique_violation; END IF; \
             RETURN new; END $$; \
             CREATE TRIGGER foreign_rule BEFORE INSERT ON trunkline.events \
             FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let committer = Arc::new(fixture.committer(1).await);
    let bad = committer.commit(
        fixture.delivery(r#"[{"messageId":"a"},{"messageId":"bad"}]"#),
        (),
    );
    let good = committer.commit(fixture.delivery(r#"{"messageId":"good"}"#), ());
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(CommitError::Unacceptable(_))), "{bad:?}");
    good.unwrap();
    assert_eq!(fixture.count("true").await, 1);
}

#[tokio::test]
async fn a_trigger_that_drops_rows_makes_no_acknowledgement() {
    let fixture = Fixture::start().await;
    fixture
        .execute(
            "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RETURN NULL; END $$; \
             CREATE TRIGGER drop_row BEFORE INSERT ON trunkline.events \
             FOR EACH ROW EXECUTE FUNCTION drop_row()",
        )
        .await;
    let committer = fixture.committer(1).await;
    let answer = committer.commit(fixture.delivery("{}"), ()).await;
    assert!(
        matches!(answer, Err(CommitError::UnknownOutcome(_))),
        "{answer:?}"
    );
    committer.stop(Duration::from_secs(5)).await;
}
