//! Changes of what is wanted of a source's relations: its layout, whether it is pinned, names and types
//! of columns. What was made by the rules of another layout goes, so that it can be made anew.
//!
//! Invariants:
//! - Only what we made is dropped, one relation at a time and never with what others have built on it:
//!   that relation stays as it is, and the source's owner is told.
//! - Whatever ends it early, the next look goes on from there. The layout is written first, and all that
//!   was ever noted of the source's events is news again.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use trunkline_model::names::quote_literal;
use trunkline_model::naming::Naming;

use super::known::{self, Relations};
use super::layout_name;
use super::readers::own;
use super::rename::quoted;
use super::shaping;
use crate::apply::{CURRENT_ROLE, run_or_fail, try_once};
use crate::claim::Held;
use crate::definition::obstacle;
use crate::error::{Error, chain};
use crate::source_error::SourceError;
use crate::sources::DesiredSource;
use crate::step::{PendingStep, Report, Step, Test};

/// What became of a change of what is wanted.
#[derive(Debug, Default)]
pub(crate) struct Switched {
    pub(crate) report: Report,
    /// What could not be done, and why.
    pub(crate) warnings: Vec<String>,
}

/// Brings each source to the layout that is desired of it and writes down what else is, and brings
/// `relations` to what is known then. By the number of the source; nothing of those of which nothing has
/// changed.
pub(crate) async fn switch(
    client: &Client,
    relations: &mut Relations,
    desired: &[DesiredSource],
    places: &[Result<Held, SourceError>],
) -> Result<BTreeMap<i32, Switched>, Error> {
    let mut switched = BTreeMap::new();
    for (source, held) in desired.iter().zip(places) {
        let Ok(held) = held else { continue };
        let known = relations.get(&held.number);
        let current = known.and_then(|it| it.layout);
        // What nobody can read stays as it is.
        let wanted = source.layout.map_or(current, |layout| layout.naming());
        let made = known.into_iter().flat_map(|known| &known.made);
        let outdated: Vec<_> = made
            .filter(|(_, layout)| layout.is_none() || **layout != wanted)
            .map(|(name, _)| name.clone())
            .collect();
        let shaping = shaping::record(held.number, source, known, wanted);
        if current == wanted && outdated.is_empty() && shaping.is_none() {
            continue;
        }
        let mut steps = vec![record_layout(held.number, source, wanted)];
        steps.extend(shaping);
        let done = switch_one(client, source, held.number, &steps, &outdated).await?;
        switched.insert(held.number, done);
    }
    if !switched.is_empty() {
        let numbers: Vec<_> = switched.keys().copied().collect();
        relations.retain(|number, _| !switched.contains_key(number));
        relations.extend(known::read(client, Some(&numbers)).await?);
    }
    Ok(switched)
}

async fn switch_one(
    client: &Client,
    source: &DesiredSource,
    number: i32,
    records: &[Step],
    outdated: &[String],
) -> Result<Switched, Error> {
    let mut done = Switched::default();
    for step in records {
        match run_or_fail(client, step).await {
            Ok(report) => done.report.absorb(report),
            Err(error) if error.is_local() => {
                done.warnings.push(chain(&error));
                return Ok(done);
            }
            Err(error) => return Err(error),
        }
    }
    for name in outdated {
        let step = drop_one(number, source, name);
        let outcome = try_once(client, &step).await;
        if let Some(reason) = obstacle(&outcome) {
            let step = format!(
                "drop view {}.{name}, which is of another warehouse.layout,",
                source.schema
            );
            done.report.pending.push(PendingStep { step, reason });
            continue;
        }
        match outcome {
            Ok(outcome) => done.report.add(&step, outcome),
            Err(error) if error.is_local() => done.warnings.push(chain(&error)),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes down the layout. All that was noted is news again, for the rules of the new one; without a
/// layout nothing is.
pub(crate) fn record_layout(number: i32, source: &DesiredSource, layout: Option<Naming>) -> Step {
    let name = layout.map(layout_name);
    let of_source = quote_literal(&source.name.to_string());
    let (handled, those) = match layout {
        Some(_) => ("NULL", "IS NOT NULL"),
        None => ("now()", "IS NULL"),
    };
    Step {
        what: format!(
            "record the layout of the relations of source {}",
            source.name
        ),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer \
             AND coalesce(layout, '') <> $2)",
            [&number.to_string(), name.unwrap_or_default()],
        ),
        sql: format!(
            "UPDATE trunkline.sources SET layout = {} WHERE bucket = {number};\n\
             UPDATE trunkline.shapes SET handled_at = {handled} \
             WHERE source = {of_source} AND handled_at {those};\n\
             DELETE FROM trunkline.event_names WHERE source_number = {number};\n\
             DELETE FROM trunkline.schema_changes \
             WHERE source = {of_source} AND change IN ('held', 'overflow', 'blocked')",
            name.map_or_else(|| "NULL".to_owned(), quote_literal)
        ),
        fix: format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}"),
    }
}

/// Drops a relation that was made by other rules than the source's.
fn drop_one(number: i32, source: &DesiredSource, relation: &str) -> Step {
    let view = quoted(source.schema.as_str(), relation);
    let name = quote_literal(relation);
    Step {
        // Named after an event it may be, and so not named.
        what: format!("drop a view of another layout in schema {}", source.schema),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.relations r \
             JOIN trunkline.sources s ON s.bucket = r.source_number \
             WHERE r.source_number = $1::integer AND r.relation = $2 \
             AND r.layout <> coalesce(s.layout, ''))",
            [&number.to_string(), relation],
        ),
        sql: format!(
            "DROP VIEW IF EXISTS {view};\n\
             DELETE FROM trunkline.relations WHERE source_number = {number} AND relation = {name};\n\
             INSERT INTO trunkline.schema_changes (source, relation, change, detail) \
             VALUES ({}, {name}, 'dropped', 'another layout')",
            quote_literal(&source.name.to_string())
        ),
        fix: own(&view),
    }
}
