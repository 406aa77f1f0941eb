//! Brings one relation to its definition, in one transaction: the view, what is said of it, who may read
//! it, and what the catalog remembers.
//!
//! Invariants:
//! - The view is the one that the catalog remembers while the transaction runs, or nothing is done:
//!   whoever decided by an older look decides again.
//! - What is not remembered is not replaced. Replacing a view takes ACCESS EXCLUSIVE on it, and so a
//!   definition that has not changed is left alone.

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use trunkline_model::names::{quote_identifier, quote_literal};

use super::decide::{Column, Decided, as_json};
use super::known::Known;
use super::readers::{grant_one, own};
use super::view::{Origin, View, view};
use super::{discards, layout_name};
use crate::apply::try_once;
use crate::catalog;
use crate::definition::{Grant, grant_again, obstacle};
use crate::error::Error;
use crate::roles::Role;
use crate::step::{Outcome, PendingReason, PendingStep, Report, Step, Test};

/// A relation as it is to be.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    number: i32,
    schema: String,
    layout: &'static str,
    /// Its name.
    pub(crate) relation: String,
    /// Whether it is named after an event, which no log shows.
    is_of_event: bool,
    view: View,
    /// Names the definition.
    fingerprint: String,
    /// What the catalog remembers as that; empty without a view.
    remembered: String,
    /// Of what there is something new to say: all, unless the view is the last one with additions.
    comments: Vec<(Option<String>, String)>,
    grants: String,
    /// Statements that write down the rest.
    record: Vec<String>,
}

impl Definition {
    /// Of a relation of `decided`, where the catalog knows `known`.
    pub(crate) fn of_relation(
        origin: Origin<'_>,
        group: &Role,
        known: &Known,
        decided: &Decided,
        name: &str,
    ) -> Option<Self> {
        let relation = decided.relations.get(name)?;
        let before = known.decided.relations.get(name);
        let view_before = before.map(|it| view(origin, name, it, &known.decided));
        let is_new = before.is_none();
        let columns_before = before.map_or(&[][..], |it| &it.columns[..]);
        let new = relation
            .columns
            .get(columns_before.len()..)
            .unwrap_or_default();
        let record = [
            record_events(origin, name, known, decided),
            record_columns(origin, name, columns_before, &relation.columns),
            record_added(origin, name, is_new, new),
        ];
        Some(Self {
            is_of_event: relation.subject == super::subject::Subject::Event,
            record: record.into_iter().flatten().collect(),
            ..Self::new(
                origin,
                group,
                known,
                name,
                view(origin, name, relation, decided),
                view_before,
            )
        })
    }

    /// Of the discards of what is decided.
    pub(crate) fn of_discards(
        origin: Origin<'_>,
        group: &Role,
        known: &Known,
        decided: &Decided,
    ) -> Self {
        let is_new = !known.fingerprints.contains_key(discards::DISCARDS);
        let record = record_added(origin, discards::DISCARDS, is_new, &[]);
        let before = discards::discards(origin, &known.decided);
        Self {
            record: record.into_iter().collect(),
            ..Self::new(
                origin,
                group,
                known,
                discards::DISCARDS,
                discards::discards(origin, decided),
                Some(before),
            )
        }
    }

    fn new(
        origin: Origin<'_>,
        group: &Role,
        known: &Known,
        name: &str,
        view: View,
        before: Option<View>,
    ) -> Self {
        let remembered = known.fingerprints.get(name).cloned().unwrap_or_default();
        let said: BTreeSet<_> = before
            .filter(|before| before.fingerprint() == remembered)
            .map(|before| before.comments)
            .into_iter()
            .flatten()
            .collect();
        let comments = view.comments.iter();
        let comments = comments.filter(|it| !said.contains(*it)).cloned().collect();
        let quoted = quoted(origin.schema, name);
        Self {
            number: origin.held.number,
            schema: origin.schema.to_owned(),
            layout: layout_name(origin.naming),
            relation: name.to_owned(),
            is_of_event: false,
            fingerprint: view.fingerprint(),
            remembered,
            comments,
            grants: grant_one(origin.held.number, group, &quoted),
            record: Vec::new(),
            view,
        }
    }

    /// Whether the view is to change, and not what is remembered of it alone.
    pub(crate) fn changes_view(&self) -> bool {
        self.fingerprint != self.remembered
    }

