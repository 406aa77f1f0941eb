//! Brings the views of a source to what its manifest declares.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use trunkline_model::names::{RelationName, quote_identifier, quote_literal};

use super::query::Query;
use super::{MadeView, OwnView, mark};
use crate::apply::{CURRENT_ROLE, field, read, run};
use crate::claim::Held;
use crate::definition::{self, Definition, Grant};
use crate::error::Error;
use crate::events_columns::events_columns;
use crate::shared::SourceRows;
use crate::sources::DesiredSource;
use crate::step::{Report, Step, Test};

/// What is to be done about a view.
#[derive(Debug)]
pub(crate) enum OwnWork {
    /// It is declared.
    Define(Box<KeptView>, Step),
    /// It is declared no longer.
    Drop(Step),
}

impl OwnWork {
    pub(crate) fn step(&self) -> &Step {
        match self {
            Self::Define(_, step) | Self::Drop(step) => step,
        }
    }

    /// Does it. What others keep from being done is pending.
    pub(crate) async fn run(&self, client: &Client) -> Result<Report, Error> {
        match self {
            Self::Define(view, step) => view.ensure(client, step).await,
            Self::Drop(step) => definition::report(step, run(client, step).await),
        }
    }
}

/// A view as it is to be in the database.
#[derive(Debug)]
pub(crate) struct KeptView {
    definition: Definition,
    /// The source's number.
    number: i32,
    mark: String,
    /// Roles that may read it from the beginning.
    grantees: Vec<String>,
}

impl KeptView {
    pub(crate) fn new(
        view: &OwnView,
        source: &DesiredSource,
        held: Held,
        grantees: Vec<String>,
    ) -> Self {
        let rows = SourceRows::new(&source.name.to_string(), held.bucket);
        let query = Query {
            view,
            columns: &events_columns(source.body, &source.header_columns),
            rows: &rows,
        };
        let comments: Vec<_> = view
            .columns
            .iter()
            .map(|column| (column.name.as_str(), query.comment(column)))
            .collect();
        let comments: Vec<_> = comments
            .iter()
            .map(|(column, text)| (*column, text.as_str()))
            .collect();
        let mark = mark(&source.name);
        let is_barrier = rows.condition.is_some();
        Self {
            definition: Definition::new(
                relation(source, &view.name),
                is_barrier,
                query.sql(),
                &mark,
                &comments,
            ),
            number: held.number,
            mark,
            grantees,
        }
    }

    /// The work, which is due while the view is not what was declared.
    pub(crate) fn work(self) -> OwnWork {
        let step = self.step(&self.definition.create_or_replace());
        OwnWork::Define(Box::new(self), step)
    }

    fn step(&self, create: &str) -> Step {
        let Definition {
            relation, comments, ..
        } = &self.definition;
        let (name, number) = (relation.quoted(), self.number);
        let fingerprint = self.definition.fingerprint();
        let roles: Vec<_> = self
            .grantees
            .iter()
            .map(|role| quote_identifier(role))
            .collect();
        let grant = if roles.is_empty() {
            String::new()
        } else {
            format!("GRANT SELECT ON {name} TO {};\n", roles.join(", "))
        };
        Step {
            what: format!("define view {relation}"),
            needed: Test::new(
                "NOT EXISTS (SELECT FROM trunkline.own_views v JOIN trunkline.sources s \
                 ON s.bucket = v.bucket JOIN pg_namespace n ON n.nspname = s.schema \
                 JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = v.name \
                 WHERE v.bucket = $1::integer AND v.name = $2 AND v.fingerprint = $3 \
                 AND c.relkind = 'v' AND obj_description(c.oid, 'pg_class') = $4)",
                [
                    &number.to_string(),
                    &relation.name,
                    &fingerprint,
                    &self.mark,
                ],
            ),
            sql: format!(
                "{create};\n{grant}{comments};\n\
                 INSERT INTO trunkline.own_views (bucket, name, fingerprint) \
                 VALUES ({number}, {}, {fingerprint}) \
                 ON CONFLICT (bucket, name) DO UPDATE SET fingerprint = excluded.fingerprint",
                quote_literal(&relation.name),
                fingerprint = quote_literal(&fingerprint),
            ),
            fix: format!("ALTER VIEW {name} OWNER TO {CURRENT_ROLE}"),
        }
    }

