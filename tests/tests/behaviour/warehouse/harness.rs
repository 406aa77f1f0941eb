//! A PostgreSQL, databases on it, and short ways to ask them.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use trunkline_cli::postgres::{Options, PrivatePostgres};
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::ClusterName;
use trunkline_model::request::BodyFormat;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::{
    CastType, DesiredSource, OwnColumn, OwnValue, OwnView, OwnViews, PartitionBy, Provisioned,
    SourceError, Warehouse,
};

/// The server of this binary. It is stopped when the process ends: a static is never dropped, but
/// the server's watchdog sees the process go.
static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();

/// Numbers the databases, which share their server's roles and so must not share a name.
static DATABASES: AtomicU32 = AtomicU32::new(1);

/// A server with settings of its own.
pub(crate) async fn server(settings: &[(&str, &str)]) -> PrivatePostgres {
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    PrivatePostgres::start(Options {
        settings,
        ..Options::default()
    })
    .await
    .unwrap()
}

/// An empty database.
pub(crate) struct Database {
    pub(crate) name: String,
    /// As the superuser.
    pub(crate) url: String,
}

impl Database {
    /// On the binary's server.
    pub(crate) async fn new() -> Self {
        Self::on(SERVER.get_or_init(|| server(&[])).await).await
    }

    pub(crate) async fn on(server: &PrivatePostgres) -> Self {
        let name = format!("shop{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        connect(&server.url())
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let (before, _) = server
            .url()
            .rsplit_once('/')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        Self {
            url: format!("{before}/{name}"),
            name,
        }
    }

    /// The URL of another role.
    pub(crate) fn url_as(&self, role: &str, password: &str) -> String {
        let (_, place) = self.url.split_once('@').unwrap();
        format!("postgres://{role}:{password}@{place}")
    }

    /// Gives the database to a new role with these options, and returns its URL.
    pub(crate) async fn owner(&self, options: &str) -> String {
        let (name, owner) = (&self.name, format!("owner_{}", self.name));
        self.admin()
            .await
            .batch_execute(&format!(
                "CREATE ROLE {owner} LOGIN {options} PASSWORD 'o'; \
                 ALTER DATABASE {name} OWNER TO {owner}"
            ))
            .await
            .unwrap();
        self.url_as(&owner, "o")
    }

    /// A session of the superuser.
    pub(crate) async fn admin(&self) -> Client {
        connect(&self.url).await
    }

    /// The warehouse as the superuser.
    pub(crate) async fn warehouse(&self) -> Warehouse {
        warehouse(&self.url).await
    }

    /// The warehouse with its layout.
    pub(crate) async fn prepared(&self) -> Warehouse {
        let warehouse = self.warehouse().await;
        let report = warehouse.ensure_layout().await.unwrap();
        assert_eq!(report.pending, []);
        warehouse
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, driver) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(driver);
    client
}

pub(crate) async fn warehouse(url: &str) -> Warehouse {
    Warehouse::connect(SecretBytes::new(url)).await.unwrap()
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

/// The source `default/<name>` in the schema `<name>`.
pub(crate) fn source(name: &str) -> DesiredSource {
    DesiredSource {
        name: format!("default/{name}").parse().unwrap(),
        schema: name.parse().unwrap(),
        url: Some(format!("http://localhost/webhooks/default/{name}")),
        body: BodyFormat::Json,
        header_columns: Vec::new(),
        readers: Vec::new(),
        retention_days: None,
        partition_by: Some(PartitionBy::Day),
        storage: None,
        indexes: None,
        layout: None,
        shaping: None,
        views: None,
    }
}

/// The same with a column for each of `headers`, named after the header.
pub(crate) fn source_with(name: &str, headers: &[&str]) -> DesiredSource {
    let column = |header: &&str| HeaderColumn {
        name: (*header).to_owned(),
        column: header.replace('-', "_"),
        bytes: false,
    };
    DesiredSource {
        header_columns: headers.iter().map(column).collect(),
        ..source(name)
    }
}

/// Views of those names, each with the columns `message_id` and `a`, a number of the body.
pub(crate) fn own_views(names: &[&str]) -> OwnViews {
    let column = |name: &str, value, cast| OwnColumn {
        name: name.to_owned(),
        values: vec![value],
        cast,
    };
    let view = |name: &&str| OwnView {
        name: (*name).to_owned(),
        columns: vec![
            column(
                "message_id",
                OwnValue::Column("message_id".to_owned()),
                None,
            ),
            column(
                "a",
                OwnValue::Path(vec!["a".to_owned()]),
                Some(CastType::Numeric),
            ),
        ],
        types: Vec::new(),
        events: Vec::new(),
        distinct_on: Vec::new(),
        order_by: Vec::new(),
    };
    OwnViews {
        views: names.iter().map(view).collect(),
        untouched: Vec::new(),
    }
}

/// Ensures `desired` as the sources of the cluster `default/main`.
pub(crate) async fn ensure(
    warehouse: &Warehouse,
    desired: &[DesiredSource],
) -> Vec<Result<Provisioned, SourceError>> {
    let results = warehouse
        .ensure_sources(&cluster("default/main"), desired, &[], None)
        .await
        .unwrap();
    let names: Vec<_> = results.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(
        names,
        desired
            .iter()
            .map(|source| source.name.clone())
            .collect::<Vec<_>>()
    );
    results.into_iter().map(|(_, result)| result).collect()
}

/// Ensures one source alone, which has to succeed with nothing pending.
pub(crate) async fn ensure_one(warehouse: &Warehouse, desired: DesiredSource) -> Provisioned {
    let provisioned = ensure(warehouse, &[desired]).await.remove(0).unwrap();
    assert_eq!(provisioned.pending, []);
    provisioned
}

/// The rows of a query as text: columns joined by `|`, NULL as `-`.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let fields: Vec<_> = (0..row.len()).map(|n| row.get(n).unwrap_or("-")).collect();
            rows.push(fields.join("|"));
        }
    }
    rows
}

