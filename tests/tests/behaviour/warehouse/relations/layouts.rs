//! Changes of the layout, shared partitions, and the end of a source.

use serde_json::json;
use trunkline_warehouse::{DesiredSource, Error, News, PendingReason, Storage, WarehouseLayout};

use super::harness::*;

fn order(id: &str) -> serde_json::Value {
    json!({"type": "track", "event": "Order v2", "messageId": id, "userId": "ada",
        "properties": {"total": 5, "items": [1]}})
}

#[tokio::test]
async fn another_layout_is_made_anew_and_none_leaves_what_others_built_on() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, shop()).await.bucket;
    let mut relator = relator(&database).await;
    send(&admin, bucket, "shop", &order("m1")).await;
    settle(&mut relator, &admin).await;
    assert_eq!(
        value(&admin, "SELECT total, items FROM shop.order_v2").await,
        "5|[1]"
    );
    admin
        .batch_execute("CREATE VIEW public.report AS SELECT id FROM shop.pages")
        .await
        .unwrap();

    let rudderstack = related("shop", WarehouseLayout::Rudderstack);
    for _ in 0..2 {
        let changed = ensure(&warehouse, std::slice::from_ref(&rudderstack))
            .await
            .remove(0)
            .unwrap();
        assert_eq!(changed.warnings, [""; 0]);
        let [pending] = &changed.pending[..] else {
            panic!("{:?}", changed.pending)
        };
        assert_eq!(
            pending.reason,
            PendingReason::Dependants("view public.report".to_owned())
        );
        assert!(
            pending.to_string().contains("drop view shop.pages"),
            "{pending}"
        );
    }
    // All that was noted is news again, for the other rules.
    settle(&mut relator, &admin).await;
    let names = "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace \
                 AND relname ~ '^(order|accounts)'";
    assert_eq!(rows(&admin, names).await, ["order_v_2"]);
    assert_eq!(
        value(
            &admin,
            "SELECT total, jsonb_typeof(items), record_id FROM shop.order_v_2"
        )
        .await,
        "5|array|-"
    );
    let pages = "SELECT count(*) FROM pg_attribute \
                 WHERE attrelid = 'shop.pages'::regclass AND attname = 'channel'";
    assert_eq!(value(&admin, pages).await, "0");
    admin
        .batch_execute("DROP VIEW public.report")
        .await
        .unwrap();
    ensure_one(&warehouse, rudderstack.clone()).await;
    assert_eq!(value(&admin, pages).await, "1");
    let again = ensure_one(&warehouse, rudderstack).await;
    assert_eq!((again.changed, again.notes), (vec![], vec![]));
    assert_eq!(poll(&mut relator).await, News::default());

    // What nobody can read stays as it is.
    let unread = DesiredSource {
        layout: None,
        ..source("shop")
    };
    assert_eq!(ensure_one(&warehouse, unread).await.changed, [""; 0]);

    admin
        .batch_execute(
            "CREATE VIEW public.report AS SELECT total FROM shop.order_v_2; \
             CREATE VIEW shop.mine AS SELECT 1 AS mine",
        )
        .await
        .unwrap();
    let none = related("shop", WarehouseLayout::None);
    let kept = ensure(&warehouse, std::slice::from_ref(&none))
        .await
        .remove(0)
        .unwrap();
    assert_eq!(kept.pending.len(), 1, "{:?}", kept.pending);
    let left = "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace ORDER BY 1";
    assert_eq!(rows(&admin, left).await, ["events", "mine", "order_v_2"]);
    assert_eq!(value(&admin, "SELECT * FROM public.report").await, "5");
    admin
        .batch_execute("DROP VIEW public.report")
        .await
        .unwrap();
    ensure_one(&warehouse, none.clone()).await;
    assert_eq!(rows(&admin, left).await, ["events", "mine"]);
    assert_eq!(ensure_one(&warehouse, none).await.changed, [""; 0]);

    // And back.
    ensure_one(&warehouse, shop()).await;
    settle(&mut relator, &admin).await;
    assert_eq!(
        value(&admin, "SELECT total, event FROM shop.order_v2").await,
        "5|order_v2"
    );
}

