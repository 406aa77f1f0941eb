//! What keeps the warehouse from the database, and what its user is told.

use std::error::Error as _;

use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{Error, Warehouse, durability};

use super::harness::*;

async fn refused(url: &str) -> Error {
    let error = Warehouse::connect(SecretBytes::new(url)).await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
    error
}

#[tokio::test]
async fn a_login_that_fails_names_the_cause() {
    let database = Database::new().await;
    database
        .admin()
        .await
        .batch_execute(&format!(
            "CREATE ROLE r_{} LOGIN PASSWORD 'r'",
            database.name
        ))
        .await
        .unwrap();

    let wrong = refused(&database.url_as("postgres", "hunter2")).await;
    assert!(
        matches!(&wrong, Error::Password { role, .. } if role == "postgres"),
        "{wrong}"
    );
    assert!(wrong.source().is_some());
    let missing = refused(&format!("{}_x", database.url)).await;
    assert!(matches!(&missing, Error::NoDatabase { .. }), "{missing}");
    assert!(
        missing
            .to_string()
            .contains(&format!("CREATE DATABASE \"{}_x\"", database.name))
    );
    let tls = refused(&format!("{}?sslmode=require", database.url)).await;
    assert!(matches!(tls, Error::Tls { .. }), "{tls}");

    let refused_port = trunkline_tests::ReservedPort::any().unwrap();
    let address = refused_port.address().to_string();
    let nobody = refused(&format!("postgres://o:hunter2@{address}/d")).await;
    assert!(matches!(nobody, Error::Unreachable { .. }), "{nobody}");
    assert!(nobody.to_string().contains(&address), "{nobody}");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_with_the_statement_that_gives_it() {
    let database = Database::new().await;
    let admin = database.admin().await;
    let role = format!("Owner-{}", database.name);
    admin
        .batch_execute(&format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'o'"))
        .await
        .unwrap();
    let warehouse = warehouse(&database.url_as(&role, "o")).await;

    let error = warehouse.ensure_layout().await.unwrap_err();
    let Error::Denied { fix, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        fix,
        &format!(
            "GRANT CREATE ON DATABASE \"{}\" TO \"{role}\"",
            database.name
        )
    );
    assert!(error.to_string().contains(fix), "{error}");
    admin.batch_execute(fix).await.unwrap();
    warehouse.ensure_layout().await.unwrap();
    ensure_one(&warehouse, source("shop")).await;
}

#[tokio::test]
async fn a_connection_that_breaks_is_replaced() {
    let server = server(&[]).await;
    let database = Database::on(&server).await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    for _ in 0..3 {
        let ended = value(
            &admin,
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
             WHERE application_name = 'trunkline'",
        )
        .await;
        assert_eq!(ended, "1");
        // The client may learn of it a moment later than we do.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        warehouse.ensure_layout().await.unwrap();
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_can_lose_commits_is_found_out() {
    let server = server(&[("fsync", "off"), ("synchronous_commit", "off")]).await;
    let database = Database::on(&server).await;
    let preflight = database.warehouse().await.preflight().await.unwrap();
    let finding = durability(&preflight).unwrap_err();
    assert_eq!((finding.setting, finding.overridden), ("fsync", false));
    assert_eq!(preflight.synchronous_commit, "off");
    assert_eq!(preflight.database, database.name);
    assert!(preflight.server_version >= 140_000 && preflight.can_create_roles);
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_left_in_a_session_that_a_pooler_may_hand_to_others() {
    let server = server(&[("log_statement", "all")]).await;
    let database = Database::on(&server).await;
    let warehouse = database.warehouse().await;
    warehouse.ensure_layout().await.unwrap();
    ensure_one(&warehouse, source_with("shop", &["a"])).await;
    ensure_one(&warehouse, source("shop")).await;
    warehouse
        .ensure_ingest(None, &SecretBytes::new("p"))
        .await
        .unwrap();
    warehouse.maintain().await.unwrap();

    let log = std::fs::read_to_string(server.log_path()).unwrap();
    assert!(log.contains("execute <unnamed>: SELECT ARRAY("), "{log}");
    let named: Vec<_> = log
        .lines()
        .filter(|line| line.contains(": execute s"))
        .collect();
    assert_eq!(named, Vec::<&str>::new());
    let statements = log.split(';').map(str::trim);
    let lasting: Vec<_> = statements
        .filter(|sql| sql.starts_with("SET ") && !sql.starts_with("SET LOCAL "))
        .collect();
    assert_eq!(lasting, Vec::<&str>::new());
    for call in ["pg_advisory_lock(", "LISTEN ", "CREATE TEMP", "PREPARE "] {
        assert!(!log.contains(call), "{call}");
    }
    server.stop().await;
}