    /// The step of a look at everything: needed when the view is not there or not as it is to be.
    pub(crate) fn step(&self) -> Step {
        let create = self.create();
        let comments = &self.view.comments;
        self.build(self.needed(), &[&create], comments)
    }

    /// The step that takes up news: needed whatever there is, as long as it is what is remembered.
    pub(crate) fn step_of_news(&self) -> Step {
        let needed = Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer AND layout = $2) \
             AND coalesce((SELECT fingerprint FROM trunkline.relations \
             WHERE source_number = $1::integer AND relation = $3), '') = $4",
            [
                &self.number.to_string(),
                self.layout,
                &self.relation,
                &self.remembered,
            ],
        );
        let create = self.create();
        if self.changes_view() {
            self.build(needed, &[&create], &self.comments)
        } else {
            self.build(needed, &[], &[])
        }
    }

    fn needed(&self) -> Test {
        Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer AND layout = $2) \
             AND coalesce((SELECT fingerprint FROM trunkline.relations \
             WHERE source_number = $1::integer AND relation = $3), '') = $4 \
             AND ($4 <> $5 OR NOT EXISTS (SELECT FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $6 AND c.relname = $3 AND c.relkind = 'v'))",
            [
                &self.number.to_string(),
                self.layout,
                &self.relation,
                &self.remembered,
                &self.fingerprint,
                &self.schema,
            ],
        )
    }

    fn create(&self) -> String {
        // What is not remembered may be somebody else's.
        let verb = if self.remembered.is_empty() {
            "CREATE VIEW"
        } else {
            "CREATE OR REPLACE VIEW"
        };
        self.create_by(verb)
    }

    fn create_by(&self, verb: &str) -> String {
        let View { options, query, .. } = &self.view;
        format!("{verb} {}{options} AS\n{query}", self.quoted())
    }

    /// Makes the view anew, with the rights that `grants` lists.
    fn recreate(&self, grants: &[Grant]) -> Step {
        let name = self.quoted();
        let mut statements = vec![format!("DROP VIEW {name}"), self.create_by("CREATE VIEW")];
        statements.extend(grant_again(&name, grants));
        let statements: Vec<_> = statements.iter().map(String::as_str).collect();
        self.build(self.needed(), &statements, &self.view.comments)
    }

    fn build(&self, needed: Test, create: &[&str], comments: &[(Option<String>, String)]) -> Step {
        let name = self.quoted();
        let mut statements: Vec<String> = create.iter().map(|sql| (*sql).to_owned()).collect();
        statements.extend(comments.iter().map(|(column, text)| {
            let text = quote_literal(text);
            match column {
                None => format!("COMMENT ON VIEW {name} IS {text}"),
                Some(column) => {
                    format!(
                        "COMMENT ON COLUMN {name}.{} IS {text}",
                        quote_identifier(column)
                    )
                }
            }
        }));
        if !create.is_empty() {
            statements.push(self.grants.clone());
            let fingerprint = quote_literal(&self.fingerprint);
            statements.push(format!(
                "INSERT INTO trunkline.relations (source_number, relation, layout, fingerprint) \
                 VALUES ({}, {}, {}, {fingerprint}) ON CONFLICT (source_number, relation) \
                 DO UPDATE SET fingerprint = {fingerprint}",
                self.number,
                quote_literal(&self.relation),
                quote_literal(self.layout)
            ));
        }
        statements.extend(self.record.iter().cloned());
        Step {
            what: self.what(),
            needed,
            sql: statements.join(";\n"),
            fix: own(&name),
        }
    }

    /// For logs too, in which names that senders gave have no place.
    fn what(&self) -> String {
        if self.is_of_event {
            format!("define the view of an event in schema {}", self.schema)
        } else {
            format!("define view {}.{}", self.schema, self.relation)
        }
    }

    fn quoted(&self) -> String {
        quoted(&self.schema, &self.relation)
    }

    /// What is not done, for the owner of the source.
    pub(crate) fn pending(&self, reason: PendingReason) -> PendingStep {
        PendingStep {
            step: format!("define view {}.{}", self.schema, self.relation),
            reason,
        }
    }

    /// Tries a step once: whoever comes after a waiting ACCESS EXCLUSIVE waits with it, and another
    /// relation has no reason to wait.
    pub(crate) async fn attempt(&self, client: &Client, step: &Step) -> Result<Outcome, Error> {
        match try_once(client, step).await {
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_TABLE) => {
                let relation = format!("{}.{}", self.schema, self.relation);
                Err(Error::ForeignRelation { relation })
            }
            outcome => outcome,
        }
    }

    /// Brings the view to its definition in a look at everything.
    pub(crate) async fn ensure(&self, client: &Client) -> Result<Report, Error> {
        let step = self.step();
        let outcome = match self.attempt(client, &step).await {
            // A newer version of this program has other columns that are always there.
            Err(error) if error.code() == Some(&SqlState::INVALID_TABLE_DEFINITION) => {
                let grants = catalog::grants(client, &self.quoted()).await?;
                self.attempt(client, &self.recreate(&grants)).await
            }
            outcome => outcome,
        };
        Ok(match obstacle(&outcome) {
            Some(reason) => Report {
                changed: Vec::new(),
                pending: vec![self.pending(reason)],
            },
            None => Report::of(&step, outcome?),
        })
    }
}

