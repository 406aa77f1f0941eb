//! The description of what would be done: run by hand, it leaves nothing to do.

use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{
    ColumnOverride, ColumnType, DesiredSource, EmptyDatabase, Report, Roles, Shaping, Storage,
    WarehouseLayout, describe,
};

use super::harness::*;

#[tokio::test]
async fn what_is_described_is_what_is_done() {
    for (number, options) in ["CREATEROLE", "", ""].into_iter().enumerate() {
        let database = Database::new().await;
        let admin = database.admin().await;
        let (analyst, loader) = (
            format!("analyst_{}", database.name),
            format!("loader_{}", database.name),
        );
        admin
            .batch_execute(&format!("CREATE ROLE {analyst}; CREATE ROLE {loader}"))
            .await
            .unwrap();
        let login = format!("trunkline_{}_ingest_a", database.name);
        let owner = format!("owner_{}", database.name);
        let provided = Roles::Provided {
            ingest_role: loader.clone(),
        };
        let (roles, ingest_role) = [
            (Roles::Managed, login),
            (Roles::Owner, owner),
            (provided, loader),
        ][number]
            .clone();
        let sharing = |name| DesiredSource {
            storage: Some(Storage::Shared),
            ..source(name)
        };
        let mut desired = [
            source_with("shop", &["x-shop"]),
            source("web"),
            sharing("small"),
            sharing("smaller"),
        ];
        desired[1].readers = vec![analyst];
        desired[1].layout = Some(WarehouseLayout::Segment);
        desired[2].layout = Some(WarehouseLayout::Rudderstack);
        desired[2].shaping = Some(Shaping {
            is_pinned: true,
            is_materialized: false,
            overrides: None,
        });
        desired[1].shaping = Some(Shaping {
            is_pinned: false,
            is_materialized: false,
            overrides: Some(vec![ColumnOverride {
                relation: "pages".to_owned(),
                column: "title".to_owned(),
                sql_type: Some(ColumnType::Jsonb),
                name: Some("headline".to_owned()),
            }]),
        });
        for (source, names) in [(1, &["orders", "totals"][..]), (2, &["orders"])] {
            desired[source].views = Some(own_views(names));
        }
        let today = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')";
        let today = value(&admin, today).await.parse().unwrap();
        let main = cluster("default/main");
        let url = database.owner(options).await;
        let warehouse = warehouse(&url).await;
        let empty = EmptyDatabase {
            name: &database.name,
            today,
            has_lz4: warehouse.preflight().await.unwrap().has_lz4,
        };
        let statements = describe(&main, &desired, &roles, empty);

        let owner = connect(&url).await;
        for statement in &statements {
            owner
                .batch_execute(&format!("BEGIN; {}; COMMIT", statement.sql))
                .await
                .unwrap_or_else(|error| panic!("{}: {error:?}", statement.description));
        }
        assert_eq!(warehouse.ensure_layout().await.unwrap(), Report::default());
        let results = warehouse
            .ensure_sources(&main, &desired, &[], Some(&roles))
            .await
            .unwrap();
        for (bucket, (_, result)) in [1, 2, 3, 3].into_iter().zip(results) {
            let found = result.unwrap();
            assert_eq!(found.bucket, bucket);
            assert_eq!(
                (found.changed, found.pending, found.warnings, found.views),
                (vec![], vec![], vec![], vec![]),
                "{roles:?}"
            );
        }
        let inserts =
            format!("SELECT has_table_privilege('{ingest_role}', 'trunkline.events', 'INSERT')");
        assert_eq!(value(&admin, &inserts).await, "t", "{roles:?}");
        // The login that was described has no password, and is given one.
        let ingest = warehouse
            .ensure_ingest(Some(roles), &SecretBytes::new("p"))
            .await
            .unwrap();
        if let Some(login) = ingest.login {
            let session = connect(login.url.expose_str().unwrap()).await;
            store(&session, 1, "default/shop", 1).await;
        }
        assert!(!format!("{statements:?}").contains("SCRAM"));
    }
}
