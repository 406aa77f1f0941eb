//! Looks for rows by their `messageId`.
//!
//! Only the relation that analysts read is asked, so that the owner and a reader see the same.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::AbortOnDropHandle;
use trunkline_model::names::RelationName;
use trunkline_model::secret::SecretBytes;
use uuid::Uuid;

use super::ledger::Waiting;

/// How far `received_at`, the start of the commit by the database's clock, may lie before the
/// answer: a request's whole time and more.
const SLACK: Duration = Duration::from_secs(60);

/// How long a look may take, connection included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why rows could not be looked at. It never holds the URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsError {
    /// The URL is not one.
    #[error(
        "the database's URL is malformed; give one like postgres://user:password@host/database"
    )]
    Url,
    /// The server was not reached, or refused.
    #[error("rows cannot be looked for: {0}")]
    Database(String),
    /// The server did not answer in time.
    #[error("rows cannot be looked for: the database did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// A connection to the database of the rows, opened anew when it breaks.
pub(super) struct Rows {
    config: tokio_postgres::Config,
    relation: RelationName,
    connection: Option<Connection>,
    /// What the database's clock showed, in seconds since 1970, and when.
    clock: (f64, Instant),
}

struct Connection {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Rows {
    /// Connects, and sees that the relation can be read.
    pub(super) async fn open(url: &SecretBytes, relation: RelationName) -> Result<Self, RowsError> {
        let mut config: tokio_postgres::Config = url
            .expose_str()
            .and_then(|url| url.trim().parse().ok())
            .ok_or(RowsError::Url)?;
        if config.get_application_name().is_none() {
            config.application_name("trunkline probe");
        }
        let mut rows = Self {
            config,
            connection: None,
            clock: (0.0, Instant::now()),
            relation,
        };
        rows.read_clock().await?;
        Ok(rows)
    }

    async fn read_clock(&mut self) -> Result<(), RowsError> {
        let sql = format!(
            "SELECT extract(epoch FROM clock_timestamp())::float8 \
             FROM (SELECT count(*) FROM {} WHERE false) AS readable",
            self.relation.quoted()
        );
        let rows = self.query(&sql, &[]).await?;
        let now = rows.first().map_or(0.0, |row| row.get(0));
        self.clock = (now, Instant::now());
        Ok(())
    }

    /// Which of these have a row.
    pub(super) async fn find(&mut self, waiting: &[Waiting]) -> Result<Vec<Uuid>, RowsError> {
        let Some(oldest) = waiting.iter().map(|waiting| waiting.answered).min() else {
            return Ok(Vec::new());
        };
        let since = self.since(oldest);
        let ids: Vec<String> = waiting
            .iter()
            .map(|waiting| waiting.id.to_string())
            .collect();
        let sql = format!(
            "SELECT DISTINCT message_id FROM {} \
             WHERE received_at >= to_timestamp($1) AND message_id = ANY ($2)",
            self.relation.quoted()
        );
        let rows = self
            .query(&sql, &[(&since, Type::FLOAT8), (&ids, Type::TEXT_ARRAY)])
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| row.get::<_, &str>(0).parse().ok())
            .collect())
    }

    /// How many rows each `messageId` of this prefix has, of those that arrived after `start`.
    pub(super) async fn count(
        &mut self,
        prefix: &str,
        start: Instant,
    ) -> Result<HashMap<Uuid, i64>, RowsError> {
        let since = self.since(start);
        let pattern = format!("{prefix}%");
        let sql = format!(
            "SELECT message_id, count(*) FROM {} \
             WHERE received_at >= to_timestamp($1) AND message_id LIKE $2 GROUP BY message_id",
            self.relation.quoted()
        );
        let rows = self
            .query(&sql, &[(&since, Type::FLOAT8), (&pattern, Type::TEXT)])
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.get::<_, &str>(0).parse().ok()?, row.get(1))))
            .collect())
    }

    /// A moment before `at`, by the database's clock.
    fn since(&self, at: Instant) -> f64 {
        let (seconds, read) = self.clock;
        let moved = if at >= read {
            at.duration_since(read).as_secs_f64()
        } else {
            -read.duration_since(at).as_secs_f64()
        };
        seconds + moved - SLACK.as_secs_f64()
    }

    /// Without prepared statements, which a pooler in transaction mode may not keep.
    async fn query(
        &mut self,
        sql: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<tokio_postgres::Row>, RowsError> {
        let attempt = async {
            let connection = match self.connection.take() {
                Some(connection) if !connection.client.is_closed() => connection,
                _ => connect(&self.config).await?,
            };
            let rows = connection.client.query_typed(sql, parameters).await?;
            // Only after success: whatever failed is not used again.
            self.connection = Some(connection);
            Ok::<_, tokio_postgres::Error>(rows)
        };
        match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(RowsError::Database(explain(&error))),
            Err(_) => Err(RowsError::Timeout),
        }
    }
}

async fn connect(config: &tokio_postgres::Config) -> Result<Connection, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        // Whoever uses the client meets the same error.
        let _ = connection.await;
    });
    Ok(Connection {
        client,
        _driver: AbortOnDropHandle::new(driver),
    })
}

/// What the server says, else the whole chain of causes: the driver's own message is `db error`.
fn explain(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || trunkline_operator::chain(error),
        |error| error.message().to_owned(),
    )
}
