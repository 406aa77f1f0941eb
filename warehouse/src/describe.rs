//! What would be done in an empty database, for people to read before they allow it.
//!
//! Pure, and made of the very steps that are run.

use std::collections::BTreeMap;

use jiff::civil::Date;
use trunkline_model::names::ClusterName;

use crate::catalog::Marks;
use crate::claim::Held;
use crate::found::Place;
use crate::indexes::LeafIndexes;
use crate::ingest;
use crate::layout;
use crate::partitions::{Bucket, Occasion};
use crate::record;
use crate::roles::Roles;
use crate::shared::Class;
use crate::sources::{DesiredSource, NEW_PARTITION_BY};
use crate::step::Step;
use crate::work::{self, new_shared_bucket, new_source};

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it does, as a phrase in the imperative.
    pub description: String,
    /// SQL: one or more statements, without a semicolon after the last.
    pub sql: String,
}

/// An empty database.
#[derive(Debug, Clone, Copy)]
pub struct EmptyDatabase<'a> {
    /// Its name.
    pub name: &'a str,
    /// The day (UTC) that begins there.
    pub today: Date,
    /// Whether the server compresses with lz4; see [`crate::Preflight::has_lz4`].
    pub has_lz4: bool,
}

/// What [`crate::Warehouse`] would run, in this order, in an empty database: the layout, the
/// ingesters' role and `desired` as the sources of `cluster`.
///
/// On a database that is not empty only what it lacks is run, and sources and buckets, which are
/// counted from 1 here, have other numbers. The readers are taken to exist. The ingesters' login,
/// where it is ours, has no password here; the verifier of a random one follows.
#[must_use]
pub fn describe(
    cluster: &ClusterName,
    desired: &[DesiredSource],
    roles: &Roles,
    database: EmptyDatabase<'_>,
) -> Vec<Statement> {
    let place = Place {
        cluster,
        database: database.name,
        roles,
        occasion: Occasion {
            now: database.today.at(0, 0, 0, 0),
            has_lz4: database.has_lz4,
        },
    };
    let mut steps = layout::from_nothing(database.name);
    steps.extend(ingest::steps(roles, database.name));
    let of_readers = work::of_readers(place);
    steps.extend(of_readers.iter().map(|work| work.step().clone()));
    let readers = desired.iter().flat_map(|source| source.readers.clone());
    let readers: Marks = readers.map(|role| (role, None)).collect();
    let (mut numbers, mut shared) = (1.., BTreeMap::new());
    for source in desired {
        steps.push(record::record_new(cluster, source));
        let mut bucket = Bucket {
            number: 0,
            by: source.partition_by.unwrap_or(NEW_PARTITION_BY),
            is_shared: source.is_shared(),
            tells_repeats: source.is_shared() || source.tells_repeats(false),
            indexes: LeafIndexes::default(),
        };
        // The bucket of a class has the number before that of its first source.
        if bucket.is_shared {
            let class = Class::of(cluster, source);
            bucket.number = *shared.entry(class).or_insert_with(|| {
                bucket.number = numbers.next().unwrap_or_default();
                steps.extend(new_shared_bucket(bucket, place.occasion));
                bucket.number
            });
        }
        let number = numbers.next().unwrap_or_default();
        if !bucket.is_shared {
            bucket.number = number;
            bucket.indexes = source.indexes.unwrap_or_default();
        }
        let held = Held { number, bucket };
        steps.extend(new_source(place, source, held, &readers));
    }
    steps.into_iter().map(statement).collect()
}

fn statement(step: Step) -> Statement {
    Statement {
        description: step.what,
        sql: step.sql,
    }
}
