//! Which partitions of materialised tables the views of a source read, and how that changes.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::leaf::Fit;
use super::state::State;
use crate::definition::obstacle;
use crate::error::Error;
use crate::relations::{Definition, Part, PartLeaf};
use crate::step::Report;

/// Makes each view read all that it can, but for partitions of these numbers. A view that somebody reads
/// for long stays as it is, and is pending.
pub(super) async fn show(
    client: &Client,
    state: &State,
    without: &BTreeSet<i64>,
) -> Result<Report, Error> {
    let (mut report, mut failure) = (Report::default(), None);
    let Some(origin) = state.origin() else {
        return Ok(report);
    };
    let group = state.group();
    for (relation, wanted) in &state.wanted {
        let Some(table) = state.tables.get(relation) else {
            continue;
        };
        let of_table = state
            .leaves
            .get(relation)
            .filter(|_| !wanted.outgrows(table));
        let of_table = of_table.map_or(&[][..], Vec::as_slice);
        for (name, stored) in &wanted.readers {
            let leaves = of_table.iter().filter(|leaf| {
                !without.contains(&leaf.id)
                    && state.closed_of(leaf).is_some()
                    && leaf.fit(table, stored) == Fit::Fits
            });
            let leaves = leaves.map(|leaf| PartLeaf {
                start: leaf.start.clone(),
                end: leaf.end.clone(),
                id: leaf.id,
            });
            let part = Part::new(&table.name, stored.definition(), leaves.collect());
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
    }
    failure.map_or(Ok(report), Err)
}
