//! Everything works through PgBouncer, where each transaction may meet another session.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_cli::postgres::{Options, PrivatePostgres};
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_model::database::{Certificates, DatabaseLogin};
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{
    Authority, Client, ConfigDir, IngesterProcess, Ledger, Load, LoadOptions, PgBouncer, SECRET,
    SourceDraft, events, scaled, seed, signed_single,
};
use trunkline_warehouse::{DesiredSource, Warehouse};

/// Sessions that PgBouncer shares out. The ingester has four times as many connections.
const POOL_SIZE: u32 = 4;

/// Connections of the ingester for small deliveries.
const WRITERS: usize = 16;

/// How soon after a return a POST is answered with 200.
const RECOVERY: Duration = Duration::from_secs(2);

/// An ingester that reaches its database through PgBouncer alone, as the owner did before it.
struct Pooled {
    ingester: IngesterProcess,
    path: String,
    pooler: PgBouncer,
    server: PrivatePostgres,
    owner: DatabaseLogin,
    _config: ConfigDir,
}

impl Pooled {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With an authority, PgBouncer lets nobody in without TLS.
    async fn start_with(authority: Option<&Authority>) -> Self {
        let server = PrivatePostgres::start(Options::default()).await.unwrap();
        let certificate = authority.map(|authority| authority.server("127.0.0.1"));
        let pooler = PgBouncer::start_with(&server.url(), POOL_SIZE, certificate.as_ref()).await;
        let owner = DatabaseLogin {
            url: SecretBytes::new(match authority {
                Some(_) => format!("{}?sslmode=verify-full", pooler.url(&server.url())),
                None => pooler.url(&server.url()),
            }),
            certificates: Certificates {
                authorities: authority.map(Authority::pem),
                client: None,
            },
        };
        let mut draft = SourceDraft::segment("segment", &[SECRET]);
        let desired = [DesiredSource {
            name: draft.name.clone(),
            schema: "segment".parse().unwrap(),
            url: None,
            body: draft.settings.body,
            header_columns: Vec::new(),
            readers: Vec::new(),
            retention_days: None,
            partition_by: None,
            storage: None,
            indexes: None,
            layout: None,
            shaping: None,
            views: None,
        }];
        let mut ingest = None;
        for is_first in [true, false] {
            // Sessions are left clean: the second owner meets those of the first.
            let warehouse = Warehouse::connect(&owner).await.unwrap();
            let layout = warehouse.ensure_layout().await.unwrap();
            assert_eq!(layout.changed.is_empty(), !is_first, "{layout:?}");
            let password = SecretBytes::new("of the tests");
            ingest = warehouse
                .ensure_ingest(None, &password)
                .await
                .unwrap()
                .login;
            let cluster = ConfigDir::cluster();
            let sources = warehouse
                .ensure_sources(&cluster, &desired, &[], None)
                .await
                .unwrap();
            let source = sources[0].1.as_ref().unwrap();
            assert_eq!(source.changed.is_empty(), !is_first, "{source:?}");
            draft.settings.bucket = source.bucket;
            let days = warehouse.maintain().await.unwrap();
            assert!(
                days.changed.is_empty() && days.pending.is_empty(),
                "{days:?}"
            );
        }
        let ingest = ingest.unwrap();
        let mut config = ConfigDir::new(ingest.url.expose_str().unwrap());
        *config.certificates() = ingest.certificates;
        config.limits().writers = WRITERS;
        let path = draft.path();
        config.write(&[draft]);
        let mut ingester = IngesterProcess::start(config.path());
        ingester.ready().await;
        Self {
            ingester,
            path,
            pooler,
            server,
            owner,
            _config: config,
        }
    }

    async fn database(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.server.url(), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        client
    }

    async fn post(&self, client: &mut Client) -> (u16, Duration) {
        let event = &events(rand::random(), 1)[0];
        let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
        let headers = [(SIGNATURE_HEADER, signature.as_str())];
        let answer = client.post(&self.path, &headers, body).await.unwrap();
        (answer.status, answer.elapsed)
    }

