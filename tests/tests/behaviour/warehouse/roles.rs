//! Who may do what, tried out statement by statement.

use std::fs;

use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{Error, Roles, SourceError};

use super::harness::*;

const DENIED: &str = "42501";

#[tokio::test]
async fn the_ingest_login_inserts_into_the_parent_and_does_nothing_else() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let shop = ensure_one(&warehouse, source("shop")).await;
    let password = SecretBytes::new("p@ss:w/ö%rd");
    let login = warehouse
        .ensure_ingest(None, &password)
        .await
        .unwrap()
        .login
        .unwrap();
    let ingest = connect(login.url.expose_str().unwrap()).await;
    let role = format!("trunkline_{}_ingest_a", database.name);
    assert_eq!(value(&ingest, "SELECT current_user").await, role);
    assert_eq!(value(&ingest, "SHOW search_path").await, "\"\"");

    store(&ingest, shop.bucket, "default/shop", 3).await;
    let copied = copy(&ingest, lines(&[(shop.bucket, "default/shop")], 4))
        .await
        .unwrap();
    assert_eq!(copied, 4);
    let stored = value(&database.admin().await, "SELECT count(*) FROM shop.events").await;
    assert_eq!(stored, "7");

    let bucket = format!("trunkline_data.bucket_{}", shop.bucket);
    let leaf = format!(
        "SELECT max(oid::regclass::text) FROM pg_class WHERE relname ~ '^bucket_{}_' \
         AND relkind = 'r'",
        shop.bucket
    );
    let leaf = value(&database.admin().await, &leaf).await;
    let row = format!(
        "(bucket, source, delivery_id, position, auth_scope) \
         VALUES ({}, 'default/shop', gen_random_uuid(), 0, 'none')",
        shop.bucket
    );
    for statement in [
        "SELECT * FROM trunkline.events".to_owned(),
        "SELECT count(*) FROM trunkline.events".to_owned(),
        "COPY (SELECT 1 FROM trunkline.events) TO STDOUT".to_owned(),
        format!("INSERT INTO trunkline.events {row} RETURNING source"),
        "UPDATE trunkline.events SET source = 'x'".to_owned(),
        "DELETE FROM trunkline.events".to_owned(),
        "TRUNCATE trunkline.events".to_owned(),
        "DO $$BEGIN LOCK TABLE trunkline.events IN SHARE MODE; END$$".to_owned(),
        "ALTER TABLE trunkline.events ADD COLUMN x int".to_owned(),
        "DROP TABLE trunkline.events".to_owned(),
        "CREATE INDEX ON trunkline.events (source)".to_owned(),
        "CREATE RULE r AS ON INSERT TO trunkline.events DO INSTEAD NOTHING".to_owned(),
        format!("INSERT INTO {bucket} {row}"),
        format!("INSERT INTO {leaf} {row}"),
        format!("SELECT * FROM {leaf}"),
        "SELECT * FROM shop.events".to_owned(),
        "SELECT * FROM trunkline.webhook_sources".to_owned(),
        "SELECT * FROM trunkline.rejections".to_owned(),
        "SELECT * FROM trunkline.shapes".to_owned(),
        "SELECT count(*) FROM trunkline.shapes".to_owned(),
        "UPDATE trunkline.shapes SET handled_at = now()".to_owned(),
        "DELETE FROM trunkline.shapes".to_owned(),
        "SELECT * FROM trunkline.sources".to_owned(),
        "UPDATE trunkline.sources SET url = 'x'".to_owned(),
        "INSERT INTO trunkline.layout VALUES (99)".to_owned(),
        "CREATE TABLE trunkline.x (a int)".to_owned(),
        "CREATE TABLE trunkline_data.x (a int)".to_owned(),
        "CREATE TABLE shop.x (a int)".to_owned(),
        "CREATE SCHEMA x".to_owned(),
        "CREATE ROLE x".to_owned(),
        "CREATE DATABASE x".to_owned(),
        "SELECT rolpassword FROM pg_authid".to_owned(),
        format!("SET ROLE trunkline_{}_shop_reader", database.name),
        "COPY trunkline.events FROM '/etc/passwd'".to_owned(),
    ] {
        assert_eq!(sqlstate(&ingest, &statement).await, DENIED, "{statement}");
    }
}

