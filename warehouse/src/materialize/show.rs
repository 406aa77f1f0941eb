//! Which partitions of materialised tables the views of a source read, and how that changes.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::leaf::Fit;
use super::state::State;
use crate::definition::obstacle;
use crate::error::Error;
use crate::relations::{Definition, Part, PartLeaf, Stored};
use crate::step::Report;

/// Makes each view read all that it can, but for partitions of these numbers. A view that somebody reads
/// for long stays as it is, and is pending.
pub(super) async fn show(
    client: &Client,
    state: &State,
    without: &BTreeSet<i64>,
) -> Result<Report, Error> {
    let (mut report, mut failure) = (Report::default(), None);
    for relation in state.wanted.keys() {
        let shown = show_table(client, state, relation, |stored| {
            part(state, relation, stored, without)
        });
        match shown.await {
            Ok(shown) => report.absorb(shown),
            Err(error) if error.is_local() => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(report), Err)
}

/// Makes the views of a relation's table that read all of it name its times, so that the table may gain a
/// partition.
pub(super) async fn name_times(
    client: &Client,
    state: &State,
    relation: &str,
) -> Result<Report, Error> {
    let nothing = BTreeSet::new();
    show_table(client, state, relation, |stored| {
        part(state, relation, stored, &nothing).map(Part::by_times)
    })
    .await
}

/// Makes the views that read the table of a relation read that part of it.
async fn show_table(
    client: &Client,
    state: &State,
    relation: &str,
    part: impl Fn(&Stored) -> Option<Part>,
) -> Result<Report, Error> {
    let (mut report, mut failure) = (Report::default(), None);
    let (Some(origin), Some(wanted)) = (state.origin(), state.wanted.get(relation)) else {
        return Ok(report);
    };
    if !state.tables.contains_key(relation) {
        return Ok(report);
    }
    let group = state.group();
    for (name, stored) in &wanted.readers {
        let part = part(stored);
        if part.as_ref() == state.known.parts.get(name) {
            continue;
        }
        let definition = Definition::of_part(origin, &group, &state.known, name, part.as_ref());
        let Some(definition) = definition else {
            continue;
        };
        let step = definition.step_of_part();
        let outcome = definition.attempt(client, &step).await;
        match obstacle(&outcome) {
            Some(reason) => report.pending.push(definition.pending(reason)),
            None => match outcome {
                Ok(outcome) => report.add(&step, outcome),
                Err(error) if error.is_local() => failure = failure.or(Some(error)),
                Err(error) => return Err(error),
            },
        }
    }
    failure.map_or(Ok(report), Err)
}

/// What a view can read of the table of its relation.
fn part(state: &State, relation: &str, stored: &Stored, without: &BTreeSet<i64>) -> Option<Part> {
    let table = state.tables.get(relation)?;
    let of_table = state.leaves.get(relation).map_or(&[][..], Vec::as_slice);
    let attached = of_table.iter().filter(|leaf| leaf.is_ready).count();
    let outgrown = state.wanted.get(relation)?.outgrows(table);
    let leaves = of_table.iter().filter(|leaf| {
        !outgrown
            && !without.contains(&leaf.id)
            && state.closed_of(leaf).is_some()
            && leaf.fit(table, stored) == Fit::Fits
    });
    let leaves = leaves.map(|leaf| PartLeaf {
        start: leaf.start.clone(),
        end: leaf.end.clone(),
        id: leaf.id,
    });
    Part::new(&table.name, stored.definition(), leaves.collect(), attached)
}