    async fn ensure(&self, client: &Client, replace: &Step) -> Result<Report, Error> {
        self.refuse_foreign(client).await?;
        let recreate = |grants: &[Grant]| self.step(&self.definition.recreate(grants));
        self.definition.ensure(client, replace, recreate).await
    }

    /// Refuses to replace what somebody else has made.
    async fn refuse_foreign(&self, client: &Client) -> Result<(), Error> {
        let relation = &self.definition.relation;
        let doing = format!("look for relation {relation}");
        let sql = "SELECT c.relkind = 'v', obj_description(c.oid, 'pg_class') FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relname = $2";
        let (schema, name) = (relation.schema.as_str(), relation.name.as_str());
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&schema, Type::TEXT), (&name, Type::TEXT)];
        let rows = read(client, &doing, sql, &parameters).await?;
        let Some(found) = rows.first() else {
            return Ok(());
        };
        let (is_view, comment): (bool, Option<String>) =
            (field(found, &doing, 0)?, field(found, &doing, 1)?);
        if is_view && comment.as_ref() == Some(&self.mark) {
            return Ok(());
        }
        let name = relation.quoted();
        let adopt = format!("COMMENT ON VIEW {name} IS {}", quote_literal(&self.mark));
        Err(Error::ForeignView {
            relation: relation.to_string(),
            adopt: is_view.then_some(adopt),
        })
    }
}

fn relation(source: &DesiredSource, view: &str) -> RelationName {
    RelationName {
        schema: source.schema.clone(),
        name: view.to_owned(),
    }
}

/// Drops those of `made` that are declared no longer, and forgets those that are gone already.
pub(crate) fn drop_unwanted(
    source: &DesiredSource,
    number: i32,
    made: &[MadeView],
) -> Vec<OwnWork> {
    let Some(wanted) = &source.views else {
        return Vec::new();
    };
    let is_wanted = |name: &String| {
        wanted.views.iter().any(|view| view.name == *name) || wanted.untouched.contains(name)
    };
    made.iter()
        .filter(|made| !is_wanted(&made.name))
        .map(|made| {
            OwnWork::Drop(drop_view(
                &relation(source, &made.name),
                number,
                made.is_there,
            ))
        })
        .collect()
}

fn drop_view(relation: &RelationName, number: i32, is_there: bool) -> Step {
    let name = relation.quoted();
    let (verb, drop) = if is_there {
        ("drop", format!("DROP VIEW {name};\n"))
    } else {
        ("forget", String::new())
    };
    Step {
        what: format!("{verb} view {relation}"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.own_views WHERE bucket = $1::integer AND name = $2)",
            [&number.to_string(), &relation.name],
        ),
        sql: format!(
            "{drop}DELETE FROM trunkline.own_views WHERE bucket = {number} AND name = {}",
            quote_literal(&relation.name)
        ),
        fix: format!("ALTER VIEW {name} OWNER TO {CURRENT_ROLE}"),
    }
}

/// Lets `grantees` read the views that are there: those who came after a view was made.
pub(crate) fn let_read(
    source: &DesiredSource,
    made: &[MadeView],
    grantees: &[String],
) -> Vec<Step> {
    let there = made.iter().filter(|made| made.is_there);
    there
        .flat_map(|made| {
            let relation = relation(source, &made.name);
            grantees
                .iter()
                .map(move |role| grant(source, &relation, role))
        })
        .collect()
}

