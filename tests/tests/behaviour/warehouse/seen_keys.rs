//! Keys that keep repeats from being stored: who may take them, and when they are forgotten.

use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::Roles;

use super::harness::*;

/// Takes keys, given as numbers with the seconds of their windows; the numbers of those that were.
fn take(keys: &[(u8, i32)]) -> String {
    let keys_of = |keys: &[(u8, i32)]| -> Vec<_> {
        keys.iter().map(|(key, _)| format!("{key:032x}")).collect()
    };
    let windows: Vec<_> = keys.iter().map(|(_, window)| window.to_string()).collect();
    format!(
        "SELECT right(unseen::text, 1) FROM trunkline.unseen('{{{}}}', '{{{}}}') AS unseen \
         ORDER BY unseen",
        keys_of(keys).join(","),
        windows.join(",")
    )
}

#[tokio::test]
async fn ingesters_may_take_keys_and_do_nothing_else_with_them() {
    let database = Database::new().await;
    let owner = database.owner("CREATEROLE").await;
    let warehouse = warehouse(&owner).await;
    warehouse.ensure_layout().await.unwrap();
    let password = SecretBytes::new("i");
    warehouse.ensure_ingest(None, &password).await.unwrap();
    let admin = database.admin().await;
    let login = format!("trunkline_{}_ingest_a", database.name);
    let ingester = connect(&database.url_as(&login, "i")).await;
    assert_eq!(
        rows(&ingester, &take(&[(1, 60), (2, 60)])).await,
        ["1", "2"]
    );
    assert_eq!(
        rows(&ingester, &take(&[(1, 60), (2, 60), (3, 60)])).await,
        ["3"]
    );
    for sql in [
        "SELECT key FROM trunkline.seen_keys",
        "INSERT INTO trunkline.seen_keys VALUES (gen_random_uuid(), now())",
        "UPDATE trunkline.seen_keys SET until = now()",
        "DELETE FROM trunkline.seen_keys",
        "TRUNCATE trunkline.seen_keys",
    ] {
        assert_eq!(sqlstate(&ingester, sql).await, "42501", "{sql}");
    }
    let stranger = format!("stranger_{}", database.name);
    let create = format!("CREATE ROLE {stranger} LOGIN PASSWORD 's'");
    admin.batch_execute(&create).await.unwrap();
    let stranger = connect(&database.url_as(&stranger, "s")).await;
    assert_eq!(sqlstate(&stranger, &take(&[(4, 60)])).await, "42501");
    // Nobody's search path has a say in it.
    let settings = "SELECT count(*) FROM pg_proc WHERE prosecdef \
                    AND oid = to_regprocedure('trunkline.unseen(uuid[], integer[])') \
                    AND proconfig @> ARRAY['search_path=\"\"']";
    assert_eq!(value(&admin, settings).await, "1");
}

/// Ingesters ask in order; whoever does not is in nobody's way either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_taken_in_one_order_however_they_are_asked_for() {
    const ROUNDS: u32 = 30;
    const KEYS: u32 = 400;
    let database = Database::new().await;
    database.prepared().await;
    let mut askers = tokio::task::JoinSet::new();
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    for is_reversed in [false, true] {
        let (client, start) = (database.admin().await, std::sync::Arc::clone(&start));
        askers.spawn(async move {
            let mut taken = 0;
            for round in 0..ROUNDS {
                let keys: Vec<_> = (0..KEYS)
                    .map(|key| format!("{round:016x}{key:016x}"))
                    .collect();
                let keys: Vec<_> = match is_reversed {
                    false => keys,
                    true => keys.into_iter().rev().collect(),
                };
                let windows = vec!["60"; keys.len()].join(",");
                let sql = format!(
                    "SELECT trunkline.unseen('{{{}}}', '{{{windows}}}')",
                    keys.join(",")
                );
                start.wait().await;
                taken += client.query(&sql, &[]).await.unwrap().len();
            }
            taken
        });
    }
    let taken: usize = askers.join_all().await.into_iter().sum();
    assert_eq!(taken, usize::try_from(ROUNDS * KEYS).unwrap());
}

#[tokio::test]
async fn a_right_that_was_taken_away_is_given_back() {
    let database = Database::new().await;
    let owner = database.owner("CREATEROLE").await;
    let warehouse = warehouse(&owner).await;
    warehouse.ensure_layout().await.unwrap();
    let admin = database.admin().await;
    let loader = format!("loader_{}", database.name);
    let create = format!("CREATE ROLE {loader} LOGIN PASSWORD 'l'");
    admin.batch_execute(&create).await.unwrap();
    let provided = Roles::Provided {
        ingest_role: loader.clone(),
    };
    let password = SecretBytes::new("unused");
    let loading = connect(&database.url_as(&loader, "l")).await;
    for _ in 0..2 {
        warehouse
            .ensure_ingest(Some(provided.clone()), &password)
            .await
            .unwrap();
        rows(&loading, &take(&[(1, 60)])).await;
        let revoke = format!("REVOKE EXECUTE ON FUNCTION trunkline.unseen FROM {loader}");
        admin.batch_execute(&revoke).await.unwrap();
        assert_eq!(sqlstate(&loading, &take(&[(1, 60)])).await, "42501");
    }
}

#[tokio::test]
async fn keys_are_forgotten_when_their_time_is_over_and_nobody_waits() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let forgot = |changed: &[String]| changed.iter().any(|step| step.starts_with("forget keys"));
    rows(&admin, &take(&[(1, 60), (2, 60), (3, 60), (4, 60)])).await;
    // More than are forgotten at once.
    let many = "INSERT INTO trunkline.seen_keys \
                SELECT gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 25000)";
    admin.batch_execute(many).await.unwrap();
    let report = warehouse.upkeep().await.unwrap();
    assert!(forgot(&report.changed), "{report:?}");
    let left = "SELECT string_agg(right(key::text, 1), '' ORDER BY key) FROM trunkline.seen_keys";
    assert_eq!(value(&admin, left).await, "1234");

    let end = "UPDATE trunkline.seen_keys SET until = now() WHERE right(key::text, 1) <> '1'";
    admin.batch_execute(end).await.unwrap();
    // Somebody takes one of them again at that moment.
    let mut other = database.admin().await;
    let taking = other.transaction().await.unwrap();
    let taken = take(&[(3, 60)]);
    assert_eq!(taking.query(&taken, &[]).await.unwrap().len(), 1);
    // It would fail if it waited, since that one ends afterwards.
    let report = warehouse.upkeep().await.unwrap();
    assert!(forgot(&report.changed), "{report:?}");
    taking.commit().await.unwrap();
    assert_eq!(value(&admin, left).await, "13");
    let report = warehouse.upkeep().await.unwrap();
    assert!(!forgot(&report.changed), "{report:?}");
}
