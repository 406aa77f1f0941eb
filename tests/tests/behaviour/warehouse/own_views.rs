//! Views that sources declare: what they show and to whom, how they change, and what keeps them from
//! being made.

use std::num::NonZeroU16;

use tokio_postgres::Client;
use trunkline_operator::build::desired_source;
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;
use trunkline_tests::Dev;
use trunkline_warehouse::{
    DesiredSource, OwnColumn, OwnOrder, OwnValue, OwnViews, Provisioned, Roles, Storage, Warehouse,
};

use super::harness::*;

const DENIED: &str = "42501";

/// The source `default/shop` with views of those names.
fn viewed(names: &[&str]) -> DesiredSource {
    DesiredSource {
        views: Some(own_views(names)),
        ..source("shop")
    }
}

/// The same with the view `orders` alone, whose columns are those of events.
fn orders(columns: &[&str]) -> DesiredSource {
    let mut shop = viewed(&["orders"]);
    let column = |name: &&str| OwnColumn {
        name: (*name).to_owned(),
        values: vec![OwnValue::Column((*name).to_owned())],
        cast: None,
    };
    let views = shop.views.as_mut().unwrap();
    views.views[0].columns = columns.iter().map(column).collect();
    shop
}

async fn columns(client: &Client) -> String {
    let sql = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute \
               WHERE attrelid = 'shop.orders'::regclass AND attnum > 0";
    value(client, sql).await
}

/// The relations in the schema `shop`, but `events`.
async fn relations(client: &Client) -> Vec<String> {
    let sql = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = 'shop' AND relname <> 'events' ORDER BY 1";
    rows(client, sql).await
}

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Ensures a source that is served whatever its views are.
async fn ensure_served(warehouse: &Warehouse, desired: DesiredSource) -> Provisioned {
    let found = ensure(warehouse, &[desired]).await.remove(0).unwrap();
    assert_eq!(
        (&found.pending[..], &found.warnings[..]),
        (&[][..], &[][..])
    );
    found
}

/// The source of examples/source.yaml as the database is to have it.
fn example() -> DesiredSource {
    let texts: Vec<_> = ["cluster", "secret", "source"]
        .iter()
        .map(|name| std::fs::read_to_string(Dev::examples().join(format!("{name}.yaml"))).unwrap())
        .collect();
    let files = texts.iter().map(|text| ("examples", text.as_str()));
    let validated = validate(&Manifests::parse(files).unwrap()).unwrap();
    let source = validated.valid().next().unwrap();
    assert_eq!(source.view_problems, []);
    desired_source(source, "http://localhost", &[])
}

#[tokio::test]
async fn the_view_of_materializes_guide_shows_each_event_once_with_its_email() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let segment = ensure_one(&warehouse, example()).await;
    assert_eq!(segment.views, [""; 0]);
    let described = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
                     WHERE attrelid = 'segment.segment_source_parsed'::regclass AND attnum > 0 \
                     ORDER BY attnum";
    assert_eq!(
        rows(&admin, described).await,
        [
            "email|text",
            "event|text",
            "message_id|text",
            "properties|jsonb",
            "ts|timestamp with time zone",
            "event_type|text",
            "user_id|text",
        ]
    );
    let comment = "SELECT obj_description('segment.segment_source_parsed'::regclass, 'pg_class'), \
                   col_description('segment.segment_source_parsed'::regclass, 1)";
    assert_eq!(
        value(&admin, comment).await,
        "View of WebhookSource default/segment, as its spec.views declares it.|\
         Value: traits.email of body, else context.traits.email of body."
    );

    let event = async |message: &str, later: u32, body: &str| {
        let (message, body) = (format!("'{message}'"), format!("'{body}'"));
        let at = format!("now() - interval '1 hour' + {later} * interval '1 second'");
        let columns = [
            ("message_id", message.as_str()),
            ("received_at", &at),
            ("user_id", "'u1'"),
            ("event", "'Signed Up'"),
            ("header_values", "'{\"event-type\": \"h\"}'"),
            ("body_json", &body),
            // As those of two partitions, which are not compared at once.
            ("unsettled", "true"),
        ];
        store_event(&admin, &segment, &columns).await;
    };
    event("m1", 2, r#"{"traits": {"email": "late@x"}}"#).await;
    event(
        "m1",
        1,
        r#"{"traits": {"email": "a@x"}, "timestamp": "2026-11-24T08:15:00+01:00"}"#,
    )
    .await;
    event(
        "m2",
        1,
        r#"{"context": {"traits": {"email": "b@x"}}, "properties": {"total": 7}}"#,
    )
    .await;
    event(
        "m3",
        1,
        r#"{"traits": {"email": null}, "timestamp": "garbage", "properties": null}"#,
    )
    .await;
    let read = "SELECT email, event, message_id, properties, ts AT TIME ZONE 'UTC', event_type, \
                user_id FROM segment.segment_source_parsed ORDER BY message_id";
    assert_eq!(
        rows(&admin, read).await,
        [
            "a@x|Signed Up|m1|-|2026-11-24 07:15:00|h|u1",
            "b@x|Signed Up|m2|{\"total\": 7}|-|h|u1",
            "-|Signed Up|m3|-|-|h|u1",
        ]
    );
}

