//! The log of refusals: who writes to it, who reads what of it, how much of it stays.

use tokio_postgres::Client;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{Report, Roles};

use super::harness::*;

const DENIED: &str = "42501";

/// Inserts a row of this age, as ingesters do.
async fn report(client: &Client, source: &str, hours: u32) {
    let source = match source {
        "" => "NULL".to_owned(),
        source => format!("'{source}'"),
    };
    let sql = format!(
        "INSERT INTO trunkline.rejections (occurred_at, source, status, reason, detail, count) \
         VALUES (now() - interval '{hours} hours', {source}, 400, 'signature_mismatch', 'why', 3)"
    );
    client.batch_execute(&sql).await.unwrap();
}

async fn seen(client: &Client) -> Vec<String> {
    let sql = "SELECT DISTINCT source FROM trunkline.rejections ORDER BY source";
    rows(client, sql).await
}

#[tokio::test]
async fn ingesters_report_and_each_reader_sees_the_refusals_of_its_source() {
    for (roles, options) in [(Roles::Managed, "CREATEROLE"), (Roles::Owner, "")] {
        let database = Database::new().await;
        let admin = database.admin().await;
        let owner_url = database.owner(options).await;
        let warehouse = warehouse(&owner_url).await;
        warehouse.ensure_layout().await.unwrap();
        let ingest = warehouse
            .ensure_ingest(Some(roles.clone()), &SecretBytes::new("p"))
            .await
            .unwrap();
        let analyst = format!("analyst_{}", database.name);
        admin
            .batch_execute(&format!("CREATE ROLE {analyst} LOGIN PASSWORD 'a'"))
            .await
            .unwrap();
        let ensure = async |readers: Vec<String>| {
            let mut desired = [source("shop"), source("web")];
            desired[0].readers = readers;
            let main = cluster("default/main");
            let results = warehouse
                .ensure_sources(&main, &desired, &[], Some(&roles))
                .await
                .unwrap();
            for (_, result) in results {
                assert_eq!(result.unwrap().warnings, Vec::<String>::new());
            }
        };
        ensure(vec![analyst.clone()]).await;

        let ingester = connect(ingest.login.unwrap().url.expose_str().unwrap()).await;
        for source in ["default/shop", "default/web", ""] {
            report(&ingester, source, 0).await;
        }
        let owner = connect(&owner_url).await;
        assert_eq!(seen(&owner).await, ["default/shop", "default/web", "-"]);
        let reader = connect(&database.url_as(&analyst, "a")).await;
        assert_eq!(seen(&reader).await, ["default/shop"], "{roles:?}");
        for statement in [
            "INSERT INTO trunkline.rejections (status, reason, detail) VALUES (400, 'x', 'x')",
            "DELETE FROM trunkline.rejections",
            "SELECT * FROM trunkline_data.rejections",
        ] {
            assert_eq!(sqlstate(&reader, statement).await, DENIED, "{statement}");
        }
        if roles == Roles::Managed {
            for statement in [
                "SELECT * FROM trunkline.rejections",
                "UPDATE trunkline.rejections SET count = 0",
                "DELETE FROM trunkline.rejections",
                "INSERT INTO trunkline.rejections (status, reason, detail) \
                 VALUES (400, 'x', 'x') RETURNING source",
                "INSERT INTO trunkline_data.rejections (status, reason, detail) \
                 VALUES (400, 'x', 'x')",
            ] {
                assert_eq!(sqlstate(&ingester, statement).await, DENIED, "{statement}");
            }
        }

        // Whoever loses the events loses their refusals.
        ensure(Vec::new()).await;
        assert!(
            matches!(
                sqlstate(&reader, "SELECT * FROM shop.events")
                    .await
                    .as_str(),
                DENIED
            ),
            "{roles:?}"
        );
        let left = match sqlstate(&reader, "SELECT * FROM trunkline.rejections")
            .await
            .as_str()
        {
            DENIED => Vec::new(),
            _ => seen(&reader).await,
        };
        assert_eq!(left, Vec::<String>::new(), "{roles:?}");
    }
}

#[tokio::test]
async fn a_week_and_two_thousand_rows_of_each_source_stay() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    assert_eq!(
        warehouse.prune_rejections().await.unwrap(),
        Report::default()
    );
    report(&admin, "default/quiet", 24 * 7 - 1).await;
    report(&admin, "default/quiet", 24 * 7 + 1).await;
    report(&admin, "", 24 * 8).await;
    admin
        .batch_execute(
            "INSERT INTO trunkline.rejections (occurred_at, source, status, reason, detail, count) \
             SELECT now() - n * interval '1 minute', 'default/noisy', 503, 'unavailable', 'why', n \
             FROM generate_series(1, 2500) n",
        )
        .await
        .unwrap();
    let report = warehouse.prune_rejections().await.unwrap();
    assert_eq!(report.changed, ["delete old rejections"]);
    let left = rows(
        &admin,
        "SELECT source, count(*), max(count) FROM trunkline.rejections GROUP BY 1 ORDER BY 1",
    )
    .await;
    assert_eq!(left, ["default/noisy|2000|2000", "default/quiet|1|3"]);
    assert_eq!(
        warehouse.prune_rejections().await.unwrap(),
        Report::default()
    );
}

#[tokio::test]
async fn a_dropped_source_takes_its_refusals_with_it() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    ensure(&warehouse, &[source("shop"), source("web")]).await;
    for source in ["default/shop", "default/web"] {
        report(&admin, source, 0).await;
    }
    let shop = "default/shop".parse().unwrap();
    warehouse
        .drop_source(&cluster("default/main"), &shop)
        .await
        .unwrap();
    assert_eq!(seen(&admin).await, ["default/web"]);
}
