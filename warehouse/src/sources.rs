//! From the desired sources to their storage, views and reader groups.
//!
//! Invariant: one source's trouble is its own. What fails for one is that one's error, and the
//! others are brought to where they should be.

use std::collections::HashSet;
use std::num::NonZeroU16;

use tokio_postgres::Client;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::{ClusterName, RelationName, SchemaName, SourceName};
use trunkline_model::request::BodyFormat;

use crate::apply::{needed, run, run_needed, run_or_fail};
use crate::catalog::{self, Marks, SourceRow};
use crate::claim::{self, Claim};
use crate::error::{Error, SourceError, chain};
use crate::found::{Found, Place};
use crate::layout::{EVENTS, create_schema};
use crate::partitions::{self, Occasion};
use crate::ranges::{PartitionBy, Range};
use crate::readers::Readers;
use crate::roles::{self, Role};
use crate::step::{PendingStep, Report, Step};
use crate::views::EventsView;

/// A source as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredSource {
    /// The WebhookSource.
    pub name: SourceName,
    /// Where its relations go.
    pub schema: SchemaName,
    /// Where senders post to, for the catalog; None while nobody knows.
    pub url: Option<String>,
    /// What its bodies are, which decides on the type of the view's column `body`.
    pub body: BodyFormat,
    /// Columns of the view for single headers, in order.
    pub header_columns: Vec<HeaderColumn>,
    /// Roles that may read it, the cluster's and the source's together. Whoever is no longer listed
    /// loses what this list gave, and nothing that an administrator granted.
    pub readers: Vec<String>,
    /// How long rows stay, in days of 24 hours; None for ever. See [`crate::Warehouse::drop_expired`].
    pub retention_days: Option<NonZeroU16>,
    /// How long a time each partition to come holds; what there is stays as it is. None: as the
    /// catalog knows it, and a day for a source that is new.
    pub partition_by: Option<PartitionBy>,
}

/// A source that has storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The partition that its rows go to; part of the ingesters' configuration.
    pub bucket: i32,
    /// The relation that shows every event.
    pub relation: RelationName,
    /// What was changed, in words for a log.
    pub changed: Vec<String>,
    /// What readers will see later than now; ingestion does not wait for it.
    pub pending: Vec<PendingStep>,
    /// Which of the readers cannot read or cannot be kept from it, why, and what to do about it.
    pub warnings: Vec<String>,
}

/// What holds for a source that is new and says nothing.
pub(crate) const NEW_PARTITION_BY: PartitionBy = PartitionBy::Day;

/// Each desired source with what became of it, in the order of the desire.
pub type SourceResults = Vec<(SourceName, Result<Provisioned, SourceError>)>;

/// One step of a source, and what it means when others hold its lock.
enum Work {
    /// Nothing can be stored without it: the source fails.
    Essential(Step),
    /// It can come later.
    Deferrable(Step),
    /// It can come later, and there is more than one way to do it.
    View(EventsView, Step),
    /// A listed reader's, whose trouble is a warning.
    Reader(Step),
}

impl Work {
    fn step(&self) -> &Step {
        match self {
            Self::Essential(step)
            | Self::Deferrable(step)
            | Self::View(_, step)
            | Self::Reader(step) => step,
        }
    }

    async fn run(&self, client: &Client) -> Result<Report, Error> {
        match self {
            Self::Essential(step) => run_or_fail(client, step).await,
            Self::Deferrable(step) | Self::Reader(step) => {
                Ok(Report::of(step, run(client, step).await?))
            }
            Self::View(view, _) => view.ensure(client).await,
        }
    }
}