#[tokio::test]
async fn rows_are_those_that_where_distinct_on_and_order_by_ask_for() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let mut shop = orders(&["message_id", "event", "user_id"]);
    let view = &mut shop.views.as_mut().unwrap().views[0];
    view.types = vec!["track".to_owned()];
    view.events = vec!["Paid".to_owned(), "it's".to_owned()];
    view.distinct_on = vec!["user_id".to_owned()];
    view.order_by = vec![OwnOrder {
        column: "timestamp".to_owned(),
        is_descending: true,
    }];
    let place = ensure_one(&warehouse, shop.clone()).await;
    let event = async |message: &str, kind: &str, name: &str, user: &str, time: &str, dup: &str| {
        let quoted =
            [message, kind, name, user].map(|text| format!("'{}'", text.replace('\'', "''")));
        let columns = [
            ("message_id", quoted[0].as_str()),
            ("type", &quoted[1]),
            ("event", &quoted[2]),
            ("user_id", &quoted[3]),
            ("timestamp", time),
            ("dup", dup),
        ];
        store_event(&admin, &place, &columns).await;
    };
    event("m1", "track", "Paid", "a", "'2026-11-24 00:00+00'", "false").await;
    event("m2", "track", "it's", "a", "'2026-11-25 00:00+00'", "false").await;
    event("m3", "track", "Paid", "a", "NULL", "false").await;
    event("m4", "track", "Paid", "a", "'2026-11-26 00:00+00'", "true").await;
    event("m5", "track", "Seen", "a", "'2026-11-27 00:00+00'", "false").await;
    event("m6", "page", "Paid", "a", "'2026-11-27 00:00+00'", "false").await;
    event("m7", "track", "Paid", "b", "NULL", "false").await;
    event("m8", "track", "Paid", "b", "NULL", "false").await;
    let read = "SELECT message_id, event, user_id FROM shop.orders";
    assert_eq!(rows(&admin, read).await, ["m2|it's|a", "m7|Paid|b"]);

    let view = &mut shop.views.as_mut().unwrap().views[0];
    view.distinct_on.clear();
    ensure_one(&warehouse, shop).await;
    assert_eq!(
        rows(&admin, "SELECT message_id FROM shop.orders LIMIT 2").await,
        ["m2", "m1"]
    );
    // A literal time range reads its day alone.
    let today = "SELECT (now() AT TIME ZONE 'UTC')::date || ' 00:00+00'";
    let today = value(&admin, today).await;
    ensure_one(&warehouse, orders(&["received_at", "event"])).await;
    let explain = format!(
        "EXPLAIN SELECT count(*) FROM shop.orders WHERE received_at >= '{today}' \
         AND received_at < timestamptz '{today}' + interval '1 h'"
    );
    let plan = rows(&admin, &explain).await.join("\n");
    assert_eq!(plan.matches(" on bucket_").count(), 1, "{plan}");
}

