//! What the catalog is told of shapes that were taken up. Pure.

use std::collections::BTreeSet;

use trunkline_model::names::quote_literal;

use super::account::insert_events;
use super::decide::Decided;
use super::known::Known;
use super::relation::LeftOut;
use super::shape::Shape;
use super::view::Origin;
use crate::apply::CURRENT_ROLE;
use crate::step::{Step, Test};

/// Marks shapes as handled, and writes down what no relation shows of them.
pub(super) fn handle(
    origin: Origin<'_>,
    known: &Known,
    decided: &Decided,
    left_out: &BTreeSet<LeftOut>,
    handled: &[&Shape],
) -> Step {
    let ids: Vec<_> = handled.iter().map(|shape| shape.id.as_str()).collect();
    let ids = format!("{{{}}}", ids.join(","));
    let mut statements = vec![format!(
        "UPDATE trunkline.shapes SET handled_at = now() \
         WHERE handled_at IS NULL AND id = ANY ({}::uuid[])",
        quote_literal(&ids)
    )];
    // Those with a relation were written down with it.
    let without_relation = decided
        .events
        .iter()
        .filter(|(name, it)| it.relation.is_none() && !known.decided.events.contains_key(*name))
        .map(|(name, _)| name.as_str());
    statements.extend(insert_events(origin.held.number, decided, without_relation));
    if !left_out.is_empty() {
        let rows: Vec<_> = left_out
            .iter()
            .map(|it| {
                let column = it.column.as_deref();
                format!(
                    "({}, {}, {}, '{}', {})",
                    quote_literal(origin.source),
                    quote_literal(&it.relation),
                    column.map_or_else(|| "NULL".to_owned(), quote_literal),
                    it.because.as_str(),
                    quote_literal(&it.detail)
                )
            })
            .collect();
        statements.push(format!(
            "INSERT INTO trunkline.schema_changes (source, relation, \"column\", change, detail) \
             VALUES\n  {}\nON CONFLICT DO NOTHING",
            rows.join(",\n  ")
        ));
    }
    Step {
        what: format!("mark shapes of source {} as handled", origin.source),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.shapes \
             WHERE handled_at IS NULL AND id = ANY ($1::uuid[]))",
            [&ids],
        ),
        sql: statements.join(";\n"),
        fix: format!("ALTER TABLE trunkline.shapes OWNER TO {CURRENT_ROLE}"),
    }
}
