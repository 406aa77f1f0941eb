//! What would be done in an empty database, for people to read before they allow it.
//!
//! Pure, and made of the very steps that are run.

use jiff::civil::Date;
use trunkline_model::names::ClusterName;

use crate::catalog::Marks;
use crate::claim;
use crate::found::Place;
use crate::ingest;
use crate::layout;
use crate::partitions::Occasion;
use crate::roles::Roles;
use crate::sources::{DesiredSource, new_source};
use crate::step::Step;

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it does, as a phrase in the imperative.
    pub description: String,
    /// SQL: one or more statements, without a semicolon after the last.
    pub sql: String,
}

/// What [`crate::Warehouse`] would run, in this order, in an empty database `database` as the day
/// `today` (UTC) begins: the layout, the ingesters' role and `desired` as the sources of `cluster`.
///
/// On a database that is not empty only what it lacks is run, and buckets, which are counted from 1
/// here, have other numbers. The readers are taken to exist, and the server to know lz4. The ingesters' login, where it is ours,
/// has no password here; the verifier of a random one follows.
#[must_use]
pub fn describe(
    cluster: &ClusterName,
    desired: &[DesiredSource],
    roles: &Roles,
    database: &str,
    today: Date,
) -> Vec<Statement> {
    let place = Place {
        cluster,
        database,
        roles,
        occasion: Occasion {
            now: today.at(0, 0, 0, 0),
            has_lz4: true,
        },
    };
    let mut steps = layout::from_nothing(database);
    steps.extend(ingest::steps(roles, database));
    let readers = desired.iter().flat_map(|source| source.readers.clone());
    let readers: Marks = readers.map(|role| (role, None)).collect();
    for (bucket, source) in (1..).zip(desired) {
        steps.push(claim::record_new(cluster, source));
        steps.extend(new_source(place, source, bucket, &readers));
    }
    steps.into_iter().map(statement).collect()
}

fn statement(step: Step) -> Statement {
    Statement {
        description: step.what,
        sql: step.sql,
    }
}
