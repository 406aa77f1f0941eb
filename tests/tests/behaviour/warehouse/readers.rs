//! Roles that manifests list: what they may read, and what they lose when they are unlisted.

use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, Provisioned, Roles, Warehouse};

use super::harness::*;

const DENIED: &str = "42501";

/// Ensures one source that these roles may read.
async fn ensure_read(warehouse: &Warehouse, roles: &Roles, readers: &[&str]) -> Provisioned {
    let shop = DesiredSource {
        readers: readers.iter().map(|role| (*role).to_owned()).collect(),
        ..source("shop")
    };
    let main = cluster("default/main");
    let mut results = warehouse
        .ensure_sources(&main, &[shop, source("web")], &[], Some(roles))
        .await
        .unwrap();
    assert!(results[1].1.is_ok());
    results.remove(0).1.unwrap()
}

async fn reads(client: &Client) -> String {
    sqlstate(client, "SELECT * FROM shop.events").await
}

#[tokio::test]
async fn a_listed_role_reads_its_source_and_nothing_else_until_it_is_unlisted() {
    for (roles, options) in [(Roles::Managed, "CREATEROLE"), (Roles::Owner, "")] {
        let database = Database::new().await;
        let admin = database.admin().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        let name = format!("Analyst \"x\" {}", database.name);
        let first = ensure_read(&warehouse, &roles, &[&name, &name]).await;
        let [warning] = &first.warnings[..] else {
            panic!("{:?}", first.warnings)
        };

        // What the message says helps.
        let (_, fix) = warning.split_once("run: ").unwrap();
        admin.batch_execute(fix).await.unwrap();
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let login = format!("ALTER ROLE {quoted} LOGIN PASSWORD 'a'");
        admin.batch_execute(&login).await.unwrap();
        let granted = ensure_read(&warehouse, &roles, &[&name]).await;
        // The events and, where no group gives them, the list of sources and the log of refusals.
        let rights = if roles == Roles::Managed { 1 } else { 3 };
        assert_eq!((granted.changed.len(), granted.warnings.len()), (rights, 0));
        let again = ensure_read(&warehouse, &roles, &[&name]).await;
        assert_eq!((again.changed, again.warnings), (vec![], vec![]));

        let encoded = name.replace(' ', "%20").replace('"', "%22");
        let reader = connect(&database.url_as(&encoded, "a")).await;
        store(&admin, granted.bucket, "default/shop", 2).await;
        let count = "SELECT count(*) FROM shop.events";
        assert_eq!(value(&reader, count).await, "2");
        let list = "SELECT name FROM trunkline.webhook_sources";
        assert_eq!(rows(&reader, list).await, ["default/shop"]);
        for statement in [
            "SELECT * FROM web.events",
            "SELECT * FROM trunkline.events",
            "SELECT * FROM trunkline.readers",
            "SELECT * FROM trunkline_data.bucket_1",
            "DELETE FROM shop.events",
            "CREATE TABLE shop.x (a int)",
        ] {
            assert_eq!(sqlstate(&reader, statement).await, DENIED, "{statement}");
        }

        let left = ensure_read(&warehouse, &roles, &[]).await;
        assert_eq!((left.changed.len(), left.warnings.len()), (1, 0));
        assert_eq!(reads(&reader).await, DENIED, "{roles:?}");
        if roles == Roles::Managed {
            assert_eq!(sqlstate(&reader, list).await, DENIED);
        } else {
            assert_eq!(rows(&reader, list).await, Vec::<String>::new());
        }
        assert_eq!(
            ensure_read(&warehouse, &roles, &[]).await.changed,
            Vec::<String>::new()
        );
        let records = "SELECT count(*) FROM trunkline.readers";
        assert_eq!(value(&admin, records).await, "0");
    }
}

#[tokio::test]
async fn what_an_administrator_granted_is_never_taken_back() {
    for (roles, options) in [(Roles::Managed, "CREATEROLE"), (Roles::Owner, "")] {
        let database = Database::new().await;
        let admin = database.admin().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        ensure_read(&warehouse, &roles, &[]).await;
        let name = format!("analyst_{}", database.name);
        let by_hand = if roles == Roles::Managed {
            format!("GRANT trunkline_{}_shop_reader TO {name}", database.name)
        } else {
            format!(
                "GRANT USAGE ON SCHEMA shop, trunkline TO {name}; \
                 GRANT SELECT ON shop.events, trunkline.webhook_sources, trunkline.rejections \
                 TO {name}"
            )
        };
        admin
            .batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'a'; {by_hand}"))
            .await
            .unwrap();
        let reader = connect(&database.url_as(&name, "a")).await;
        for listed in [&[][..], &[name.as_str()], &[]] {
            let found = ensure_read(&warehouse, &roles, listed).await;
            assert_eq!(found.changed, Vec::<String>::new(), "{roles:?} {listed:?}");
            assert_eq!(reads(&reader).await, "00000", "{roles:?} {listed:?}");
        }
    }
}

#[tokio::test]
async fn a_right_that_was_given_in_another_mode_is_taken_back_all_the_same() {
    let database = Database::new().await;
    let admin = database.admin().await;
    let warehouse = warehouse(&database.owner("CREATEROLE").await).await;
    warehouse.ensure_layout().await.unwrap();
    let name = format!("analyst_{}", database.name);
    admin
        .batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'a'"))
        .await
        .unwrap();
    let reader = connect(&database.url_as(&name, "a")).await;
    for (given, taken) in [
        (Roles::Managed, Roles::Owner),
        (Roles::Owner, Roles::Managed),
    ] {
        ensure_read(&warehouse, &given, &[&name]).await;
        ensure_read(&warehouse, &taken, &[&name]).await;
        assert_eq!(reads(&reader).await, "00000");
        let left = ensure_read(&warehouse, &taken, &[]).await;
        assert_eq!(left.warnings, Vec::<String>::new());
        assert_eq!(reads(&reader).await, DENIED, "{given:?} and then {taken:?}");
    }
}

#[tokio::test]
async fn a_reader_that_cannot_be_served_is_a_warning_and_a_role_that_went_none() {
    let database = Database::new().await;
    let admin = database.admin().await;
    let warehouse = warehouse(&database.owner("CREATEROLE").await).await;
    warehouse.ensure_layout().await.unwrap();
    let name = format!("analyst_{}", database.name);
    let group = format!("trunkline_{}_shop_reader", database.name);
    ensure_read(&warehouse, &Roles::Managed, &[]).await;
    // The group cannot be a member of its own member.
    admin
        .batch_execute(&format!("CREATE ROLE {name}; GRANT {name} TO {group}"))
        .await
        .unwrap();
    let found = ensure_read(&warehouse, &Roles::Managed, &[&name]).await;
    let [warning] = &found.warnings[..] else {
        panic!("{:?}", found.warnings)
    };
    assert!(warning.contains("is a member of role"), "{warning}");
    assert!(warning.contains(&name), "{warning}");

    admin
        .batch_execute(&format!("REVOKE {name} FROM {group}"))
        .await
        .unwrap();
    let found = ensure_read(&warehouse, &Roles::Managed, &[&name]).await;
    assert_eq!((found.changed.len(), found.warnings.len()), (1, 0));
    admin
        .batch_execute(&format!("DROP ROLE {name}"))
        .await
        .unwrap();
    let left = ensure_read(&warehouse, &Roles::Managed, &[]).await;
    assert_eq!((left.changed.len(), left.warnings.len()), (1, 0));
}