#[tokio::test]
async fn whoever_reads_the_events_reads_the_views_also_who_comes_later_and_nobody_else() {
    for (roles, options) in [(Roles::Managed, "CREATEROLE"), (Roles::Owner, "")] {
        let database = Database::new().await;
        let admin = database.admin().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        let names = ["early", "later"].map(|name| format!("{name}_{}", database.name));
        for name in &names {
            run(&admin, &format!("CREATE ROLE {name} LOGIN PASSWORD 'a'")).await;
        }
        let ensure_read = async |readers: &[String], views: &[&str]| {
            let shop = DesiredSource {
                readers: readers.to_vec(),
                ..viewed(views)
            };
            let web = DesiredSource {
                views: Some(own_views(&["orders"])),
                ..source("web")
            };
            let main = cluster("default/main");
            let mut results = warehouse
                .ensure_sources(&main, &[shop, web], &[], Some(&roles))
                .await
                .unwrap();
            let found = results.remove(0).1.unwrap();
            assert_eq!((&found.warnings[..], &found.views[..]), (&[][..], &[][..]));
            found
        };
        let first = ensure_read(&names[..1], &["orders"]).await;
        store(&admin, first.bucket, "default/shop", 2).await;
        let early = connect(&database.url_as(&names[0], "a")).await;
        let later = connect(&database.url_as(&names[1], "a")).await;
        let read = "SELECT a FROM shop.orders";
        assert_eq!(rows(&early, read).await, ["1", "1"], "{roles:?}");
        assert_eq!(sqlstate(&later, read).await, DENIED);
        for statement in [
            "SELECT FROM web.orders",
            "SELECT FROM trunkline.own_views",
            "DELETE FROM shop.orders",
        ] {
            assert_eq!(sqlstate(&early, statement).await, DENIED, "{statement}");
        }

        // A reader more, and a view more.
        ensure_read(&names, &["orders", "totals"]).await;
        for reader in [&early, &later] {
            for view in ["orders", "totals"] {
                let read = format!("SELECT a FROM shop.{view}");
                assert_eq!(rows(reader, &read).await, ["1", "1"], "{roles:?}");
            }
        }
        let again = ensure_read(&names, &["orders", "totals"]).await;
        assert_eq!(again.changed, [""; 0], "{roles:?}");

        ensure_read(&names[1..], &["orders", "totals"]).await;
        assert_eq!(sqlstate(&early, read).await, DENIED, "{roles:?}");
        assert_eq!(rows(&later, read).await, ["1", "1"], "{roles:?}");
        let left = format!(
            "SELECT has_table_privilege('{}', 'shop.orders', 'SELECT')",
            names[0]
        );
        assert_eq!(value(&admin, &left).await, "f", "{roles:?}");
    }
}

#[tokio::test]
async fn a_view_changes_in_place_where_it_grows_and_keeps_what_others_granted_where_it_does_not() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, orders(&["event"])).await;
    let role = format!("Bi tool {}", database.name);
    run(
        &admin,
        &format!(
            "CREATE ROLE \"{role}\"; GRANT SELECT ON shop.orders TO \"{role}\" WITH GRANT OPTION; \
             CREATE VIEW public.report AS SELECT event FROM shop.orders"
        ),
    )
    .await;
    let identity = "SELECT 'shop.orders'::regclass::oid";
    let before = value(&admin, identity).await;
    let grown = ensure_served(&warehouse, orders(&["event", "type"])).await;
    assert_eq!(
        (grown.changed, grown.views),
        (vec!["define view shop.orders".to_owned()], vec![])
    );
    assert_eq!(value(&admin, identity).await, before);
    assert_eq!(columns(&admin).await, "event type");

    // What others have built on it keeps it as it is, and nothing else.
    for _ in 0..2 {
        let mut desired = orders(&["type"]);
        desired
            .views
            .as_mut()
            .unwrap()
            .views
            .extend(own_views(&["totals"]).views);
        let kept = ensure_served(&warehouse, desired).await;
        let [trouble] = &kept.views[..] else {
            panic!("{:?}", kept.views)
        };
        assert_eq!(
            trouble,
            "define view shop.orders waits until nothing depends on the old one; drop or change: \
             view public.report"
        );
        assert_eq!(columns(&admin).await, "event type");
        assert_eq!(relations(&admin).await, ["orders", "totals"]);
    }
    run(&admin, "DROP VIEW public.report").await;
    let grants = "SELECT r.rolname, privilege_type, is_grantable FROM pg_class, \
                  aclexplode(relacl) JOIN pg_roles r ON r.oid = grantee \
                  WHERE pg_class.oid = 'shop.orders'::regclass ORDER BY 1, 2";
    let before = rows(&admin, grants).await;
    let changed = ensure_served(&warehouse, orders(&["type"])).await;
    assert_eq!(changed.views, [""; 0]);
    assert_eq!(columns(&admin).await, "type");
    assert_eq!(rows(&admin, grants).await, before);
    assert!(before.contains(&format!("{role}|SELECT|t")), "{before:?}");
}

