//! Looks for rows by their `messageId`.
//!
//! Only the relation that analysts read is asked, so that the owner and a reader see the same.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::types::Type;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::RelationName;
use trunkline_pgconn::{ConnectError, Target, TargetError, connect};
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
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] TargetError),
    /// The server was not reached, or refused the login.
    #[error("rows cannot be looked for: {0}")]
    Login(#[from] ConnectError),
    /// The server refused a query.
    #[error("rows cannot be looked for: {}", explain(.0))]
    Query(#[from] tokio_postgres::Error),
    /// The server did not answer in time.
    #[error("rows cannot be looked for: the database did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// A connection to the database of the rows, opened anew when it breaks.
pub(super) struct Rows {
    target: Target,
    relation: RelationName,
    client: Option<Client>,
    /// What the database's clock showed, in seconds since 1970, and when.
    clock: (f64, Instant),
}

impl Rows {
    /// Connects, and sees that the relation can be read.
    pub(super) async fn open(
        login: &DatabaseLogin,
        relation: RelationName,
    ) -> Result<Self, RowsError> {
        let mut rows = Self {
            target: Target::parse(login)?.named("trunkline probe"),
            client: None,
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
            let client = match self.client.take() {
                Some(client) if !client.is_closed() => client,
                _ => connect(&self.target).await?.client,
            };
            let rows = client.query_typed(sql, parameters).await?;
            // Only after success: whatever failed is not used again.
            self.client = Some(client);
            Ok(rows)
        };
        tokio::time::timeout(PATIENCE, attempt)
            .await
            .unwrap_or(Err(RowsError::Timeout))
    }
}

/// What the server says, else the whole chain of causes: the driver's own message is `db error`.
fn explain(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || trunkline_operator::chain(error),
        |error| error.message().to_owned(),
    )
}