    /// Expects a 200 within [`RECOVERY`].
    async fn soon_200(&self, what: &str) {
        let start = Instant::now();
        let mut client = self.ingester.client();
        while self.post(&mut client).await.0 != 200 {
            let log = self.ingester.log();
            assert!(start.elapsed() < RECOVERY, "{what}\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("{what}: 200 after {:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_through_pgbouncer_survives_its_kill_9() {
    let seed = seed();
    let mut pooled = Pooled::start().await;
    let ledger = Arc::new(Ledger::default());
    let options = LoadOptions {
        address: pooled.ingester.address(),
        path: pooled.path.clone(),
        secret: SECRET.to_owned(),
        senders: 16,
        batches: 20,
        largest_batch: 40,
        large: 0,
        poison: 0,
        retry: true,
        fresh_connections: false,
        seed,
    };
    let load = Load::start(&options, &ledger);
    let (kills, wanted) = scaled((2, 2_000), (10, 20_000));
    for round in 1..=kills {
        while ledger.acknowledged_events() < wanted * round / (kills + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pooled.pooler.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        pooled.pooler.start_again().await;
        let (start, before) = (Instant::now(), ledger.acknowledged_events());
        while ledger.acknowledged_events() == before {
            let log = pooled.ingester.log();
            assert!(start.elapsed() < RECOVERY, "{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("PgBouncer started again: 200 after {:?}", start.elapsed());
    }
    while ledger.acknowledged_events() < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let database = pooled.database().await;
    let sessions: i64 = database
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE '%ingest%'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let report = load.stop().await;
    report.assert_nobody_was_blamed();
    let verdict = ledger.verify(&database, "segment.events").await;
    println!("{kills} kills of PgBouncer: {verdict}\n{report:?}");
    assert!(verdict.acknowledged_events >= wanted);
    assert!(sessions <= i64::from(POOL_SIZE), "{sessions} sessions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stops_behind_pgbouncer_is_503_in_time_and_comes_back() {
    let mut pooled = Pooled::start().await;
    pooled.soon_200("start").await;
    let pid = i32::try_from(pooled.server.pid().unwrap()).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    while pooled.server.is_running().unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut client = pooled.ingester.client();
    for _ in 0..10 {
        let (status, elapsed) = pooled.post(&mut client).await;
        assert_eq!(status, 503);
        assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    }
    pooled.server.start_again().await.unwrap();
    pooled.soon_200("database started again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_leaves_its_shared_session_clean() {
    let pooled = Pooled::start().await;
    let database = pooled.database().await;
    // Fails within the COPY, after BEGIN and SET LOCAL.
    database
        .batch_execute(
            "ALTER TABLE trunkline.events ADD CONSTRAINT broken CHECK (position <> 0) NOT VALID",
        )
        .await
        .unwrap();
    let connections = "trunkline_ingester_database_connections_total";
    // The writers connect one by one, also after the ingester is ready.
    let mut before = -1.0;
    loop {
        let now = pooled.ingester.metric(connections, "").await;
        if now.total_cmp(&before).is_eq() {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut client = pooled.ingester.client();
    for _ in 0..20 {
        assert_eq!(pooled.post(&mut client).await.0, 503);
    }
    database
        .batch_execute("ALTER TABLE trunkline.events DROP CONSTRAINT broken")
        .await
        .unwrap();
    for _ in 0..20 {
        assert_eq!(pooled.post(&mut client).await.0, 200);
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let left: i64 = database.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "no transaction is left open");
    let after = pooled.ingester.metric(connections, "").await;
    assert_eq!(after, before, "no session had to be given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_dropped_by_way_of_pgbouncer() {
    dropped_through(&Pooled::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_partitions_are_frozen_and_dropped_by_way_of_pgbouncer() {
    let pooled = Pooled::start().await;
    let warehouse = Warehouse::connect(&pooled.owner).await.unwrap();
    let cluster = ConfigDir::cluster();
    let database = pooled.database().await;
    let bucket = "SELECT bucket FROM trunkline.sources";
    let bucket: i32 = database.query_one(bucket, &[]).await.unwrap().get(0);
    for year in [2001, 2002] {
        let add = format!(
            "CREATE TABLE trunkline_data.bucket_{bucket}_{year}0101 PARTITION OF \
             trunkline_data.bucket_{bucket} \
             FOR VALUES FROM ('{year}-01-01 00:00+00') TO ('{year}-01-02 00:00+00')"
        );
        database.batch_execute(&add).await.unwrap();
    }
    let desired = [DesiredSource {
        name: "default/segment".parse().unwrap(),
        schema: "segment".parse().unwrap(),
        url: None,
        body: SourceDraft::segment("segment", &[SECRET]).settings.body,
        header_columns: Vec::new(),
        readers: Vec::new(),
        retention_days: NonZeroU16::new(90),
        partition_by: None,
        storage: None,
        indexes: None,
        layout: None,
        shaping: None,
        views: None,
    }];
    let mut client = pooled.ingester.client();
    let tidying = async {
        let kept = warehouse.upkeep().await.unwrap();
        let dropped = warehouse.drop_expired(&cluster, &desired).await.unwrap();
        (kept, dropped)
    };
    let posting = async {
        loop {
            assert_eq!(pooled.post(&mut client).await.0, 200);
        }
    };
    let (kept, dropped) = tokio::select! {
        done = tidying => done,
        () = posting => unreachable!("posts do not end"),
    };
    for table in ["_20010101", "_20020101", "bucket_1"] {
        let is_done = kept.changed.iter().any(|step| step.ends_with(table));
        assert!(is_done, "{table}: {kept:?}");
    }
    assert_eq!(kept.pending, []);
    assert_eq!(
        (dropped.changed.len(), dropped.pending.len()),
        (2, 0),
        "{dropped:?}"
    );
    // The settings of these statements stay in no session that others get.
    let mut seen = Vec::new();
    for _ in 0..8 {
        let (session, connection) = tokio_postgres::connect(
            pooled.owner.url.expose_str().unwrap(),
            tokio_postgres::NoTls,
        )
        .await
        .unwrap();
        tokio::spawn(connection);
        let settings =
            "SELECT current_setting('lock_timeout') || current_setting('statement_timeout')";
        for message in session.simple_query(settings).await.unwrap() {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                seen.push(row.get(0).unwrap().to_owned());
            }
        }
    }
    assert_eq!(seen, ["00"; 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_over_tls_to_pgbouncer() {
    let authority = Authority::new();
    let pooled = Pooled::start_with(Some(&authority)).await;
    pooled.soon_200("over TLS").await;
    // Without TLS, PgBouncer lets nobody in.
    let plain = SecretBytes::new(format!(
        "{}?sslmode=disable",
        pooled.pooler.url(&pooled.server.url())
    ));
    assert!(Warehouse::connect(plain).await.is_err());
    dropped_through(&pooled).await;
}

/// Adds a source beside the one that is served, drops it while events arrive for the other, and
/// finds nothing of it left.
async fn dropped_through(pooled: &Pooled) {
    let warehouse = Warehouse::connect(&pooled.owner).await.unwrap();
    let cluster = ConfigDir::cluster();
    let desired = ["segment", "doomed"].map(|name| DesiredSource {
        name: format!("default/{name}").parse().unwrap(),
        schema: name.parse().unwrap(),
        url: None,
        body: SourceDraft::segment(name, &[SECRET]).settings.body,
        header_columns: Vec::new(),
        readers: Vec::new(),
        retention_days: None,
        partition_by: None,
        storage: None,
        indexes: None,
        layout: None,
        shaping: None,
        views: None,
    });
    let added = warehouse
        .ensure_sources(&cluster, &desired, &[], None)
        .await
        .unwrap();
    let bucket = added[1].1.as_ref().unwrap().bucket;
    let mut client = pooled.ingester.client();
    let dropping = async {
        let dropped = warehouse.drop_source(&cluster, &desired[1].name).await;
        dropped.unwrap()
    };
    let posting = async {
        loop {
            assert_eq!(pooled.post(&mut client).await.0, 200);
        }
    };
    let dropped = tokio::select! {
        dropped = dropping => dropped,
        () = posting => unreachable!("posts do not end"),
    };
    assert!(!dropped.changed.is_empty());
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'bucket_{bucket}%') \
         + (SELECT count(*) FROM pg_namespace WHERE nspname = 'doomed')"
    );
    let database = pooled.database().await;
    let left: i64 = database.query_one(&left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
    let again = warehouse.drop_source(&cluster, &desired[1].name).await;
    assert!(again.unwrap().changed.is_empty());
}
