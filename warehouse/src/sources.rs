//! From the desired sources to their storage, views and reader groups.
//!
//! Invariant: one source's trouble is its own. What fails for one is that one's error, and the
//! others are brought to where they should be.

use std::collections::HashSet;

use jiff::civil::Date;
use tokio_postgres::Client;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::{ClusterName, RelationName, SchemaName, SourceName};

use crate::apply::{needed, run, run_needed, run_or_fail};
use crate::catalog::{self, SourceRow};
use crate::claim::{self, Claim};
use crate::error::{Error, SourceError};
use crate::layout::create_schema;
use crate::partitions;
use crate::preflight::Preflight;
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
    /// Columns of the view for single headers, in order.
    pub header_columns: Vec<HeaderColumn>,
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
}

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
}

impl Work {
    fn step(&self) -> &Step {
        match self {
            Self::Essential(step) | Self::Deferrable(step) | Self::View(_, step) => step,
        }
    }

    async fn run(&self, client: &Client) -> Result<Report, Error> {
        match self {
            Self::Essential(step) => run_or_fail(client, step).await,
            Self::Deferrable(step) => Ok(Report::of(step, run(client, step).await?)),
            Self::View(view, _) => view.ensure(client).await,
        }
    }
}

/// Brings every source of `cluster` to what is desired, and marks those as removed that are not.
pub(crate) async fn ensure(
    client: &Client,
    server: &Preflight,
    cluster: &ClusterName,
    desired: &[DesiredSource],
) -> Result<SourceResults, Error> {
    let today = catalog::today(client).await?;
    let buckets = claim_buckets(client, server, cluster, desired).await?;
    let work: Vec<Vec<Work>> = desired
        .iter()
        .zip(&buckets)
        .map(|(source, bucket)| match bucket {
            Ok(bucket) => work(server, cluster, source, *bucket, today),
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
            Ok(bucket) => run_all(client, todo.map(|(work, _)| work))
                .await?
                .map(|report| {
                    let (relation, Report { changed, pending }) = (source.schema.events(), report);
                    Provisioned {
                        bucket,
                        relation,
                        changed,
                        pending,
                    }
                }),
            Err(error) => Err(error),
        };
        results.push((source.name.clone(), result));
    }
    remove_others(client, cluster, desired).await?;
    Ok(results)
}

/// The bucket of each desired source, a new one for a source that is new.
async fn claim_buckets(
    client: &Client,
    server: &Preflight,
    cluster: &ClusterName,
    desired: &[DesiredSource],
) -> Result<Vec<Result<i32, SourceError>>, Error> {
    let reader = |source: &DesiredSource| Role::reader(&server.database, &source.schema);
    let schemas: Vec<_> = desired
        .iter()
        .map(|source| source.schema.as_str())
        .collect();
    let schema_marks = catalog::schema_marks(client, &schemas).await?;
    let groups: Vec<_> = desired.iter().map(|source| reader(source).name).collect();
    let groups: Vec<_> = groups.iter().map(String::as_str).collect();
    let role_marks = catalog::role_marks(client, &groups).await?;
    let judge = |source: &DesiredSource, rows: &[SourceRow]| -> Result<Claim, SourceError> {
        let mark = schema_marks.get(source.schema.as_str());
        let claim = claim::judge(&source.name, cluster, &source.schema, rows, mark)?;
        if server.can_create_roles {
            reader(source).refuse_foreign(&role_marks)?;
        }
        Ok(claim)
    };

    let rows = catalog::sources(client).await?;
    let mut claims = Vec::with_capacity(desired.len());
    for source in desired {
        claims.push(record(client, cluster, source, judge(source, &rows)).await?);
    }
    // Another process may have taken a name between the look and the record; who has it now, has
    // it.
    let rows = catalog::sources(client).await?;
    let bucket = |source: &DesiredSource, claim| match claim {
        Claim::Held(bucket) => Ok(bucket),
        Claim::New => match judge(source, &rows)? {
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
pub(crate) async fn maintain(client: &Client) -> Result<Report, Error> {
    let today = catalog::today(client).await?;
    let rows = catalog::sources(client).await?;
    let steps: Vec<_> = rows
        .iter()
        .filter(|row| !row.removed)
        .flat_map(|row| partitions::leaves(row.bucket, today))
        .collect();
    let verdicts = needed(client, &steps.iter().collect::<Vec<_>>()).await?;
    let (mut report, mut failure) = (Report::default(), None);
    for (step, _) in steps.iter().zip(verdicts).filter(|(_, needed)| *needed) {
        match run(client, step).await {
            Ok(outcome) => report.add(step, outcome),
            // The other sources still get their days.
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
    let step = claim::record_new(&source.name, cluster, &source.schema, source.url.as_deref());
    match run_or_fail(client, &step).await {
        Ok(_) => Ok(claim),
        Err(error) if error.is_local() => Ok(Err(SourceError::Database(Box::new(error)))),
        Err(error) => Err(error),
    }
}

/// Everything that a source has, storage first: a relation that can be seen can be read.
fn work(
    server: &Preflight,
    cluster: &ClusterName,
    source: &DesiredSource,
    bucket: i32,
    today: Date,
) -> Vec<Work> {
    let DesiredSource {
        name,
        schema,
        url,
        header_columns,
    } = source;
    let relation = schema.events();
    let quoted = relation.quoted();
    let schema_step = create_schema(schema.as_str(), &claim::mark(name), &server.database);
    let mut work = vec![
        Work::Essential(schema_step),
        Work::Essential(partitions::create_bucket(bucket, name)),
    ];
    work.extend(
        partitions::leaves(bucket, today)
            .into_iter()
            .map(Work::Deferrable),
    );
    work.push(Work::Essential(partitions::attach_bucket(bucket)));
    let view = EventsView::new(name, relation, bucket, header_columns);
    let view_step = view.create_or_replace();
    work.push(Work::View(view, view_step));
    if server.can_create_roles {
        let group = roles::reader_group(&server.database, schema, &quoted);
        work.extend(group.into_iter().map(Work::Deferrable));
    }
    work.push(Work::Deferrable(claim::record_current(
        bucket,
        cluster,
        url.as_deref(),
    )));
    work
}

/// Does one source's work. The outer error ends the run, the inner one this source.
async fn run_all<'a>(
    client: &Client,
    work: impl Iterator<Item = &'a Work>,
) -> Result<Result<Report, SourceError>, Error> {
    let mut report = Report::default();
    for item in work {
        match item.run(client).await {
            Ok(done) => report.absorb(done),
            Err(error) if error.is_local() => {
                return Ok(Err(SourceError::Database(Box::new(error))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(report))
}

async fn remove_others(
    client: &Client,
    cluster: &ClusterName,
    desired: &[DesiredSource],
) -> Result<(), Error> {
    let cluster = cluster.to_string();
    let desired: HashSet<_> = desired
        .iter()
        .map(|source| source.name.to_string())
        .collect();
    let rows = catalog::sources(client).await?;
    let steps: Vec<_> = rows
        .iter()
        .filter(|row| !row.removed && row.cluster == cluster && !desired.contains(&row.source))
        .map(claim::record_removed)
        .collect();
    for step in run_needed(client, &steps).await?.changed {
        tracing::info!(step, "changed the catalog");
    }
    Ok(())
}