#[tokio::test]
async fn sources_that_share_partitions_have_relations_of_their_own_rows() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let sharing = |name, layout| DesiredSource {
        storage: Some(Storage::Shared),
        ..related(name, layout)
    };
    let desired = [
        sharing("shop", WarehouseLayout::Segment),
        sharing("web", WarehouseLayout::Rudderstack),
    ];
    let results = ensure(&warehouse, &desired).await;
    let buckets: Vec<_> = results.into_iter().map(|it| it.unwrap().bucket).collect();
    assert_eq!(buckets[0], buckets[1]);
    let mut relator = relator(&database).await;
    send(&admin, buckets[0], "shop", &order("m1")).await;
    for id in ["m2", "m3"] {
        send(&admin, buckets[0], "web", &order(id)).await;
    }
    settle(&mut relator, &admin).await;
    for (sql, count) in [
        ("SELECT count(*) FROM shop.order_v2", "1"),
        ("SELECT count(*) FROM web.order_v_2", "2"),
        ("SELECT count(event) FROM shop.tracks", "1"),
        ("SELECT count(event) FROM web.tracks", "2"),
        ("SELECT count(*) FROM shop.users", "0"),
        (
            "SELECT count(*) FROM pg_class WHERE relnamespace IN \
             ('shop'::regnamespace, 'web'::regnamespace) \
             AND NOT 'security_barrier=true' = ANY (coalesce(reloptions, '{}'))",
            "0",
        ),
    ] {
        assert_eq!(value(&admin, sql).await, count, "{sql}");
    }
}

#[tokio::test]
async fn a_source_that_goes_takes_its_relations_with_it_and_one_that_comes_back_finds_them() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let web = || related("web", WarehouseLayout::Segment);
    let results = ensure(&warehouse, &[shop(), web()]).await;
    let buckets: Vec<_> = results.into_iter().map(|it| it.unwrap().bucket).collect();
    let mut relator = relator(&database).await;
    for (bucket, schema) in [(buckets[0], "shop"), (buckets[1], "web")] {
        send(&admin, bucket, schema, &order("m1")).await;
    }
    settle(&mut relator, &admin).await;

    // Its rows stay, and so do its relations; what is noted of it meanwhile is nobody's to take up.
    ensure_one(&warehouse, web()).await;
    let late = json!({"type": "track", "event": "Late", "messageId": "m2"});
    send(&admin, buckets[0], "shop", &late).await;
    assert_eq!(poll(&mut relator).await, News::default());
    assert_eq!(value(&admin, "SELECT total FROM shop.order_v2").await, "5");
    let results = ensure(&warehouse, &[shop(), web()]).await;
    let back = results.into_iter().next().unwrap().unwrap();
    assert_eq!(
        back.changed,
        ["record what is served as source default/shop"]
    );
    settle(&mut relator, &admin).await;
    assert_eq!(value(&admin, "SELECT id FROM shop.late").await, "m2");

    let drop_shop = async || {
        warehouse
            .drop_source(&cluster("default/main"), &"default/shop".parse().unwrap())
            .await
    };
    admin
        .batch_execute("CREATE VIEW public.report AS SELECT total FROM shop.order_v2")
        .await
        .unwrap();
    let refused = drop_shop().await.unwrap_err();
    assert!(
        matches!(&refused, Error::Dependants { objects, .. } if objects == "view public.report"),
        "{refused:?}"
    );
    admin
        .batch_execute("DROP VIEW public.report")
        .await
        .unwrap();
    drop_shop().await.unwrap();
    for sql in [
        "SELECT count(*) FROM pg_namespace WHERE nspname = 'shop'",
        "SELECT count(*) FROM trunkline.shapes WHERE source = 'default/shop'",
        "SELECT count(*) FROM trunkline.schema_changes WHERE source = 'default/shop'",
        "SELECT count(*) FROM trunkline.relations WHERE source_number = 1",
        "SELECT count(*) FROM trunkline.relation_columns WHERE source_number = 1",
        "SELECT count(*) FROM trunkline.event_names WHERE source_number = 1",
    ] {
        assert_eq!(value(&admin, sql).await, "0", "{sql}");
    }
    assert_eq!(value(&admin, "SELECT total FROM web.order_v2").await, "5");
}
