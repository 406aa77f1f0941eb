//! The rows of a person: deleted wherever they are, written down, and nobody else's.

use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::Client;
use trunkline_warehouse::{
    DesiredSource, Erased, Erasure, Error, Identity, IdentityKind, Provisioned, Storage, Warehouse,
};

use super::harness::*;

/// `printf %s ada | sha256sum`
const ADA_SHA256: &str = "fdee430d40bd57deeac186cd9790033d0f06f909a8806e7ce6e717ab7c7d5029";

fn user(id: &str) -> Identity {
    Identity {
        kind: IdentityKind::User,
        id: id.to_owned(),
    }
}

fn anonymous(id: &str) -> Identity {
    Identity {
        kind: IdentityKind::Anonymous,
        id: id.to_owned(),
    }
}

fn of(identities: &[Identity]) -> Erasure {
    Erasure {
        identities: identities.to_vec(),
        sources: None,
        is_dry_run: false,
    }
}

fn sharing(name: &str) -> DesiredSource {
    DesiredSource {
        storage: Some(Storage::Shared),
        ..source(name)
    }
}

async fn erase(warehouse: &Warehouse, erasure: &Erasure) -> Vec<Erased> {
    let mut looked_at = 0;
    let erased = warehouse.erase(erasure, |progress| {
        assert!(progress.looked_at <= progress.total);
        looked_at = progress.looked_at;
    });
    erased.await.unwrap()
}

/// How many rows each identity had.
async fn rows_of(warehouse: &Warehouse, erasure: &Erasure) -> Vec<i64> {
    let erased = erase(warehouse, erasure).await;
    erased.iter().map(|erased| erased.rows).collect()
}

/// Stores an event of a user.
async fn event(admin: &Client, place: &Provisioned, user_id: &str, message_id: &str) {
    let columns = [
        ("message_id", format!("'{message_id}'")),
        ("type", "'track'".to_owned()),
        ("user_id", format!("'{user_id}'")),
        ("body_json", format!("'{{\"userId\":\"{user_id}\"}}'")),
    ];
    let columns = columns
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    store_event(admin, place, &columns).await;
}

/// The messages that are left, in the order of their names.
async fn left(admin: &Client) -> Vec<String> {
    let sql = "SELECT message_id FROM trunkline.events WHERE message_id IS NOT NULL ORDER BY 1";
    rows(admin, sql).await
}

