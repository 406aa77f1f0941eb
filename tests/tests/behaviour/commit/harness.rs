//! A server with a source in it, and deliveries to it.

use std::time::{Duration, Instant};

use trunkline_ingester::commit::{CommitError, CommitMetrics, Committed, Committer, DatabaseState};
use trunkline_ingester::json::{ArrayRows, Element, Envelope, decode};
use trunkline_ingester::rows::{DeliveryFields, EncodedRows, RowEncoder};
use trunkline_model::secret::SecretBytes;
use trunkline_model::verification::AuthScope;
use trunkline_pgconn::Target;
use trunkline_tests::{Database, SourceDraft};
use uuid::Uuid;

pub(crate) struct Fixture {
    pub(crate) database: Database,
    /// The source's partition.
    pub(crate) bucket: i32,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::of(SourceDraft::unverified("segment")).await
    }

    /// With a source that has the analysts' relations, which show no repeats.
    pub(crate) async fn with_relations() -> Self {
        let mut draft = SourceDraft::unverified("segment");
        draft.settings.notes_shapes = true;
        Self::of(draft).await
    }

    async fn of(draft: SourceDraft) -> Self {
        let database = Database::start().await;
        let mut drafts = [draft];
        let cluster = "default/main".parse().unwrap();
        database.provision(&cluster, &mut drafts).await;
        let bucket = drafts[0].settings.bucket;
        Self { database, bucket }
    }

    pub(crate) fn target(&self) -> Target {
        target(self.database.ingest_url())
    }

    /// A committer that has reached the database.
    pub(crate) async fn committer(&self, writers: usize) -> Committer {
        let committer = start(self.target(), writers);
        ready(&committer).await;
        committer
    }

    /// The rows of a request with this body.
    pub(crate) fn delivery(&self, body: &str) -> EncodedRows {
        encode(self.bucket, body)
    }

    /// How many rows meet a condition.
    pub(crate) async fn count(&self, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM trunkline.events WHERE {condition}");
        self.database.count(&sql).await
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, sql: &str) {
        let client = self.database.connect().await;
        client.batch_execute(sql).await.expect(sql);
    }

    /// Changes a setting of the running server.
    pub(crate) async fn set(&self, name: &str, value: &str) {
        self.execute(&format!("ALTER SYSTEM SET {name} = '{value}'"))
            .await;
        self.execute("SELECT pg_reload_conf()").await;
        // The server's processes read the file a moment later.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The rows of a request with this body, for any partition.
pub(crate) fn encode(bucket: i32, body: &str) -> EncodedRows {
    let mut encoder = encoder(bucket);
    for element in decode(body.as_bytes(), ArrayRows::Elements).unwrap() {
        encoder.push(&element, AuthScope::Request);
    }
    encoder.finish()
}

/// An encoder for a request of its own.
pub(crate) fn encoder(bucket: i32) -> RowEncoder<'static> {
    let delivery = DeliveryFields {
        bucket,
        source: "default/segment",
        delivery_id: Uuid::now_v7(),
        headers: Some(r#"{"user-agent":"test"}"#),
        header_values: None,
    };
    RowEncoder::new(delivery, 0)
}

/// Adds a row as if our own pass over its JSON had repaired nothing.
pub(crate) fn push_unrepaired(encoder: &mut RowEncoder<'_>, body: &str) {
    let element = Element {
        text: body.as_bytes(),
        body: body.into(),
        exact: true,
        envelope: Envelope::default(),
    };
    encoder.push(&element, AuthScope::None);
}

pub(crate) fn target(url: &str) -> Target {
    Target::parse(SecretBytes::new(url)).unwrap()
}

pub(crate) fn start(target: Target, writers: usize) -> Committer {
    Committer::start(target, writers, CommitMetrics::default()).unwrap()
}

pub(crate) async fn ready(committer: &Committer) {
    wait_for(committer, |state| matches!(state, DatabaseState::Ready(_))).await;
    // The connections are made side by side.
    let begun = Instant::now();
    while !committer.has_reached_database() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for a state of the database; panics after 10 s.
pub(crate) async fn wait_for(
    committer: &Committer,
    is_wanted: impl FnMut(&DatabaseState) -> bool,
) -> DatabaseState {
    let mut state = committer.state();
    let waiting = state.wait_for(is_wanted);
    let found = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let found = found.map(|state| state.unwrap().clone());
    found.unwrap_or_else(|_| panic!("state stays {:?}", *committer.state().borrow()))
}

/// Tries until a delivery is committed; says how long that took.
pub(crate) async fn until_committed(fixture: &Fixture, committer: &Committer) -> Duration {
    let begun = Instant::now();
    while let Err(error) = committer.commit(fixture.delivery("{}"), ()).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "still {error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

pub(crate) async fn timed(
    commit: impl Future<Output = Result<Committed, CommitError>>,
) -> (Result<Committed, CommitError>, Duration) {
    let begun = Instant::now();
    let answer = commit.await;
    (answer, begun.elapsed())
}
