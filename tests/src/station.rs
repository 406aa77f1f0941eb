//! [`Station`]: a database, a configuration and the ingester that serves it.

use crate::config_dir::{ConfigDir, SourceDraft};
use crate::database::Database;
use crate::ingester::IngesterProcess;
use crate::proxy::Proxy;

/// The shared secret of the sources that tests make.
pub const SECRET: &str = "the shared secret of the tests";

/// Everything that one test needs, in the order in which it must end.
#[derive(Debug)]
pub struct Station {
    /// The binary under test.
    pub ingester: IngesterProcess,
    /// Its configuration.
    pub config: ConfigDir,
    /// The sources that are configured.
    pub sources: Vec<SourceDraft>,
    /// What lies between the ingester and the database; None when they are connected directly.
    pub proxy: Option<Proxy>,
    /// The server.
    pub database: Database,
}

impl Station {
    /// A source `default/segment` with [`SECRET`], ready.
    pub async fn segment() -> Self {
        Self::with(vec![SourceDraft::segment("segment", &[SECRET])]).await
    }

    /// These sources, ready.
    pub async fn with(sources: Vec<SourceDraft>) -> Self {
        Self::around(Database::start().await, sources).await
    }

    /// The same around a database that exists.
    pub async fn around(database: Database, sources: Vec<SourceDraft>) -> Self {
        Self::build(database, sources, None).await
    }

    /// A source `default/segment` whose ingester reaches the database through a [`Proxy`].
    pub async fn behind_proxy() -> Self {
        let database = Database::start().await;
        let proxy = Proxy::start(database.port()).await;
        let sources = vec![SourceDraft::segment("segment", &[SECRET])];
        Self::build(database, sources, Some(proxy)).await
    }

    async fn build(database: Database, sources: Vec<SourceDraft>, proxy: Option<Proxy>) -> Self {
        let mut station = Self::unready(database, sources, proxy).await;
        station.ingester.ready().await;
        station
    }

    /// The same around a database that exists; the ingester may not be ready.
    pub async fn unready(
        database: Database,
        sources: Vec<SourceDraft>,
        proxy: Option<Proxy>,
    ) -> Self {
        let url = match &proxy {
            Some(proxy) => database.ingest_url_through(proxy.port()),
            None => database.ingest_url().to_owned(),
        };
        Self {
            proxy,
            ..Self::unready_at(&url, database, sources).await
        }
    }

    /// The same, whose ingester reaches the database by this URL.
    pub async fn unready_at(url: &str, database: Database, mut sources: Vec<SourceDraft>) -> Self {
        database
            .provision(&ConfigDir::cluster(), &mut sources)
            .await;
        let mut config = ConfigDir::new(url);
        config.write(&sources);
        let ingester = IngesterProcess::start(config.path());
        Self {
            ingester,
            config,
            sources,
            proxy: None,
            database,
        }
    }

    /// The path of the first source.
    #[must_use]
    pub fn path(&self) -> String {
        self.sources[0].path()
    }

    /// Writes the sources as they are now and waits until they are served.
    pub async fn reload(&mut self) {
        self.database
            .provision(&ConfigDir::cluster(), &mut self.sources)
            .await;
        let hash = self.config.write(&self.sources);
        self.ingester.serving(&hash).await;
    }
}