#[tokio::test]
async fn the_rows_of_a_person_go_from_every_partition_and_no_others() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let desired = [source("shop"), source("gone"), sharing("a"), sharing("b")];
    let places: Vec<_> = ensure(&warehouse, &desired)
        .await
        .into_iter()
        .map(|place| place.unwrap())
        .collect();
    for (number, place) in places.iter().enumerate() {
        event(&admin, place, "ada", &format!("ada-{number}")).await;
        event(&admin, place, "adam", &format!("adam-{number}")).await;
    }
    let shop = &places[0];
    let leaf = past_leaf(&admin, shop.bucket, 3).await;
    store_past(&admin, shop.bucket, "default/shop", 3).await;
    store_past(&admin, shop.bucket, "default/shop", 3).await;
    let table = format!("trunkline_data.{leaf}");
    let past = format!(
        "UPDATE {table} SET user_id = 'ada', message_id = 'past' WHERE ctid = (SELECT min(ctid) FROM {table}); \
         INSERT INTO trunkline.frozen_partitions VALUES ('{table}'::regclass)"
    );
    admin.batch_execute(&past).await.unwrap();
    for (message, columns) in [
        (
            "before",
            "'page', NULL, '5f1c', '{\"anonymousId\":\"5f1c\"}'",
        ),
        (
            "alias",
            "'alias', 'lovelace', NULL, '{\"previousId\":\"ada\"}'",
        ),
        (
            "no-alias",
            "'track', 'eve', NULL, '{\"previousId\":\"ada\"}'",
        ),
        ("quarantined", "'track', 'ada', NULL, '\"{}\"'"),
        ("nobody", "NULL, NULL, NULL, '[\"ada\"]'"),
    ] {
        let sql = format!(
            "INSERT INTO trunkline.events (bucket, source, delivery_id, position, auth_scope, \
             message_id, type, user_id, anonymous_id, body_json) \
             VALUES ({}, 'default/shop', gen_random_uuid(), 0, 'request', '{message}', {columns})",
            shop.bucket
        );
        admin.batch_execute(&sql).await.unwrap();
    }
    // One whose manifest is gone, and whose rows are kept.
    ensure(&warehouse, &[source("shop"), sharing("a"), sharing("b")]).await;
    let all = left(&admin).await;

    let both = of(&[
        user("ada"),
        anonymous("5f1c"),
        anonymous("ada"),
        user("nobody"),
    ]);
    let dry = Erasure {
        is_dry_run: true,
        ..both.clone()
    };
    let counted = erase(&warehouse, &dry).await;
    assert_eq!(left(&admin).await, all);
    assert_eq!(
        value(&admin, "SELECT count(*) FROM trunkline.purges").await,
        "0"
    );
    assert!(counted.iter().all(|erased| erased.purge.is_none()));

    let erased = erase(&warehouse, &both).await;
    let by_rows = |all: &[Erased]| -> Vec<(Identity, i64)> {
        all.iter()
            .map(|it| (it.identity.clone(), it.rows))
            .collect()
    };
    assert_eq!(by_rows(&erased), by_rows(&counted));
    assert_eq!(
        by_rows(&erased),
        [
            (user("ada"), 7),
            (user("nobody"), 0),
            (anonymous("5f1c"), 1),
            (anonymous("ada"), 0)
        ]
    );
    assert_eq!(
        left(&admin).await,
        ["adam-0", "adam-1", "adam-2", "adam-3", "no-alias", "nobody"]
    );
    // It is frozen once more, since rows have gone.
    let frozen = "SELECT count(*) FROM trunkline.frozen_partitions";
    assert_eq!(value(&admin, frozen).await, "0");
    let purge = format!(
        "SELECT kind, sources, rows, requested_by = current_user, \
         finished_at >= requested_at AND requested_at > now() - interval '1 minute' \
         FROM trunkline.purges WHERE id_sha256 = '{ADA_SHA256}' ORDER BY kind"
    );
    let sources = "{default/a,default/b,default/gone,default/shop}";
    assert_eq!(
        rows(&admin, &purge).await,
        [
            format!("anonymous_id|{sources}|0|t|t"),
            format!("user_id|{sources}|7|t|t")
        ]
    );
    let ids: Vec<_> = erased.iter().filter_map(|erased| erased.purge).collect();
    let known = "SELECT array_agg(id ORDER BY id) FROM trunkline.purges";
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    let listed: Vec<_> = sorted.iter().map(ToString::to_string).collect();
    assert_eq!(
        value(&admin, known).await,
        format!("{{{}}}", listed.join(","))
    );
    // Nothing is left for another run.
    assert_eq!(rows_of(&warehouse, &both).await, [0, 0, 0, 0]);
}

#[tokio::test]
async fn only_chosen_sources_are_looked_at_and_an_unknown_one_is_named() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let desired = [source("shop"), sharing("a"), sharing("b")];
    let places = ensure(&warehouse, &desired).await;
    for (place, name) in places.iter().zip(["shop", "a", "b"]) {
        event(&admin, place.as_ref().unwrap(), "ada", name).await;
    }
    let chosen = |names: &[&str]| Erasure {
        sources: Some(names.iter().map(|name| name.parse().unwrap()).collect()),
        ..of(&[user("ada")])
    };
    assert_eq!(
        rows_of(&warehouse, &chosen(&["default/a", "default/a"])).await,
        [1]
    );
    assert_eq!(left(&admin).await, ["b", "shop"]);
    let sources = "SELECT sources FROM trunkline.purges";
    assert_eq!(rows(&admin, sources).await, ["{default/a}"]);
    let unknown = chosen(&["default/b", "default/shp"]);
    let error = warehouse.erase(&unknown, |_| ()).await.unwrap_err();
    assert!(
        error.to_string().starts_with(
            "there is no source default/shp in this database; there are: default/a, default/b, \
             default/shop"
        ),
        "{error}"
    );
    assert_eq!(left(&admin).await, ["b", "shop"]);
    assert_eq!(
        rows_of(&warehouse, &chosen(&["default/b", "default/shop"])).await,
        [2]
    );
    assert_eq!(left(&admin).await, [""; 0]);
}

