//! The view `<schema>.events`: what readers see of a source's rows.
//!
//! Invariants:
//! - The definition is compared by its fingerprint before anything is locked, because replacing a
//!   view takes ACCESS EXCLUSIVE on it, also when nothing changes.
//! - The column `body` keeps its type while there are rows: they hold bodies of that kind.

use tokio_postgres::Client;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::{RelationName, SourceName, quote_literal};
use trunkline_model::request::BodyFormat;

use crate::apply::CURRENT_ROLE;
use crate::claim::Held;
use crate::definition::{Definition, Grant};
use crate::error::Error;
use crate::events_columns::events_columns;
use crate::shared::SourceRows;
use crate::step::{Report, Step, Test};

/// The view of one source, as it is to be.
#[derive(Debug)]
pub(crate) struct EventsView {
    definition: Definition,
    /// The source's number.
    number: i32,
    /// Where its rows are: `trunkline_data.bucket_7`, with a condition where it is shared.
    rows: String,
    /// The type of `body`.
    body_type: &'static str,
}

impl EventsView {
    /// Lays the view out: the columns of the model, then one per header.
    ///
    /// It reads the bucket's table. One that holds this source's rows alone has no
    /// `WHERE source = …` for that reason and for another: a view that hides rows has to be a
    /// `security_barrier`, or a reader's function would be shown the hidden ones, and under it the
    /// planner may not use an index for the reader's conditions on jsonb. The view runs with its
    /// owner's rights (the default), readers need none on the table.
    pub(crate) fn new(
        source: &SourceName,
        relation: RelationName,
        held: Held,
        body: BodyFormat,
        headers: &[HeaderColumn],
    ) -> Self {
        let columns = events_columns(body, headers);
        let selected: Vec<_> = columns.iter().map(|column| column.selected()).collect();
        let documented: Vec<_> = columns
            .iter()
            .map(|column| (column.name.as_str(), column.doc.as_str()))
            .collect();
        let body_column = columns.iter().find(|column| column.name == "body");
        let SourceRows { table, condition } = SourceRows::new(&source.to_string(), held.bucket);
        let is_barrier = condition.is_some();
        let rows = match condition {
            Some(condition) => format!("{table}\nWHERE {condition}"),
            None => table,
        };
        let query = format!("SELECT\n  {}\nFROM {rows}", selected.join(",\n  "));
        let comment = format!(
            "Every event that WebhookSource {source} received. Filter on received_at with literal \
             times (partitions are made by it), order by timestamp."
        );
        Self {
            number: held.number,
            rows,
            body_type: body_column.map_or("", |column| column.sql_type),
            definition: Definition::new(relation, is_barrier, query, &comment, &documented),
        }
    }

    /// Creates the view, or replaces it by one that has the same columns and perhaps more.
    pub(crate) fn create_or_replace(&self) -> Step {
        self.step(&self.definition.create_or_replace())
    }

    /// Makes the view anew, with the rights that `grants` lists.
    fn recreate(&self, grants: &[Grant]) -> Step {
        self.step(&self.definition.recreate(grants))
    }

    fn step(&self, create: &str) -> Step {
        let Self {
            definition, number, ..
        } = self;
        let Definition {
            relation, comments, ..
        } = definition;
        let fingerprint = definition.fingerprint();
        Step {
            what: format!("define view {relation}"),
            needed: Test::new(
                "NOT EXISTS (SELECT FROM trunkline.sources s JOIN pg_namespace n \
                 ON n.nspname = s.schema JOIN pg_class c ON c.relnamespace = n.oid \
                 WHERE s.bucket = $1::integer AND s.events_fingerprint = $2 \
                 AND c.relname = $3 AND c.relkind = 'v')",
                [&number.to_string(), &fingerprint, &relation.name],
            ),
            sql: format!(
                "{create};\n{comments};\n\
                 UPDATE trunkline.sources SET events_fingerprint = {} WHERE bucket = {number}",
                quote_literal(&fingerprint)
            ),
            fix: format!("ALTER VIEW {} OWNER TO {CURRENT_ROLE}", relation.quoted()),
        }
    }

    /// Brings the view to its definition.
    ///
    /// # Errors
    /// [`Error::OtherBody`] when there are rows whose bodies are of another type. Not when it has to
    /// wait for others: the report then has a pending step, and the old view is
    /// what it was.
    pub(crate) async fn ensure(&self, client: &Client) -> Result<Report, Error> {
        self.refuse_another_body(client).await?;
        let replace = self.create_or_replace();
        let recreate = |grants: &[Grant]| self.recreate(grants);
        self.definition.ensure(client, &replace, recreate).await
    }