#[tokio::test]
async fn a_reader_group_reads_its_source_and_nothing_else() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    for result in ensure(&warehouse, &[source("shop"), source("web")]).await {
        let bucket = result.unwrap().bucket;
        let name = if bucket == 1 {
            "default/shop"
        } else {
            "default/web"
        };
        store(&admin, bucket, name, bucket.try_into().unwrap()).await;
    }
    let analyst = format!("analyst_{}", database.name);
    admin
        .batch_execute(&format!(
            "CREATE ROLE {analyst} LOGIN PASSWORD 'a'; \
             GRANT trunkline_{}_shop_reader TO {analyst}",
            database.name
        ))
        .await
        .unwrap();
    let reader = connect(&database.url_as(&analyst, "a")).await;
    assert_eq!(
        value(&reader, "SELECT count(*) FROM shop.events").await,
        "1"
    );
    let listed = rows(
        &reader,
        "SELECT name, relation FROM trunkline.webhook_sources",
    )
    .await;
    assert_eq!(listed, ["default/shop|shop.events"]);
    // Neither right alone is enough to be shown a relation.
    let halves = [
        format!("GRANT USAGE ON SCHEMA web TO {analyst}"),
        format!(
            "REVOKE USAGE ON SCHEMA web FROM {analyst}; GRANT SELECT ON web.events TO {analyst}"
        ),
        format!("REVOKE SELECT ON web.events FROM {analyst}"),
    ];
    for half in halves {
        admin.batch_execute(&half).await.unwrap();
        let listed = rows(&reader, "SELECT name FROM trunkline.webhook_sources").await;
        assert_eq!(listed, ["default/shop"], "{half}");
    }
    for statement in [
        "SELECT * FROM web.events",
        "SELECT * FROM trunkline.events",
        "SELECT * FROM trunkline.sources",
        "SELECT * FROM trunkline_data.bucket_1",
        "INSERT INTO shop.events (source) VALUES ('x')",
        "DELETE FROM shop.events",
        "CREATE TABLE shop.x (a int)",
        "DROP VIEW shop.events",
    ] {
        assert_eq!(sqlstate(&reader, statement).await, DENIED, "{statement}");
    }
    // A group is no login.
    let group = format!("trunkline_{}_shop_reader", database.name);
    assert_eq!(
        value(
            &admin,
            &format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{group}'")
        )
        .await,
        "f"
    );
}

#[tokio::test]
async fn many_sources_add_no_rights_to_what_all_readers_share() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    // All rights on one object are one row of the server's catalog, which has to fit into a page.
    let shared = "SELECT (SELECT count(*) FROM pg_namespace, aclexplode(nspacl) \
                  WHERE nspname = 'trunkline') + (SELECT count(*) FROM pg_class, \
                  aclexplode(relacl) WHERE relnamespace = 'trunkline'::regnamespace)";
    let three = [source("shop"), source("web"), source("app")];
    let mut rights = Vec::new();
    for sources in [&three[..1], &three] {
        for result in ensure(&warehouse, sources).await {
            result.unwrap();
        }
        rights.push(value(&admin, shared).await);
    }
    assert_eq!(rights[0], rights[1]);

    // As a program made the group that gave each its own; it goes as well.
    let group = format!("trunkline_{}_shop_reader", database.name);
    let before = format!(
        "REVOKE trunkline_{}_readers FROM {group}; GRANT USAGE ON SCHEMA trunkline TO {group}; \
         GRANT SELECT ON trunkline.webhook_sources, trunkline.rejections TO {group}",
        database.name
    );
    admin.batch_execute(&before).await.unwrap();
    let again = ensure(&warehouse, &three).await.remove(0).unwrap();
    let joined = format!(
        "make role {group} a member of trunkline_{}_readers",
        database.name
    );
    assert_eq!(again.changed, [joined]);
    let (main, shop) = (cluster("default/main"), "default/shop".parse().unwrap());
    warehouse.drop_source(&main, &shop).await.unwrap();
    let role = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{group}'");
    assert_eq!(value(&admin, &role).await, "0");
}

