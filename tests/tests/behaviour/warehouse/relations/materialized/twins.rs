//! Two sources that receive the same: `shop`, whose relations are materialised, and `plain`, whose are
//! not.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use trunkline_cli::postgres::PrivatePostgres;
use trunkline_warehouse::{
    ColumnOverride, DesiredSource, Relator, Report, Shaping, Warehouse, WarehouseLayout,
};

pub(super) use super::super::harness::*;

/// How the relations of both are to be.
pub(super) fn shaping(overrides: &[ColumnOverride], is_pinned: bool) -> Shaping {
    Shaping {
        is_pinned,
        is_materialized: false,
        overrides: Some(overrides.to_vec()),
    }
}

/// A database with both.
pub(super) struct Twins {
    pub(super) database: Database,
    pub(super) warehouse: Warehouse,
    pub(super) admin: Client,
    pub(super) relator: Relator,
    /// Of `shop` and of `plain`.
    pub(super) buckets: [i32; 2],
}

impl Twins {
    /// Both with partitions of these days, counted back from today.
    pub(super) async fn new(days: &[i32]) -> Self {
        Self::of(Database::new().await, days).await
    }

    /// The same on a server of its own.
    pub(super) async fn on(server: &PrivatePostgres, days: &[i32]) -> Self {
        Self::of(Database::on(server).await, days).await
    }

    async fn of(database: Database, days: &[i32]) -> Self {
        let warehouse = database.prepared().await;
        let relator = relator(&database).await;
        let admin = database.admin().await;
        let mut twins = Self {
            database,
            warehouse,
            admin,
            relator,
            buckets: [0, 0],
        };
        twins
            .ensure(WarehouseLayout::Segment, &shaping(&[], false))
            .await;
        for day in days {
            for bucket in twins.buckets {
                past_leaf(&twins.admin, bucket, *day).await;
            }
        }
        twins
    }

    /// Brings both to a layout and to what else is decided of their relations.
    pub(super) async fn ensure(&mut self, layout: WarehouseLayout, shaping: &Shaping) {
        let desired = ["shop", "plain"].map(|name| DesiredSource {
            shaping: Some(Shaping {
                is_materialized: name == "shop",
                ..shaping.clone()
            }),
            ..related(name, layout)
        });
        let places = ensure(&self.warehouse, &desired).await;
        let bucket = |place: usize| places[place].as_ref().unwrap().bucket;
        self.buckets = [bucket(0), bucket(1)];
    }

    /// Both receive an event so many days ago, at noon.
    pub(super) async fn receive(&self, day: i32, body: &Value) {
        let at =
            format!("((now() AT TIME ZONE 'UTC')::date - {day} + time '12:00') AT TIME ZONE 'UTC'");
        self.receive_at(&at, body).await;
    }

    /// The same at any time, as SQL.
    pub(super) async fn receive_at(&self, at: &str, body: &Value) {
        let sql = format!("SELECT {at}, gen_random_uuid()");
        let line = value(&self.admin, &sql).await;
        let (at, delivery) = line.split_once('|').unwrap();
        let (at, delivery) = (format!("'{at}'"), format!("'{delivery}'"));
        for (bucket, schema) in self.buckets.into_iter().zip(["shop", "plain"]) {
            send_at(&self.admin, bucket, schema, body, &at, &delivery).await;
        }
    }

    /// Takes up what is new.
    pub(super) async fn settle(&mut self) {
        settle(&mut self.relator, &self.admin).await;
    }

    /// Materialises, and compares before and after.
    pub(super) async fn keep(&self) -> Report {
        self.compare().await;
        let mut report = self.warehouse.upkeep().await.unwrap();
        // The server's own maintenance holds a lock or a snapshot now and then.
        for _ in 0..5 {
            if report.pending.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            report = self.warehouse.upkeep().await.unwrap();
        }
        self.compare().await;
        report
    }

    /// What both show is the same.
    pub(super) async fn compare(&self) {
        self.compare_as(&self.admin).await;
    }

    /// The same by another session.
    pub(super) async fn compare_as(&self, session: &Client) {
        let names = |schema: &str| {
            format!(
                "SELECT c.relname FROM pg_class c WHERE c.relkind = 'v' AND c.relname <> 'events' \
                 AND c.relnamespace = '{schema}'::regnamespace ORDER BY 1"
            )
        };
        let relations = rows(session, &names("shop")).await;
        assert_eq!(relations, rows(session, &names("plain")).await);
        for relation in relations {
            let columns = |schema: &str| {
                format!(
                    "SELECT quote_ident(attname), format_type(atttypid, atttypmod) FROM pg_attribute \
                     WHERE attrelid = '{schema}.{relation}'::regclass AND attnum > 0 ORDER BY attnum"
                )
            };
            let of_shop = rows(session, &columns("shop")).await;
            assert_eq!(
                of_shop,
                rows(session, &columns("plain")).await,
                "{relation}"
            );
            let names: Vec<_> = of_shop
                .iter()
                .filter_map(|line| line.split_once('|'))
                .map(|(name, _)| match name {
                    "_source" => "split_part(_source, '/', 1)".to_owned(),
                    name => name.to_owned(),
                })
                .collect();
            let rows_of =
                |schema: &str| format!("SELECT {} FROM {schema}.{relation}", names.join(", "));
            for (one, other) in [("shop", "plain"), ("plain", "shop")] {
                let sql = format!(
                    "SELECT to_jsonb(d)::text FROM (({}) EXCEPT ALL ({})) AS d",
                    rows_of(one),
                    rows_of(other)
                );
                let more = rows(session, &sql).await;
                assert_eq!(more, [""; 0], "only {one}.{relation} shows it");
            }
        }
    }

    /// How many partitions each relation reads from tables: `tracks 2`.
    pub(super) async fn read_from_tables(&self) -> Vec<String> {
        let sql = "SELECT relation || ' ' || jsonb_array_length(materialized -> 'leaves') \
                   FROM trunkline.relations WHERE materialized IS NOT NULL ORDER BY relation COLLATE \"C\"";
        rows(&self.admin, sql).await
    }

    /// The number for one relation.
    pub(super) async fn parts(&self, relation: &str) -> usize {
        let all = self.read_from_tables().await;
        let found = all
            .iter()
            .find_map(|line| line.strip_prefix(&format!("{relation} ")));
        found.map_or(0, |count| count.parse().unwrap())
    }

    /// Tables of the schema of the data that hold copies.
    pub(super) async fn tables(&self) -> usize {
        let sql = "SELECT count(*) FROM pg_class WHERE relnamespace = 'trunkline_data'::regnamespace \
                   AND relname LIKE 'materialized%' AND relkind IN ('r', 'p')";
        value(&self.admin, sql).await.parse().unwrap()
    }
}

/// A track event.
pub(super) fn track(event: &str, id: &str, properties: &Value) -> Value {
    json!({
        "type": "track", "event": event, "messageId": id, "userId": format!("u{id}"),
        "timestamp": "2026-11-01T10:00:00Z", "properties": properties,
        "context": {"ip": "10.0.0.1", "app": {"name": "shop"}},
    })
}

/// An identify call.
pub(super) fn identify(user: &str, id: &str, at: &str, traits: &Value) -> Value {
    json!({
        "type": "identify", "messageId": id, "userId": user, "timestamp": at, "traits": traits,
    })
}

/// Yesterday's partition is over, but for the first minutes of a day.
pub(super) async fn is_yesterday_over(client: &Client) -> bool {
    let sql = "SELECT now() AT TIME ZONE 'UTC' > (now() AT TIME ZONE 'UTC')::date + time '00:10'";
    value(client, sql).await == "t"
}