#[tokio::test]
async fn a_view_goes_when_it_is_declared_no_longer_and_stays_while_others_depend_on_it() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, viewed(&["orders", "totals", "wrong"])).await;
    run(
        &admin,
        "CREATE VIEW public.report AS SELECT a FROM shop.totals",
    )
    .await;
    // Nobody can say how the views are to be.
    ensure_one(&warehouse, source("shop")).await;
    assert_eq!(relations(&admin).await, ["orders", "totals", "wrong"]);

    let fewer = DesiredSource {
        views: Some(OwnViews {
            views: Vec::new(),
            untouched: vec!["wrong".to_owned()],
        }),
        ..source("shop")
    };
    for changed in [&["drop view shop.orders"][..], &[]] {
        let found = ensure_served(&warehouse, fewer.clone()).await;
        assert_eq!(found.changed, changed);
        let [trouble] = &found.views[..] else {
            panic!("{:?}", found.views)
        };
        assert!(
            trouble.starts_with("drop view shop.totals waits until nothing depends")
                && trouble.ends_with("view public.report"),
            "{trouble}"
        );
        assert_eq!(relations(&admin).await, ["totals", "wrong"]);
    }
    run(&admin, "DROP VIEW public.report").await;
    // One that is gone already is forgotten.
    run(&admin, "DROP VIEW shop.wrong").await;
    let found = ensure_served(&warehouse, viewed(&[])).await;
    assert_eq!(
        found.changed,
        ["drop view shop.totals", "forget view shop.wrong"]
    );
    assert_eq!(found.views, [""; 0]);
    assert_eq!(relations(&admin).await, [""; 0]);
    assert_eq!(
        value(&admin, "SELECT count(*) FROM trunkline.own_views").await,
        "0"
    );
}

#[tokio::test]
async fn what_somebody_else_has_made_is_not_touched_and_the_source_is_served() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure_one(&warehouse, source("shop")).await;
    run(
        &admin,
        "CREATE TABLE shop.orders (a int); CREATE VIEW shop.totals AS SELECT 1 AS message_id; \
         CREATE TYPE shop.kinds AS ENUM ('a')",
    )
    .await;
    let found = ensure_served(&warehouse, viewed(&["orders", "totals", "kinds", "good"])).await;
    let [orders, totals, kinds] = &found.views[..] else {
        panic!("{:?}", found.views)
    };
    assert_eq!(
        orders,
        "relation shop.orders exists and is not a view that spec.views declared; give the view \
         another name, or drop or rename that relation"
    );
    assert!(
        kinds.contains("could not define view shop.kinds"),
        "{kinds}"
    );
    let kinds = "SELECT relkind, obj_description(oid, 'pg_class') IS NULL FROM pg_class \
                 WHERE relnamespace = 'shop'::regnamespace AND relname IN ('orders', 'totals') \
                 ORDER BY relname";
    assert_eq!(rows(&admin, kinds).await, ["r|t", "v|t"]);
    assert_eq!(relations(&admin).await, ["good", "orders", "totals"]);
    store(&admin, found.bucket, "default/shop", 1).await;
    assert_eq!(rows(&admin, "SELECT a FROM shop.good").await, ["1"]);

    // What the message says helps. The column of the old one has to go, which is allowed.
    let (_, fix) = totals.split_once("run: ").unwrap();
    run(&admin, fix).await;
    run(&admin, "DROP TABLE shop.orders; DROP TYPE shop.kinds").await;
    let found = ensure_served(&warehouse, viewed(&["orders", "totals", "kinds", "good"])).await;
    assert_eq!(found.views, [""; 0]);
    assert_eq!(
        rows(&admin, "SELECT left(message_id, 2), a FROM shop.totals").await,
        ["m0|1"]
    );

    // One that was dropped by hand is made again; one in the place of ours is not ours.
    run(
        &admin,
        "DROP VIEW shop.orders; DROP VIEW shop.good; CREATE VIEW shop.good AS SELECT 2 AS a",
    )
    .await;
    let found = ensure_served(&warehouse, viewed(&["orders", "totals", "kinds", "good"])).await;
    assert_eq!(found.changed, ["define view shop.orders"]);
    assert_eq!(found.views.len(), 1, "{:?}", found.views);
    ensure_served(&warehouse, viewed(&[])).await;
    assert_eq!(relations(&admin).await, ["good"]);
    assert_eq!(rows(&admin, "SELECT a FROM shop.good").await, ["2"]);
}