/// Brings every source of the cluster to what is desired, and marks those as removed that are not.
pub(crate) async fn ensure(
    client: &Client,
    place: Place<'_>,
    desired: &[DesiredSource],
    kept: &[SourceName],
) -> Result<SourceResults, Error> {
    let found = Found::read(client, place, desired).await?;
    let buckets = claim_buckets(client, place, &found, desired).await?;
    let held: Vec<i32> = buckets.iter().flatten().copied().collect();
    let ranges = catalog::ranges(client, &held).await?;
    let work: Vec<Vec<Work>> = desired
        .iter()
        .zip(&buckets)
        .map(|(source, bucket)| match bucket {
            Ok(bucket) => {
                let taken = ranges.get(bucket).map_or(&[][..], Vec::as_slice);
                existing_work(place, &found, source, *bucket, taken)
            }
            Err(_) => Vec::new(),
        })
        .collect();
    // One look for all sources: most often there is nothing to do for any.
    let steps: Vec<_> = work.iter().flatten().map(Work::step).collect();
    let verdicts = needed(client, &steps).await?;

    let mut verdicts = verdicts.as_slice();
    let mut results = SourceResults::with_capacity(desired.len());
    for ((source, bucket), work) in desired.iter().zip(buckets).zip(&work) {
        let (of_source, rest) = verdicts.split_at(work.len());
        verdicts = rest;
        let todo = work.iter().zip(of_source).filter(|(_, needed)| **needed);
        let result = match bucket {
            Ok(bucket) => run_all(client, todo.map(|(work, _)| work)).await?.map(
                |(Report { changed, pending }, refused)| {
                    let relation = source.schema.events();
                    let mut warnings =
                        readers(bucket, &relation, None, source).warnings(&found.roles);
                    warnings.extend(refused);
                    Provisioned {
                        bucket,
                        relation,
                        changed,
                        pending,
                        warnings,
                    }
                },
            ),
            Err(error) => Err(error),
        };
        results.push((source.name.clone(), result));
    }
    let cluster = place.cluster.to_string();
    let names = |sources: &mut dyn Iterator<Item = &SourceName>| -> HashSet<String> {
        sources.map(ToString::to_string).collect()
    };
    let desired = names(&mut desired.iter().map(|source| &source.name));
    let kept = names(&mut kept.iter());
    let (kept, others): (Vec<_>, Vec<_>) = found
        .rows
        .into_iter()
        .filter(|row| !row.removed && row.cluster == cluster && !desired.contains(&row.source))
        .partition(|row| kept.contains(&row.source));
    for step in make_leaves(client, &kept, place.occasion).await?.changed {
        tracing::info!(step, "made a partition of a source that cannot be read");
    }
    remove(client, &others).await?;
    Ok(results)
}

/// The bucket of each desired source, a new one for a source that is new.
async fn claim_buckets(
    client: &Client,
    place: Place<'_>,
    found: &Found,
    desired: &[DesiredSource],
) -> Result<Vec<Result<i32, SourceError>>, Error> {
    let mut claims = Vec::with_capacity(desired.len());
    for source in desired {
        let claim = found.judge(place, source, &found.rows);
        claims.push(record(client, place.cluster, source, claim).await?);
    }
    let is_new = |claim: &Result<Claim, SourceError>| matches!(claim, Ok(Claim::New));
    // Another process may have taken a name between the look and the record; who has it now, has
    // it.
    let recorded = if claims.iter().any(is_new) {
        catalog::sources(client).await?
    } else {
        Vec::new()
    };
    let bucket = |source: &DesiredSource, claim| match claim {
        Claim::Held(bucket) => Ok(bucket),
        Claim::New => match found.judge(place, source, &recorded)? {
            Claim::Held(bucket) => Ok(bucket),
            Claim::New => {
                let doing = format!("record source {}", source.name);
                Err(SourceError::Database(Box::new(Error::Locked { doing })))
            }
        },
    };
    let claims = desired.iter().zip(claims);
    Ok(claims
        .map(|(source, claim)| claim.and_then(|claim| bucket(source, claim)))
        .collect())
}

/// Leaves ahead for every source that is served.
pub(crate) async fn maintain(client: &Client, occasion: Occasion) -> Result<Report, Error> {
    let mut rows = catalog::sources(client).await?;
    rows.retain(|row| !row.removed);
    make_leaves(client, &rows, occasion).await
}

