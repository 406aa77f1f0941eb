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

use super::account::{record_added, record_columns, record_events, record_reshaped};
use super::decide::Decided;
use super::known::Known;
use super::materialized::Part;
use super::readers::{grant_one, own};
use super::rename::{quoted, rename};
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
    /// What the view reads from a materialised table, as the catalog keeps it.
    part: Option<String>,
    /// Partitions of that, which have to be there: as an array of their numbers.
    leaves: String,
    /// The table that has to have no others; empty where it may.
    whole: String,
    /// Names the definition.
    fingerprint: String,
    /// What the catalog remembers as that; empty without a view.
    remembered: String,
    /// Columns that are called otherwise now: the name before, the name behind.
    renames: Vec<(String, String)>,
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
        let part_before = known.parts.get(name);
        let view_before = before.map(|it| view(origin, name, it, &known.decided, part_before));
        let part = known.part(origin, name, decided);
        let is_new = before.is_none();
        let columns_before = before.map_or(&[][..], |it| &it.columns[..]);
        let new = relation
            .columns
            .get(columns_before.len()..)
            .unwrap_or_default();
        let record = [
            record_events(origin, name, known, decided),
            record_columns(origin, name, columns_before, &relation.columns),
            record_reshaped(origin, name, columns_before, &relation.columns),
            record_added(origin, name, is_new, new),
        ];
        let renames = columns_before
            .iter()
            .zip(&relation.columns)
            .map(|(before, after)| (before.shown_name(), after.shown_name()))
            .filter(|(before, after)| before != after)
            .map(|(before, after)| (before.to_owned(), after.to_owned()))
            .collect();
        Some(Self {
            renames,
            is_of_event: relation.subject == super::subject::Subject::Event,
            record: record.into_iter().flatten().collect(),
            ..Self::new(
                origin,
                group,
                known,
                name,
                view(origin, name, relation, decided, part),
                view_before,
            )
            .reading(part)
        })
    }

    /// Of a relation as it is known, with `part` of its rows from a materialised table.
    pub(crate) fn of_part(
        origin: Origin<'_>,
        group: &Role,
        known: &Known,
        name: &str,
        part: Option<&Part>,
    ) -> Option<Self> {
        let relation = known.decided.relations.get(name)?;
        let with = |part| view(origin, name, relation, &known.decided, part);
        let before = with(known.parts.get(name));
        let definition = Self::new(origin, group, known, name, with(part), Some(before));
        Some(Self {
            is_of_event: relation.subject == super::subject::Subject::Event,
            ..definition.reading(part)
        })
    }

    fn reading(self, part: Option<&Part>) -> Self {
        let leaves = part.into_iter().flat_map(|part| &part.leaves);
        let leaves: Vec<_> = leaves.map(|leaf| leaf.id.to_string()).collect();
        Self {
            part: part.map(Part::to_catalog),
            leaves: format!("{{{}}}", leaves.join(",")),
            whole: part
                .filter(|part| part.is_whole)
                .map_or_else(String::new, |part| part.table.clone()),
            ..self
        }
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
            part: None,
            leaves: "{}".to_owned(),
            whole: String::new(),
            fingerprint: view.fingerprint(),
            remembered,
            renames: Vec::new(),
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
        self.build(self.needed(), &self.create(), &self.view.comments)
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
        if self.changes_view() {
            self.build(needed, &self.create(), &self.comments)
        } else {
            self.build(needed, &[], &[])
        }
    }

    /// The step that changes what is read from a materialised table: needed as long as the view is what
    /// is remembered, all that it is to read is there, and no more where it is to read all.
    pub(crate) fn step_of_part(&self) -> Step {
        let needed = Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer AND layout = $2) \
             AND EXISTS (SELECT FROM trunkline.relations \
             WHERE source_number = $1::integer AND relation = $3 AND fingerprint = $4) \
             AND NOT EXISTS (SELECT FROM unnest($5::bigint[]) AS r(id) WHERE NOT EXISTS \
             (SELECT FROM trunkline.materialized_partitions p WHERE p.id = r.id AND p.is_ready)) \
             AND NOT EXISTS (SELECT FROM trunkline.materialized_partitions p \
             WHERE p.table_name = $6 AND p.is_ready AND p.id <> ALL ($5::bigint[]))",
            [
                &self.number.to_string(),
                self.layout,
                &self.relation,
                &self.remembered,
                &self.leaves,
                &self.whole,
            ],
        );
        self.build(needed, &self.create(), &self.comments)
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

    /// The statements that make the view, or change it in place.
    fn create(&self) -> Vec<String> {
        // What is not remembered may be somebody else's.
        let verb = if self.remembered.is_empty() {
            "CREATE VIEW"
        } else {
            "CREATE OR REPLACE VIEW"
        };
        let renames = (!self.renames.is_empty()).then(|| rename(&self.quoted(), &self.renames));
        renames.into_iter().chain([self.create_by(verb)]).collect()
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
        self.build(self.needed(), &statements, &self.view.comments)
    }

    fn build(
        &self,
        needed: Test,
        create: &[String],
        comments: &[(Option<String>, String)],
    ) -> Step {
        let name = self.quoted();
        let mut statements = create.to_vec();
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
            let part = self.part.as_deref().map(quote_literal);
            statements.push(format!(
                "INSERT INTO trunkline.relations \
                 (source_number, relation, layout, fingerprint, materialized) \
                 VALUES ({}, {}, {}, {}, {}) ON CONFLICT (source_number, relation) \
                 DO UPDATE SET fingerprint = excluded.fingerprint, \
                 materialized = excluded.materialized",
                self.number,
                quote_literal(&self.relation),
                quote_literal(self.layout),
                quote_literal(&self.fingerprint),
                part.as_deref().unwrap_or("NULL")
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
            // Its owner wants a column to have another type, or a newer version of this program has other
            // columns that are always there.
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