#[tokio::test]
async fn the_password_changes_when_it_is_another_one_and_never_shows() {
    let server = server(&[("log_statement", "all")]).await;
    let database = Database::on(&server).await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname LIKE '%ingest_a'";
    let ensure = async |password: &str| {
        let login = warehouse
            .ensure_ingest(None, &SecretBytes::new(password))
            .await
            .unwrap()
            .login;
        login.unwrap().url.expose_str().unwrap().to_owned()
    };
    let first_url = ensure("first-hunter2").await;
    let first = value(&admin, verifier).await;
    assert!(first.starts_with("SCRAM-SHA-256$"), "{first}");
    assert_eq!(ensure("first-hunter2").await, first_url);
    assert_eq!(value(&admin, verifier).await, first);

    let second_url = ensure("second-hunter2").await;
    assert_ne!(value(&admin, verifier).await, first);
    connect(&second_url).await;
    let old = tokio_postgres::connect(&first_url, tokio_postgres::NoTls).await;
    assert_eq!(old.err().unwrap().code().unwrap().code(), "28P01");

    for useless in ["", "a\0b"] {
        let error = warehouse
            .ensure_ingest(None, &SecretBytes::new(useless))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::UnusablePassword), "{error}");
    }
    let log = fs::read_to_string(server.log_path()).unwrap();
    assert!(log.contains("PASSWORD 'SCRAM-SHA-256$4096:"));
    assert!(!log.contains("hunter2"));
    server.stop().await;
}

#[tokio::test]
async fn an_owner_that_may_create_roles_needs_no_superuser() {
    let database = Database::new().await;
    let admin = database.admin().await;
    let warehouse = warehouse(&database.owner("CREATEROLE").await).await;
    assert!(warehouse.preflight().await.unwrap().can_create_roles);
    warehouse.ensure_layout().await.unwrap();
    let shop = ensure_one(&warehouse, source("shop")).await;
    for password in ["one", "one", "two"] {
        let login = warehouse
            .ensure_ingest(None, &SecretBytes::new(password))
            .await
            .unwrap()
            .login;
        let ingest = connect(login.unwrap().url.expose_str().unwrap()).await;
        store(&ingest, shop.bucket, "default/shop", 1).await;
    }
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "3");
}

#[tokio::test]
async fn an_owner_that_may_create_no_roles_makes_none_and_serves() {
    let database = Database::new().await;
    let admin = database.admin().await;
    let url = database.owner("").await;
    let warehouse = warehouse(&url).await;
    warehouse.ensure_layout().await.unwrap();
    let ingest = warehouse
        .ensure_ingest(None, &SecretBytes::new("p"))
        .await
        .unwrap();
    let own = Some(SecretBytes::new(url.clone()));
    let login = ingest.login.map(|login| login.url);
    assert_eq!((ingest.roles, login), (Roles::Owner, own));
    let shop = ensure_one(&warehouse, source("shop")).await;
    store(&connect(&url).await, shop.bucket, "default/shop", 2).await;
    assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "2");
    let made = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'trunkline_{}_%'",
        database.name
    );
    assert_eq!(value(&admin, &made).await, "0");
}

