//! Asks the database what a role may read: by `trunkline.webhook_sources` which sources, by
//! PostgreSQL's own catalog and comments what is in their schemas.
//!
//! Reads only, and nothing that a plain reader may not.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use trunkline_model::names::SchemaName;
use trunkline_pgconn::{ConnectError, Target, connect};

use super::relations::{Column, Relation, Source};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The sources that the role may read, by name.
const SOURCES: &str = "SELECT name, relation FROM trunkline.webhook_sources ORDER BY name";

/// The columns of what the role may read in some schemas. A partition is left to its table.
const COLUMNS: &str = "\
SELECT n.nspname::text, c.relname::text, obj_description(c.oid, 'pg_class'), \
a.attname::text, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum) \
FROM pg_catalog.pg_class c \
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
WHERE n.nspname = ANY ($1) AND c.relkind IN ('v', 'm', 'r', 'p', 'f') AND NOT c.relispartition \
AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
ORDER BY n.nspname, c.relname COLLATE \"C\", a.attnum";

/// Why there is nothing to write. It never holds the URL.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    /// The server was not reached, or refused the login.
    #[error("--database-url: {0}")]
    Login(#[from] ConnectError),
    /// There is no list of sources, or not for this role.
    #[error(
        "--database-url: role {role:?} finds no trunkline.webhook_sources in database {database:?}; \
         name the database that a WebhookCluster writes to, and let its owner grant the role a \
         source's group of readers: GRANT trunkline_{database}_SCHEMA_reader TO {role:?}"
    )]
    NoList {
        /// The role of the URL.
        role: String,
        /// Its database.
        database: String,
    },
    /// The list is empty for this role.
    #[error(
        "--database-url: role {role:?} may read no source; let the owner of the database grant it a \
         source's group of readers: GRANT trunkline_{database}_SCHEMA_reader TO {role:?}"
    )]
    NoSource {
        /// The role of the URL.
        role: String,
        /// Its database.
        database: String,
    },
    /// One that was asked for is not among them.
    #[error(
        "--schema: role {role:?} may read no source in schema {schema:?}; it may read {others}"
    )]
    NoSuchSource {
        /// What was asked for.
        schema: String,
        /// The role of the URL.
        role: String,
        /// The schemas of those that it may read.
        others: String,
    },
    /// The server refused a query.
    #[error("the relations cannot be looked at: {}", explain(.0))]
    Query(#[from] tokio_postgres::Error),
    /// The server did not answer in time.
    #[error("the relations cannot be looked at: the database did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// The sources in `schemas`, or where there are none given, all that the role may read.
pub(super) async fn read(
    target: &Target,
    schemas: &[SchemaName],
) -> Result<Vec<Source>, CatalogError> {
    let look = async {
        let client = connect(target).await?.client;
        let listed = listed(&client, target).await?;
        let mut sources = chosen(listed, schemas, target)?;
        let names: Vec<_> = sources.iter().map(|it| it.schema.as_str()).collect();
        // Without a prepared statement, which a pooler in transaction mode may not keep.
        let rows = client
            .query_typed(COLUMNS, &[(&names, Type::TEXT_ARRAY)])
            .await?;
        for row in &rows {
            add(&mut sources, row)?;
        }
        Ok(sources)
    };
    tokio::time::timeout(PATIENCE, look)
        .await
        .unwrap_or(Err(CatalogError::Timeout))
}

async fn listed(client: &Client, target: &Target) -> Result<Vec<Source>, CatalogError> {
    let rows = match client.query_typed(SOURCES, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            return Err(match error.code() {
                Some(
                    &(SqlState::UNDEFINED_TABLE
                    | SqlState::INVALID_SCHEMA_NAME
                    | SqlState::INSUFFICIENT_PRIVILEGE),
                ) => CatalogError::NoList {
                    role: target.user().to_owned(),
                    database: target.database().to_owned(),
                },
                _ => error.into(),
            });
        }
    };
    let mut sources = Vec::new();
    for row in &rows {
        let (name, relation): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        // A schema of ours has such a name.
        let schema = relation.strip_suffix(".events").unwrap_or(&relation);
        if let Ok(schema) = schema.parse() {
            sources.push(Source {
                name,
                schema,
                relations: Vec::new(),
            });
        }
    }
    Ok(sources)
}

/// Those that were asked for.
fn chosen(
    listed: Vec<Source>,
    schemas: &[SchemaName],
    target: &Target,
) -> Result<Vec<Source>, CatalogError> {
    let role = target.user().to_owned();
    if listed.is_empty() {
        return Err(CatalogError::NoSource {
            role,
            database: target.database().to_owned(),
        });
    }
    let absent = |schema: &&SchemaName| !listed.iter().any(|it| it.schema == **schema);
    if let Some(schema) = schemas.iter().find(absent) {
        let others: Vec<_> = listed.iter().map(|it| it.schema.as_str()).collect();
        return Err(CatalogError::NoSuchSource {
            schema: schema.to_string(),
            role,
            others: others.join(", "),
        });
    }
    let is_wanted = |source: &Source| schemas.is_empty() || schemas.contains(&source.schema);
    Ok(listed.into_iter().filter(is_wanted).collect())
}

/// Adds a row of [`COLUMNS`].
fn add(sources: &mut [Source], row: &Row) -> Result<(), tokio_postgres::Error> {
    let (schema, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    let Some(source) = sources.iter_mut().find(|it| it.schema.as_str() == schema) else {
        return Ok(());
    };
    if source.relations.last().is_none_or(|last| last.name != name) {
        source.relations.push(Relation {
            name: name.to_owned(),
            comment: row.try_get(2)?,
            columns: Vec::new(),
        });
    }
    let column = Column {
        name: row.try_get(3)?,
        sql_type: row.try_get(4)?,
        comment: row.try_get(5)?,
    };
    if let Some(relation) = source.relations.last_mut() {
        relation.columns.push(column);
    }
    Ok(())
}

/// What the server says, else the whole chain of causes: the driver's own message is `db error`.
fn explain(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || trunkline_operator::chain(error),
        |error| error.message().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use trunkline_model::database::DatabaseLogin;
    use trunkline_model::secret::SecretBytes;

    use super::super::relations::tests::source;
    use super::*;

    fn choose(listed: &[&str], schemas: &[&str]) -> Result<Vec<String>, String> {
        let login: DatabaseLogin = SecretBytes::new("postgres://ada:hunter2@h/app").into();
        let listed = listed.iter().map(|name| source(name, Vec::new())).collect();
        let schemas: Vec<_> = schemas.iter().map(|name| name.parse().unwrap()).collect();
        chosen(listed, &schemas, &Target::parse(login).unwrap())
            .map(|found| found.into_iter().map(|it| it.schema.to_string()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn all_sources_are_taken_or_those_that_are_named() {
        assert_eq!(choose(&["a", "b"], &[]).unwrap(), ["a", "b"]);
        assert_eq!(choose(&["a", "b"], &["b"]).unwrap(), ["b"]);
    }

    #[test]
    fn who_may_read_nothing_hears_what_to_ask_for() {
        let error = choose(&[], &[]).unwrap_err();
        assert!(
            error.contains("GRANT trunkline_app_SCHEMA_reader TO \"ada\""),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        let error = choose(&["a", "b"], &["c"]).unwrap_err();
        assert!(error.contains("it may read a, b"), "{error}");
    }
}
