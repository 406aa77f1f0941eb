//! What there is to tell of relations: which there are, and what changed in them. Reads only.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use trunkline_model::names::{SourceName, quote_identifier};

use crate::Warehouse;
use crate::apply::{field, read};
use crate::error::Error;

/// A change in the relations of a source, or something that is not in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaChange {
    /// When, in microseconds since 1970, by the database's clock.
    pub changed_at: i64,
    /// The WebhookSource, as namespace/name.
    pub source: String,
    /// The relation.
    pub relation: String,
    /// The column; None where it is the relation itself.
    pub column: Option<String>,
    /// In a word: `added`, `dropped`, `renamed`, `retyped`; or, of what is not there, `overflow`, `held`,
    /// `blocked`.
    pub change: String,
    /// The type and what it is made of, or why.
    pub detail: String,
}

/// A relation that a source has beside `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownRelation {
    /// The WebhookSource, as namespace/name.
    pub source: String,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub relation: String,
    /// The columns that were made of what was sent, in their order.
    pub columns: Vec<ShownColumn>,
}

/// A column that was made of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub sql_type: String,
    /// Where it is in an event: keys from the outside in. Of several the first that fits counts.
    pub paths: Vec<Vec<String>>,
}

const CHANGES: &str = "SELECT (extract(epoch FROM changed_at) * 1000000)::bigint, source, relation, \
     \"column\", change, detail FROM trunkline.schema_changes \
     WHERE ($1 IS NULL OR source = $1) \
     AND ($2 IS NULL OR changed_at >= to_timestamp($2::numeric / 1000000)) ORDER BY id";

/// A column of the layout before this one has neither another name nor another type.
const COLUMNS: &str = "SELECT s.source, s.schema, r.relation, \
     coalesce(to_jsonb(c) ->> 'other_name', c.\"column\"), \
     coalesce(to_jsonb(c) ->> 'other_type', c.sql_type), c.paths \
     FROM trunkline.relations r JOIN trunkline.sources s ON s.bucket = r.source_number \
     LEFT JOIN trunkline.relation_columns c USING (source_number, relation) \
     WHERE s.removed_at IS NULL AND ($1 IS NULL OR s.source = $1) \
     ORDER BY s.source COLLATE \"C\", r.relation COLLATE \"C\", c.position";

impl Warehouse {
    /// What changed in the relations of a source, or of all sources, since a time in microseconds since
    /// 1970, and what is not in them; the oldest first. Of a database of another version, too.
    ///
    /// # Errors
    /// When the database is not reached or has no such relations ([`Error::NoLayout`]);
    /// [`Error::Denied`] to a role that is not its owner.
    pub async fn schema_changes(
        &self,
        source: Option<&SourceName>,
        since: Option<i64>,
    ) -> Result<Vec<SchemaChange>, Error> {
        let lease = self.connection.lease().await?;
        let role = self.connection.target().user();
        let changes = changes(&lease, role, source, since).await?;
        lease.give_back();
        Ok(changes)
    }

    /// The relations that a source, or all sources, have beside `events`.
    ///
    /// # Errors
    /// As [`Warehouse::schema_changes`].
    pub async fn shown_relations(
        &self,
        source: Option<&SourceName>,
    ) -> Result<Vec<ShownRelation>, Error> {
        let lease = self.connection.lease().await?;
        let role = self.connection.target().user();
        let shown = shown(&lease, role, source).await?;
        lease.give_back();
        Ok(shown)
    }

    /// The names of the sources that have a place in the database, as namespace/name.
    ///
    /// # Errors
    /// As [`Warehouse::schema_changes`].
    pub async fn source_names(&self) -> Result<Vec<String>, Error> {
        let lease = self.connection.lease().await?;
        let names = sources(&lease, self.connection.target().user()).await?;
        lease.give_back();
        Ok(names)
    }
}

/// The changes of a source, or of all, since a time in microseconds since 1970; the oldest first.
async fn changes(
    client: &Client,
    role: &str,
    source: Option<&SourceName>,
    since: Option<i64>,
) -> Result<Vec<SchemaChange>, Error> {
    let source = source.map(ToString::to_string);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&source, Type::TEXT), (&since, Type::INT8)];
    let rows = ask(client, role, CHANGES, &parameters).await?;
    let change = |row: &Row| {
        Ok(SchemaChange {
            changed_at: field(row, DOING, 0)?,
            source: field(row, DOING, 1)?,
            relation: field(row, DOING, 2)?,
            column: field(row, DOING, 3)?,
            change: field(row, DOING, 4)?,
            detail: field(row, DOING, 5)?,
        })
    };
    rows.iter().map(change).collect()
}

/// The relations of a source, or of all, by name.
async fn shown(
    client: &Client,
    role: &str,
    source: Option<&SourceName>,
) -> Result<Vec<ShownRelation>, Error> {
    let source = source.map(ToString::to_string);
    let rows = ask(client, role, COLUMNS, &[(&source, Type::TEXT)]).await?;
    let mut relations: Vec<ShownRelation> = Vec::new();
    for row in &rows {
        let (source, relation): (String, String) = (field(row, DOING, 0)?, field(row, DOING, 2)?);
        let is_last = |it: &ShownRelation| it.source == source && it.relation == relation;
        if !relations.last().is_some_and(is_last) {
            relations.push(ShownRelation {
                source,
                schema: field(row, DOING, 1)?,
                relation,
                columns: Vec::new(),
            });
        }
        let name: Option<String> = field(row, DOING, 3)?;
        if let (Some(name), Some(last)) = (name, relations.last_mut()) {
            let paths: Vec<String> = field(row, DOING, 5)?;
            let keys = |path: &String| serde_json::from_str(path).unwrap_or_default();
            last.columns.push(ShownColumn {
                name,
                sql_type: field(row, DOING, 4)?,
                paths: paths.iter().map(keys).collect(),
            });
        }
    }
    Ok(relations)
}

/// The names of all sources that have a place in the database.
async fn sources(client: &Client, role: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT source FROM trunkline.sources ORDER BY source COLLATE \"C\"";
    let rows = ask(client, role, sql, &[]).await?;
    rows.iter().map(|row| field(row, DOING, 0)).collect()
}

const DOING: &str = "read what is known of relations";

/// Reads what is the owner's. A database without it, and a role that may not, hear what to do.
async fn ask(
    client: &Client,
    role: &str,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, Error> {
    let explain = |error| match error {
        Error::Statement { doing, source } => match source.code() {
            Some(&(SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME)) => Error::NoLayout,
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let to = quote_identifier(role);
                Error::Denied {
                    role: role.to_owned(),
                    doing,
                    fix: format!(
                        "GRANT USAGE ON SCHEMA trunkline TO {to}; GRANT SELECT ON \
                         trunkline.schema_changes, trunkline.relations, trunkline.relation_columns, \
                         trunkline.sources TO {to}"
                    ),
                    source,
                }
            }
            _ => Error::Statement { doing, source },
        },
        error => error,
    };
    read(client, DOING, sql, parameters).await.map_err(explain)
}