#[tokio::test]
async fn whom_delete_events_name_is_found_unless_they_failed_verification() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let places = ensure(&warehouse, &[sharing("a"), sharing("b")]).await;
    let bucket = places[0].as_ref().unwrap().bucket;
    for (source, kind, user_id, anonymous_id, scope) in [
        ("a", "delete", "'ada'", "'5f1c'", "request"),
        ("a", "delete", "'ada'", "NULL", "batch"),
        ("a", "delete", "NULL", "'77aa'", "element"),
        ("a", "delete", "NULL", "NULL", "request"),
        ("a", "delete", "'forged'", "NULL", "failed"),
        ("a", "track", "'eve'", "NULL", "request"),
        ("b", "delete", "'other'", "NULL", "request"),
    ] {
        let sql = format!(
            "INSERT INTO trunkline.events (bucket, source, delivery_id, position, auth_scope, type, \
             user_id, anonymous_id, body_json) VALUES ({bucket}, 'default/{source}', \
             gen_random_uuid(), 0, '{scope}', '{kind}', {user_id}, {anonymous_id}, '1')"
        );
        admin.batch_execute(&sql).await.unwrap();
    }
    let name = "default/a".parse().unwrap();
    let named = warehouse.deletions(&name, |_| ()).await.unwrap();
    assert_eq!(named, [user("ada"), anonymous("77aa")]);
    // With their rows go the events that asked for it.
    assert_eq!(rows_of(&warehouse, &of(&named)).await, [2, 1]);
    assert_eq!(warehouse.deletions(&name, |_| ()).await.unwrap(), []);
}

/// Of one kilobyte each, so that they are three portions.
const MANY: usize = 90_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_stopped_has_counted_what_is_gone_and_the_next_deletes_the_rest() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let shop = ensure_one(&warehouse, source("shop")).await;
    let fill = format!(
        "INSERT INTO trunkline.events \
         (bucket, source, delivery_id, position, auth_scope, user_id, body_json) \
         SELECT {}, 'default/shop', gen_random_uuid(), n, 'request', \
         CASE WHEN n % 2 = 0 THEN 'ada' END, to_jsonb(repeat('x', 950)) \
         FROM generate_series(1, {MANY}) AS n",
        shop.bucket
    );
    admin.batch_execute(&fill).await.unwrap();
    // A reader and a sender in the middle of something: nobody waits for anybody.
    let (reader, sender) = (database.admin().await, database.admin().await);
    let read = "BEGIN; SELECT count(*) FROM shop.events";
    reader.batch_execute(read).await.unwrap();
    sender.batch_execute("BEGIN").await.unwrap();
    store(&sender, shop.bucket, "default/shop", 3).await;

    let ada = of(&[user("ada")]);
    let portion = Notify::new();
    tokio::select! {
        ended = warehouse.erase(&ada, |_| portion.notify_one()) => panic!("{ended:?}"),
        () = portion.notified() => {}
    }
    // What the server had begun by then, it ends or takes back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let count = "SELECT count(*) FROM trunkline.events WHERE user_id = 'ada'";
    let left: usize = value(&admin, count).await.parse().unwrap();
    assert!(left > 0 && left < MANY / 2, "{left}");
    let purges = "SELECT sum(rows), count(finished_at) FROM trunkline.purges";
    let gone = MANY / 2 - left;
    assert_eq!(rows(&admin, purges).await, [format!("{gone}|0")]);

    let erased = erase(&warehouse, &ada).await;
    assert_eq!(erased[0].rows, i64::try_from(left).unwrap());
    assert_eq!(value(&admin, count).await, "0");
    let all = MANY / 2;
    assert_eq!(rows(&admin, purges).await, [format!("{all}|1")]);
    sender.batch_execute("COMMIT").await.unwrap();
    let rest = (MANY / 2 + 3).to_string();
    let shown = "SELECT count(*) FROM shop.events";
    assert_eq!(value(&admin, shown).await, rest);
}

#[tokio::test]
async fn nobody_but_the_owner_sees_what_was_deleted() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let mut shop = source("shop");
    shop.readers = vec!["auditor".to_owned()];
    admin
        .batch_execute("CREATE ROLE auditor LOGIN PASSWORD 'a'")
        .await
        .unwrap();
    ensure_one(&warehouse, shop).await;
    erase(&warehouse, &of(&[user("ada")])).await;
    let reader = connect(&database.url_as("auditor", "a")).await;
    assert_eq!(sqlstate(&reader, "SELECT FROM shop.events").await, "00000");
    assert_eq!(
        sqlstate(&reader, "SELECT FROM trunkline.purges").await,
        "42501"
    );
}

#[tokio::test]
async fn an_unprepared_database_is_refused() {
    let database = Database::new().await;
    let warehouse = database.warehouse().await;
    let refused = warehouse.erase(&of(&[user("ada")]), |_| ()).await;
    assert!(matches!(refused, Err(Error::NoLayout)));
}