#[tokio::test]
async fn a_view_of_a_shared_bucket_shows_no_reader_anothers_row_not_even_its_own_function() {
    let database = Database::new().await;
    let admin = database.admin().await;
    let warehouse = warehouse(&database.owner("CREATEROLE").await).await;
    warehouse.ensure_layout().await.unwrap();
    let analyst = format!("analyst_{}", database.name);
    run(
        &admin,
        &format!(
            "CREATE ROLE {analyst} LOGIN PASSWORD 'a'; \
             CREATE FUNCTION public.leak(value text) RETURNS boolean LANGUAGE plpgsql \
             COST 0.0000001 AS $$ BEGIN IF value LIKE '%secret%' THEN \
             RAISE EXCEPTION 'saw %', value; END IF; RETURN true; END $$"
        ),
    )
    .await;
    let sharing = |name: &str| DesiredSource {
        storage: Some(Storage::Shared),
        retention_days: NonZeroU16::new(30),
        views: Some(own_views(&["orders"])),
        readers: vec![analyst.clone()],
        ..source(name)
    };
    let web = DesiredSource {
        readers: Vec::new(),
        ..sharing("web")
    };
    let found: Vec<_> = ensure(&warehouse, &[sharing("shop"), web]).await;
    let bucket = found[0].as_ref().unwrap().bucket;
    store(&admin, bucket, "default/shop", 2).await;
    store(&admin, bucket, "default/web", 3).await;
    run(
        &admin,
        "UPDATE trunkline.events SET message_id = 'secret', unsettled = true \
         WHERE source = 'default/web'",
    )
    .await;
    let reader = connect(&database.url_as(&analyst, "a")).await;
    run(
        &reader,
        "SET enable_indexscan = off; SET enable_bitmapscan = off",
    )
    .await;
    let count = "SELECT count(*) FROM shop.orders WHERE leak(message_id)";
    assert_eq!(value(&reader, count).await, "2");
    run(&admin, "ALTER VIEW shop.orders RESET (security_barrier)").await;
    assert_eq!(sqlstate(&reader, count).await, "P0001");
}

#[tokio::test]
async fn the_views_go_with_their_source_and_come_back_with_it() {
    for storage in [Storage::Dedicated, Storage::Shared] {
        let database = Database::new().await;
        let warehouse = database.prepared().await;
        let admin = database.admin().await;
        let shop = DesiredSource {
            storage: Some(storage),
            ..viewed(&["orders", "totals"])
        };
        ensure_one(&warehouse, shop.clone()).await;
        // Retained, and taken up again with one view less.
        assert_eq!(ensure(&warehouse, &[]).await.len(), 0);
        assert_eq!(relations(&admin).await, ["orders", "totals"]);
        let back = DesiredSource {
            views: Some(own_views(&["totals"])),
            ..shop.clone()
        };
        let found = ensure_one(&warehouse, back).await;
        assert_eq!(found.views, [""; 0]);
        assert_eq!(relations(&admin).await, ["totals"]);

        ensure_one(&warehouse, shop).await;
        run(
            &admin,
            "CREATE VIEW public.report AS SELECT a FROM shop.orders",
        )
        .await;
        let (main, name) = (cluster("default/main"), "default/shop".parse().unwrap());
        let refused = warehouse
            .drop_source(&main, &name)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("drop or change first: view public.report"),
            "{refused}"
        );
        run(&admin, "DROP VIEW public.report").await;
        warehouse.drop_source(&main, &name).await.unwrap();
        warehouse.purge(&main).await.unwrap();
        let remains = "SELECT nspname FROM pg_namespace WHERE nspname = 'shop' \
                       UNION ALL SELECT name FROM trunkline.own_views";
        assert_eq!(rows(&admin, remains).await, [""; 0], "{storage:?}");
    }
}