fn grant(source: &DesiredSource, relation: &RelationName, role: &str) -> Step {
    let grant = format!(
        "GRANT SELECT ON {} TO {}",
        relation.quoted(),
        quote_identifier(role)
    );
    Step {
        what: format!("let role {role} read {relation}"),
        needed: Test::new(
            // A group that does not exist yet is made before.
            "EXISTS (SELECT FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid \
             WHERE n.nspname = $2 AND c.relname = $3 AND c.relkind = 'v' \
             AND obj_description(c.oid, 'pg_class') = $4 \
             AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = $1 \
             AND has_table_privilege(r.oid, c.oid, 'SELECT')))",
            [
                role,
                relation.schema.as_str(),
                &relation.name,
                &mark(&source.name),
            ],
        ),
        fix: grant.clone(),
        sql: grant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_views::{OwnColumn, OwnValue, OwnViews};
    use crate::partitions::Bucket;
    use crate::ranges::PartitionBy;
    use crate::sources::fixtures::shop;

    fn view(name: &str) -> OwnView {
        OwnView {
            name: name.to_owned(),
            columns: vec![OwnColumn {
                name: "id".to_owned(),
                values: vec![OwnValue::Column("message_id".to_owned())],
                cast: None,
            }],
            types: Vec::new(),
            events: Vec::new(),
            distinct_on: Vec::new(),
            order_by: Vec::new(),
        }
    }

    fn kept(is_shared: bool, grantees: &[&str]) -> KeptView {
        let bucket = Bucket {
            number: 7,
            by: PartitionBy::Day,
            is_shared,
            tells_repeats: is_shared,
            indexes: crate::indexes::LeafIndexes::default(),
        };
        let grantees = grantees.iter().map(|&role| role.to_owned()).collect();
        KeptView::new(
            &view("orders"),
            &shop("shop"),
            Held { number: 8, bucket },
            grantees,
        )
    }

    #[test]
    fn a_view_is_made_with_its_rights_its_comments_and_a_record_of_it() {
        let work = kept(false, &["Bi \"x\"", "group"]).work();
        assert_eq!(
            work.step().sql.split(";\n").collect::<Vec<_>>(),
            [
                "CREATE OR REPLACE VIEW \"shop\".\"orders\" AS\nSELECT\n  \"message_id\" AS \"id\"\n\
                 FROM trunkline_data.bucket_7 AS r\nWHERE NOT \"dup\"",
                "GRANT SELECT ON \"shop\".\"orders\" TO \"Bi \"\"x\"\"\", \"group\"",
                "COMMENT ON VIEW \"shop\".\"orders\" IS \
                 'View of WebhookSource a/shop, as its spec.views declares it.'",
                "COMMENT ON COLUMN \"shop\".\"orders\".\"id\" IS 'messageId of the event.'",
                &format!(
                    "INSERT INTO trunkline.own_views (bucket, name, fingerprint) \
                     VALUES (8, 'orders', '{}') \
                     ON CONFLICT (bucket, name) DO UPDATE SET fingerprint = excluded.fingerprint",
                    kept(false, &[]).definition.fingerprint()
                ),
            ]
        );
        assert!(!kept(false, &[]).work().step().sql.contains("GRANT"));
    }

    #[test]
    fn a_view_of_a_shared_bucket_is_a_barrier_however_it_is_made() {
        let view = kept(true, &[]);
        for sql in [
            view.definition.create_or_replace(),
            view.definition.recreate(&[]),
        ] {
            assert!(
                sql.contains("VIEW \"shop\".\"orders\" WITH (security_barrier = true) AS\n")
                    && sql.contains("WHERE \"source\" COLLATE \"C\" = 'a/shop' AND NOT \"dup\""),
                "{sql}"
            );
        }
    }

    #[test]
    fn what_is_declared_no_longer_goes_and_what_cannot_be_read_stays() {
        let made = [
            ("orders", true),
            ("wrong", true),
            ("old", true),
            ("gone", false),
        ];
        let made = made.map(|(name, is_there)| MadeView {
            name: name.to_owned(),
            is_there,
        });
        let mut source = shop("shop");
        assert!(drop_unwanted(&source, 8, &made).is_empty());
        source.views = Some(OwnViews {
            views: vec![view("orders")],
            untouched: vec!["wrong".to_owned()],
        });
        let sql: Vec<_> = drop_unwanted(&source, 8, &made)
            .iter()
            .map(|work| work.step().sql.clone())
            .collect();
        let delete = "DELETE FROM trunkline.own_views WHERE bucket = 8 AND name = ";
        assert_eq!(
            sql,
            [
                format!("DROP VIEW \"shop\".\"old\";\n{delete}'old'"),
                format!("{delete}'gone'"),
            ]
        );
        let steps = let_read(&source, &made, &["a".to_owned(), "b".to_owned()]);
        assert_eq!(steps.len(), 6);
        assert_eq!(steps[1].sql, "GRANT SELECT ON \"shop\".\"orders\" TO \"b\"");
    }
}