/// Leaves ahead, as the catalog knows these sources.
async fn make_leaves(
    client: &Client,
    rows: &[SourceRow],
    occasion: Occasion,
) -> Result<Report, Error> {
    let buckets: Vec<i32> = rows.iter().map(|row| row.bucket).collect();
    let ranges = catalog::ranges(client, &buckets).await?;
    let leaves = |row: &SourceRow| {
        let taken = ranges.get(&row.bucket).map_or(&[][..], Vec::as_slice);
        partitions::leaves(row.bucket, row.partition_by, occasion, taken)
    };
    let steps: Vec<_> = rows.iter().flat_map(leaves).collect();
    let verdicts = needed(client, &steps.iter().collect::<Vec<_>>()).await?;
    let (mut report, mut failure) = (Report::default(), None);
    for (step, _) in steps.iter().zip(verdicts).filter(|(_, needed)| *needed) {
        match run(client, step).await {
            Ok(outcome) => report.add(step, outcome),
            // The other sources still get theirs.
            Err(error) if error.is_local() => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(report), Err)
}

/// Writes a new source into the catalog. The outer error ends the run, the inner one this source.
async fn record(
    client: &Client,
    cluster: &ClusterName,
    source: &DesiredSource,
    claim: Result<Claim, SourceError>,
) -> Result<Result<Claim, SourceError>, Error> {
    if !matches!(claim, Ok(Claim::New)) {
        return Ok(claim);
    }
    let step = claim::record_new(cluster, source);
    match run_or_fail(client, &step).await {
        Ok(_) => Ok(claim),
        Err(error) if error.is_local() => Ok(Err(SourceError::Database(Box::new(error)))),
        Err(error) => Err(error),
    }
}

/// Everything that a source may need that may have been here before.
fn existing_work(
    place: Place<'_>,
    found: &Found,
    source: &DesiredSource,
    bucket: i32,
    taken: &[Range],
) -> Vec<Work> {
    let recorded = found.rows.iter().find(|row| row.bucket == bucket);
    let partition_by = source
        .partition_by
        .or(recorded.map(|row| row.partition_by))
        .unwrap_or(NEW_PARTITION_BY);
    let leaves = partitions::leaves(bucket, partition_by, place.occasion, taken);
    let mut all = vec![Work::Essential(partitions::finish_detach(
        EVENTS,
        &partitions::bucket_table(bucket),
    ))];
    all.extend(work(place, source, bucket, leaves, &found.roles));
    let relation = source.schema.events();
    let revocations =
        readers(bucket, &relation, None, source).revocations(&found.given, place.database);
    all.extend(revocations.into_iter().map(Work::Reader));
    let current = claim::record_current(bucket, place.cluster, source);
    all.push(Work::Deferrable(current));
    all
}

/// What a source needs that is new, in a fixed order, once it has its bucket.
pub(crate) fn new_source(
    place: Place<'_>,
    source: &DesiredSource,
    bucket: i32,
    existing_roles: &Marks,
) -> Vec<Step> {
    let partition_by = source.partition_by.unwrap_or(NEW_PARTITION_BY);
    let leaves = partitions::leaves(bucket, partition_by, place.occasion, &[]);
    let work = work(place, source, bucket, leaves, existing_roles);
    work.iter().map(|work| work.step().clone()).collect()
}

/// Everything that a source has, storage first: a relation that can be seen can be read.
fn work(
    place: Place<'_>,
    source: &DesiredSource,
    bucket: i32,
    leaves: Vec<Step>,
    existing_roles: &Marks,
) -> Vec<Work> {
    let DesiredSource {
        name,
        schema,
        body,
        header_columns,
        ..
    } = source;
    let relation = schema.events();
    let schema_step = create_schema(schema.as_str(), &claim::mark(name), place.database);
    let mut work = vec![
        Work::Essential(schema_step),
        Work::Essential(partitions::create_bucket(bucket, name)),
    ];
    work.extend(leaves.into_iter().map(Work::Deferrable));
    work.push(Work::Essential(partitions::attach_bucket(bucket)));
    let view = EventsView::new(name, relation.clone(), bucket, *body, header_columns);
    let view_step = view.create_or_replace();
    work.push(Work::View(view, view_step));
    let group = place.reader_group(source);
    if group.is_some() {
        let steps = roles::reader_group(place.database, &relation);
        work.extend(steps.into_iter().map(Work::Deferrable));
    }
    let grants = readers(bucket, &relation, group.as_ref(), source).grants(existing_roles);
    work.extend(grants.into_iter().map(Work::Reader));
    work
}

fn readers<'a>(
    bucket: i32,
    relation: &'a RelationName,
    group: Option<&'a Role>,
    source: &'a DesiredSource,
) -> Readers<'a> {
    Readers {
        bucket,
        relation,
        group,
        listed: &source.readers,
    }
}

/// Does one source's work, and says what could not be done for its readers. The outer error ends
/// the run, the inner one this source.
async fn run_all<'a>(
    client: &Client,
    work: impl Iterator<Item = &'a Work>,
) -> Result<Result<(Report, Vec<String>), SourceError>, Error> {
    let (mut report, mut warnings) = (Report::default(), Vec::new());
    for item in work {
        match (item.run(client).await, item) {
            (Ok(done), _) => report.absorb(done),
            (Err(error), Work::Reader(_)) if error.is_local() => warnings.push(chain(&error)),
            (Err(error), _) if error.is_local() => {
                return Ok(Err(SourceError::Database(Box::new(error))));
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(Ok((report, warnings)))
}

/// Marks as removed what nobody asks for any more.
async fn remove(client: &Client, rows: &[SourceRow]) -> Result<(), Error> {
    let steps: Vec<_> = rows.iter().map(claim::record_removed).collect();
    for step in run_needed(client, &steps).await?.changed {
        tracing::info!(step, "changed the catalog");
    }
    Ok(())
}