/// A relation's name as SQL.
pub(super) fn quoted(schema: &str, relation: &str) -> String {
    format!(
        "{}.{}",
        quote_identifier(schema),
        quote_identifier(relation)
    )
}

/// Writes down the names of events that the relation shows from now on.
fn record_events(
    origin: Origin<'_>,
    relation: &str,
    known: &Known,
    decided: &Decided,
) -> Option<String> {
    let new = decided
        .events_of(relation)
        .filter(|name| known.decided.events.get(*name) != decided.events.get(*name));
    insert_events(origin.held.number, decided, new)
}

/// Writes down names of events; None without any. A name that has a relation keeps it.
pub(super) fn insert_events<'a>(
    number: i32,
    decided: &Decided,
    names: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let rows: Vec<_> = names
        .filter_map(|name| Some((name, decided.events.get(name)?)))
        .map(|(name, event)| {
            let relation = event.relation.as_deref();
            format!(
                "({number}, {}, {}, {})",
                quote_literal(name),
                quote_literal(&event.slug),
                relation.map_or_else(|| "NULL".to_owned(), quote_literal)
            )
        })
        .collect();
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO trunkline.event_names AS n (source_number, event, slug, relation) VALUES {} \
             ON CONFLICT (source_number, event) DO UPDATE SET relation = excluded.relation \
             WHERE n.relation IS NULL AND excluded.relation IS NOT NULL",
            rows.join(", ")
        )
    })
}

/// Writes down columns that are new, or of which something else is known.
fn record_columns(
    origin: Origin<'_>,
    relation: &str,
    before: &[Column],
    after: &[Column],
) -> Option<String> {
    let rows: Vec<_> = after
        .iter()
        .zip(1..)
        .filter(|(column, position)| before.get(position - 1) != Some(*column))
        .map(|(column, position)| {
            let paths: Vec<_> = column
                .paths
                .iter()
                .map(|path| quote_literal(&as_json(path)))
                .collect();
            format!(
                "({}, {}, {position}, {}, '{}', ARRAY[{}], {})",
                origin.held.number,
                quote_literal(relation),
                quote_literal(&column.name),
                column.sql_type.as_str(),
                paths.join(", "),
                column.has_misfits
            )
        })
        .collect();
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO trunkline.relation_columns (source_number, relation, position, \"column\", \
             sql_type, paths, has_misfits) VALUES\n  {}\n\
             ON CONFLICT (source_number, relation, \"column\") \
             DO UPDATE SET paths = excluded.paths, has_misfits = excluded.has_misfits",
            rows.join(",\n  ")
        )
    })
}

/// Tells of a relation and of columns that are new.
fn record_added(
    origin: Origin<'_>,
    relation: &str,
    is_new: bool,
    columns: &[Column],
) -> Option<String> {
    let source = quote_literal(origin.source);
    let name = quote_literal(relation);
    let layout = quote_literal(layout_name(origin.naming));
    let mut rows = Vec::new();
    if is_new {
        rows.push(format!("({source}, {name}, NULL, 'added', {layout})"));
    }
    rows.extend(columns.iter().map(|column| {
        let paths: Vec<_> = column.paths.iter().map(|path| as_json(path)).collect();
        let detail = format!("{} of {}", column.sql_type.as_str(), paths.join(", "));
        format!(
            "({source}, {name}, {}, 'added', {})",
            quote_literal(&column.name),
            quote_literal(&detail)
        )
    }));
    (!rows.is_empty()).then(|| {
        format!(
            "INSERT INTO trunkline.schema_changes (source, relation, \"column\", change, detail) \
             VALUES\n  {}",
            rows.join(",\n  ")
        )
    })
}