/// The only value of a query.
pub(crate) async fn value(client: &Client, sql: &str) -> String {
    let mut rows = rows(client, sql).await;
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0)
}

/// The SQLSTATE that a statement fails with; `00000` when it does not.
pub(crate) async fn sqlstate(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => "00000".to_owned(),
        Err(error) => error
            .code()
            .unwrap_or_else(|| panic!("{sql}: {error:?}"))
            .code()
            .to_owned(),
    }
}

/// Stores `count` events of a source now, as the superuser.
pub(crate) async fn store(client: &Client, bucket: i32, source: &str, count: usize) {
    let sql = format!(
        "INSERT INTO trunkline.events (bucket, source, delivery_id, position, message_id, \
         auth_scope, header_values, body_json) \
         SELECT {bucket}, '{source}', gen_random_uuid(), n, \
         concat('m', n, '-', gen_random_uuid()), 'request', \
         '{{\"event-type\": \"click\", \"x-shop\": \"7\"}}', '{{\"a\": 1}}' \
         FROM generate_series(0, {count} - 1) n"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Stores one event now, as the superuser: its columns as SQL, `message_id => 'm1'` and so on.
pub(crate) async fn store_event(client: &Client, place: &Provisioned, columns: &[(&str, &str)]) {
    let (names, values): (Vec<&str>, Vec<&str>) = columns.iter().copied().unzip();
    let sql = format!(
        "INSERT INTO trunkline.events (bucket, source, delivery_id, position, auth_scope, {}) \
         VALUES ({}, 'default/{}', gen_random_uuid(), 0, 'request', {})",
        names.join(", "),
        place.bucket,
        place.relation.schema,
        values.join(", ")
    );
    client
        .batch_execute(&sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Stores lines of COPY's text format, as the ingester's statement would: the parent's name, columns
/// named.
pub(crate) async fn copy(client: &Client, lines: Bytes) -> Result<u64, tokio_postgres::Error> {
    let sql = "COPY trunkline.events (bucket, source, delivery_id, position, auth_scope, body_json) \
               FROM STDIN";
    let mut sink = Box::pin(client.copy_in::<_, Bytes>(sql).await?);
    sink.send(lines).await?;
    sink.as_mut().finish().await
}

/// `count` such lines for `sources` in turn, with bodies of one kilobyte.
pub(crate) fn lines(sources: &[(i32, &str)], count: usize) -> Bytes {
    let filler = "x".repeat(1_000);
    let line = |(n, (bucket, source)): (usize, &(i32, &str))| {
        format!(
            "{bucket}\t{source}\t019a4000-0000-7000-8000-000000000001\t{n}\trequest\t\"{filler}\"\n"
        )
    };
    sources
        .iter()
        .cycle()
        .take(count)
        .enumerate()
        .map(line)
        .collect::<String>()
        .into()
}

/// Every relation of ours with what it hangs on.
pub(crate) async fn tree(client: &Client) -> Vec<String> {
    rows(
        client,
        "SELECT c.oid::regclass, coalesce(p.oid::regclass::text, '-'), \
         pg_get_expr(c.relpartbound, c.oid) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent \
         WHERE n.nspname IN ('trunkline', 'trunkline_data') AND c.relkind IN ('r', 'p', 'v') \
         ORDER BY c.oid::regclass::text",
    )
    .await
}

/// Makes the leaf of the day (UTC) that many days ago, as it was made then, and returns its name.
pub(crate) async fn past_leaf(client: &Client, bucket: i32, age: i32) -> String {
    let sql = format!(
        "SELECT 'bucket_{bucket}_' || to_char(day, 'YYYYMMDD'), day, day + 1 \
         FROM (SELECT (now() AT TIME ZONE 'UTC')::date - {age} AS day) AS days"
    );
    let line = value(client, &sql).await;
    let [leaf, day, next] = line.split('|').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    client
        .batch_execute(&format!(
            "CREATE TABLE trunkline_data.{leaf} \
             (LIKE trunkline_data.bucket_{bucket} INCLUDING DEFAULTS); \
             DO $$ BEGIN EXECUTE format('ALTER TABLE trunkline_data.{leaf} OWNER TO %s', \
             (SELECT relowner::regrole FROM pg_class \
             WHERE oid = 'trunkline_data.bucket_{bucket}'::regclass)); END $$; \
             ALTER TABLE trunkline_data.bucket_{bucket} ATTACH PARTITION trunkline_data.{leaf} \
             FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
        ))
        .await
        .unwrap();
    leaf.to_owned()
}

/// Stores an event of the last microsecond of that day.
pub(crate) async fn store_past(client: &Client, bucket: i32, source: &str, age: i32) {
    let sql = format!(
        "INSERT INTO trunkline.events \
         (bucket, source, received_at, delivery_id, position, auth_scope, body_json) \
         VALUES ({bucket}, '{source}', ((now() AT TIME ZONE 'UTC')::date - {age} + 1)::timestamp \
         AT TIME ZONE 'UTC' - interval '1 microsecond', gen_random_uuid(), 0, 'none', '1')"
    );
    client.batch_execute(&sql).await.unwrap();
}