    /// Rows of one kind of body have nothing to show in a view of another.
    async fn refuse_another_body(&self, client: &Client) -> Result<(), Error> {
        let relation = &self.definition.relation;
        let doing = format!("look at the columns of {relation}");
        let found = client
            .query_opt(
                "SELECT format_type(atttypid, NULL) FROM pg_attribute \
                 WHERE attrelid = to_regclass($1) AND attname = 'body' AND NOT attisdropped",
                &[&relation.quoted()],
            )
            .await
            .map_err(|error| Error::statement(&doing, error))?;
        let found: Option<String> = found.map(|row| row.get(0));
        let Some(found) = found.filter(|found| found != self.body_type) else {
            return Ok(());
        };
        let sql = format!("SELECT EXISTS (SELECT FROM {})", self.rows);
        let rows = client
            .query_one(&sql, &[])
            .await
            .map_err(|error| Error::statement(&doing, error))?;
        if rows.get(0) {
            return Err(Error::OtherBody {
                relation: relation.to_string(),
                found,
                wanted: self.body_type,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::columns;

    use super::*;
    use crate::partitions::Bucket;
    use crate::ranges::PartitionBy;

    fn view(headers: &[(&str, &str)]) -> EventsView {
        view_of(BodyFormat::Json, headers, false)
    }

    fn held(is_shared: bool) -> Held {
        let bucket = Bucket {
            number: 7,
            by: PartitionBy::Day,
            is_shared,
            tells_repeats: is_shared,
            indexes: crate::indexes::LeafIndexes::default(),
        };
        let number = if is_shared { 8 } else { 7 };
        Held { number, bucket }
    }

    fn view_of(body: BodyFormat, headers: &[(&str, &str)], bytes: bool) -> EventsView {
        let headers: Vec<_> = headers
            .iter()
            .map(|&(name, column)| HeaderColumn {
                name: name.to_owned(),
                column: column.to_owned(),
                bytes,
            })
            .collect();
        let schema: trunkline_model::names::SchemaName = "shop".parse().unwrap();
        EventsView::new(
            &"default/shop".parse().unwrap(),
            schema.events(),
            held(false),
            body,
            &headers,
        )
    }

    #[test]
    fn the_body_comes_from_the_column_of_its_format() {
        let sql = |format| view_of(format, &[("x-sum", "sum")], true).definition.query;
        for (format, body, raw) in [
            (BodyFormat::Form, "\"body_json\" AS \"body\"", "\"raw\""),
            (BodyFormat::Text, "\"body_text\" AS \"body\"", "\"raw\""),
            (
                BodyFormat::Bytes,
                "\"raw\" AS \"body\"",
                "NULL::bytea AS \"raw\"",
            ),
        ] {
            let expected = format!(
                "\"headers\",\n  {body},\n  {raw},\n  \
                 decode(\"header_values\" ->> 'x-sum:hex', 'hex') AS \"sum\"\n"
            );
            assert!(sql(format).contains(&expected), "{}", sql(format));
        }
    }

    #[test]
    fn the_view_reads_the_bucket_and_has_the_columns_of_the_contract() {
        let sql = view(&[("event-type", "event_type"), ("it's", "we\"ird")])
            .create_or_replace()
            .sql;
        let query = &sql[..sql.find(';').unwrap()];
        assert_eq!(
            query,
            "CREATE OR REPLACE VIEW \"shop\".\"events\" AS\n\
             SELECT\n  \"source\",\n  \"received_at\",\n  \"delivery_id\",\n  \"position\",\n  \
             \"message_id\",\n  \"type\",\n  \"event\",\n  \"user_id\",\n  \"anonymous_id\",\n  \
             \"timestamp\",\n  \"original_timestamp\",\n  \"sent_at\",\n  \"auth_scope\",\n  \
             \"headers\",\n  \"body_json\" AS \"body\",\n  \"raw\",\n  \
             \"header_values\" ->> 'event-type' AS \"event_type\",\n  \
             \"header_values\" ->> 'it''s' AS \"we\"\"ird\"\n\
             FROM trunkline_data.bucket_7"
        );
    }

    #[test]
    fn a_view_of_a_shared_bucket_shows_its_source_alone_and_is_a_barrier() {
        let schema: trunkline_model::names::SchemaName = "shop".parse().unwrap();
        let view = EventsView::new(
            &"default/shop".parse().unwrap(),
            schema.events(),
            held(true),
            BodyFormat::Json,
            &[],
        );
        for sql in [view.create_or_replace().sql, view.recreate(&[]).sql] {
            assert!(
                sql.contains("VIEW \"shop\".\"events\" WITH (security_barrier = true) AS\nSELECT"),
                "{sql}"
            );
            assert!(
                sql.contains(
                    "FROM trunkline_data.bucket_7\n\
                     WHERE \"source\" COLLATE \"C\" = 'default/shop';"
                ),
                "{sql}"
            );
            assert!(sql.ends_with("WHERE bucket = 8"), "{sql}");
        }
    }

    #[test]
    fn every_column_of_the_view_is_documented() {
        let sql = view(&[("event-type", "event_type")])
            .create_or_replace()
            .sql;
        for (spec, name) in columns::viewed() {
            let comment = format!(
                "COMMENT ON COLUMN \"shop\".\"events\".\"{name}\" IS {}",
                quote_literal(spec.doc)
            );
            assert!(sql.contains(&comment), "{name}");
        }
        assert!(sql.contains(".\"event_type\" IS 'Request header event-type.'"));
    }

    #[test]
    fn the_fingerprint_follows_the_definition() {
        let fingerprint = |headers: &[(&str, &str)]| view(headers).definition.fingerprint();
        assert_eq!(fingerprint(&[("a", "a")]), fingerprint(&[("a", "a")]));
        assert_ne!(fingerprint(&[]), fingerprint(&[("a", "a")]));
        assert_ne!(
            fingerprint(&[("a", "a"), ("b", "b")]),
            fingerprint(&[("b", "b"), ("a", "a")])
        );
    }

    #[test]
    fn a_view_made_anew_keeps_what_others_granted() {
        let grants = [
            ("SELECT".to_owned(), "PUBLIC".to_owned(), false),
            ("SELECT".to_owned(), "\"Metabase\"".to_owned(), true),
        ];
        let step = view(&[]).recreate(&grants);
        assert!(
            step.sql
                .starts_with("DROP VIEW \"shop\".\"events\";\nCREATE VIEW "),
            "{}",
            step.sql
        );
        assert!(step.sql.contains(
            ";\nGRANT SELECT ON \"shop\".\"events\" TO PUBLIC;\n\
             GRANT SELECT ON \"shop\".\"events\" TO \"Metabase\" WITH GRANT OPTION;\nCOMMENT"
        ));
        assert_eq!(step.needed, view(&[]).create_or_replace().needed);
    }
}
