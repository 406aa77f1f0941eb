//! What can be struck: an ingester, two ways to its database, and the database.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};
use trunkline_tests::{PgBouncer, Proxy, SourceDraft, Station};

/// How long the server may take to let its owner in after a fault.
const RETURN: Duration = Duration::from_secs(30);

/// Connections of the pooler to the server; the ingester has fewer for small deliveries and one for
/// large ones.
const POOL_SIZE: u32 = 2;

/// How the ingester reaches the database; a proxy that can break is on either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Direct,
    /// Through PgBouncer, which pools transactions.
    Pooled,
}

pub(crate) struct Stage {
    pub(crate) station: Station,
    pub(crate) pooler: PgBouncer,
    direct: Proxy,
    pooled: Proxy,
    pub(crate) route: Route,
    /// How many secrets there have been.
    secrets: u32,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let first = secret(0);
        let station = Station::with(vec![SourceDraft::segment("segment", &[&first])]).await;
        let pooler = PgBouncer::start(&station.database.url(), POOL_SIZE).await;
        Self {
            direct: Proxy::start(station.database.port()).await,
            pooled: Proxy::start(pooler.port()).await,
            station,
            pooler,
            route: Route::Direct,
            secrets: 0,
        }
    }

    /// The secret that senders sign with.
    pub(crate) fn secret(&self) -> String {
        secret(self.secrets)
    }

    /// The proxy of the route.
    pub(crate) fn proxy(&self) -> &Proxy {
        match self.route {
            Route::Direct => &self.direct,
            Route::Pooled => &self.pooled,
        }
    }

    /// Sends the ingester, which goes on, on another way to the database.
    pub(crate) async fn take(&mut self, route: Route) {
        self.route = route;
        let url = self
            .station
            .database
            .ingest_url_through(self.proxy().port());
        self.station.config.move_to(&url);
        self.reload().await;
    }

    /// Puts a new secret in place of the one before the last. Returns the new one.
    pub(crate) async fn rotate(&mut self) -> String {
        let before = self.secret();
        self.secrets += 1;
        let now = self.secret();
        self.station.sources[0].verify(false, &[&now, &before]);
        self.reload().await;
        now
    }

    async fn reload(&mut self) {
        let hash = self.station.config.write(&self.station.sources);
        self.station.ingester.serving(&hash).await;
    }

    /// A connection as the owner, as soon as the server gives one.
    pub(crate) async fn owner(&self) -> Client {
        let begun = Instant::now();
        loop {
            match tokio_postgres::connect(&self.station.database.url(), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(begun.elapsed() < RETURN, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same, once no transaction of the ingester is open: what nobody waits for any more may
    /// still be committed.
    pub(crate) async fn at_rest(&self) -> Client {
        let owner = self.owner().await;
        let begun = Instant::now();
        let open = "SELECT count(*) FROM pg_stat_activity WHERE usename ~ '_ingest_a$' \
                    AND state <> 'idle'";
        loop {
            let open: i64 = owner.query_one(open, &[]).await.unwrap().get(0);
            if open == 0 {
                return owner;
            }
            assert!(begun.elapsed() < RETURN, "{open} transactions are open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn secret(number: u32) -> String {
    format!("secret number {number} of the tests")
}