#[tokio::test]
async fn an_ingest_role_that_exists_is_given_what_it_needs_and_no_role_is_made() {
    let database = Database::new().await;
    let admin = database.admin().await;
    // Also where the owner might make roles.
    for options in ["", "SUPERUSER"] {
        let database = Database::new().await;
        let warehouse = warehouse(&database.owner(options).await).await;
        warehouse.ensure_layout().await.unwrap();
        let loader = format!("loader_{}", database.name);
        let provided = Roles::Provided {
            ingest_role: loader.clone(),
        };
        let unused = SecretBytes::new("");
        let ensure = async || {
            warehouse
                .ensure_ingest(Some(provided.clone()), &unused)
                .await
        };
        let error = ensure().await.unwrap_err();
        assert!(
            matches!(&error, Error::NoIngestRole { role } if *role == loader),
            "{error}"
        );
        admin
            .batch_execute(&format!("CREATE ROLE {loader} LOGIN PASSWORD 'l'"))
            .await
            .unwrap();
        let ingest = ensure().await.unwrap();
        assert_eq!((&ingest.roles, ingest.login), (&provided, None));

        let results = warehouse
            .ensure_sources(
                &cluster("default/main"),
                &[source("shop")],
                &[],
                Some(&ingest.roles),
            )
            .await
            .unwrap();
        let shop = results[0].1.as_ref().unwrap();
        let session = connect(&database.url_as(&loader, "l")).await;
        store(&session, shop.bucket, "default/shop", 2).await;
        for statement in [
            "SELECT * FROM trunkline.events",
            "SELECT * FROM shop.events",
            "DELETE FROM trunkline.events",
            "SELECT * FROM trunkline.webhook_sources",
        ] {
            assert_eq!(sqlstate(&session, statement).await, DENIED, "{statement}");
        }
        let made = format!(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'trunkline_{}_%'",
            database.name
        );
        assert_eq!(value(&admin, &made).await, "0");
    }
}

#[tokio::test]
async fn an_owner_that_is_to_make_roles_and_may_not_is_told_what_to_do() {
    let database = Database::new().await;
    let warehouse = warehouse(&database.owner("").await).await;
    warehouse.ensure_layout().await.unwrap();
    let error = warehouse
        .ensure_ingest(Some(Roles::Managed), &SecretBytes::new("p"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NeedsCreateRole { .. }), "{error}");
    let error = warehouse
        .ensure_sources(
            &cluster("default/main"),
            &[source("shop")],
            &[],
            Some(&Roles::Managed),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NeedsCreateRole { .. }), "{error}");

    // What the message says helps.
    let error = error.to_string();
    let fix = error.split_once("administrator: ").unwrap().1;
    let fix = fix.split_once(", or set").unwrap().0;
    database.admin().await.batch_execute(fix).await.unwrap();
    let ingest = warehouse
        .ensure_ingest(Some(Roles::Managed), &SecretBytes::new("p"))
        .await
        .unwrap();
    assert_eq!(ingest.roles, Roles::Managed);
}

#[tokio::test]
async fn a_role_of_our_name_that_someone_else_made_is_granted_nothing() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let (reader, ingest) = (
        format!("trunkline_{}_shop_reader", database.name),
        format!("trunkline_{}_ingest", database.name),
    );
    admin
        .batch_execute(&format!(
            "CREATE ROLE {reader} LOGIN; CREATE ROLE {ingest} LOGIN"
        ))
        .await
        .unwrap();
    let refused = ensure(&warehouse, &[source("shop"), source("web")]).await;
    let error = refused[0].as_ref().unwrap_err();
    assert!(
        matches!(error, SourceError::ForeignRole(found) if found.role == reader),
        "{error}"
    );
    assert!(refused[1].is_ok());
    let error = warehouse
        .ensure_ingest(None, &SecretBytes::new("p"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::ForeignRole(found) if found.role == ingest),
        "{error}"
    );
    let may = format!(
        "SELECT bool_or(has_schema_privilege(rolname, 'trunkline', 'USAGE')) FROM pg_roles \
         WHERE rolname IN ('{ingest}', '{reader}')"
    );
    assert_eq!(value(&admin, &may).await, "f");
}
