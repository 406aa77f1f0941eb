//! From the desired sources to their storage, views and reader groups.
//!
//! Invariant: one source's trouble is its own. What fails for one is that one's error, and the
//! others are brought to where they should be.

use std::collections::{BTreeMap, HashSet};
use std::mem::take;
use std::num::NonZeroU16;

use tokio_postgres::Client;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::names::{ClusterName, RelationName, SchemaName, SourceName};
use trunkline_model::request::BodyFormat;

use crate::apply::{needed, run_needed, run_or_fail};
use crate::buckets;
use crate::catalog::{self, SourceRow};
use crate::claim::{Claim, Held, Holdings};
use crate::error::{Error, chain};
use crate::found::{Found, Place};
use crate::indexes::{self, LeafIndexes};
use crate::own_views::OwnViews;
use crate::ranges::PartitionBy;
use crate::record;
use crate::relations::{self, Known, Shaping, Switched, WarehouseLayout};
use crate::shared::Storage;
use crate::source_error::SourceError;
use crate::step::{PendingStep, Report};
use crate::work::{self, Work, due, run_all};

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
    /// Whether it has a bucket of its own. None: as the catalog knows it, and one of its own for a
    /// source that is new.
    pub storage: Option<Storage>,
    /// What its partitions are indexed by besides, where it has some of its own. None: as the catalog
    /// knows it.
    pub indexes: Option<LeafIndexes>,
    /// Whose tables the relations beside `events` are like. None: as the catalog knows it.
    pub layout: Option<WarehouseLayout>,
    /// What else its owner decides of these relations. None: as the catalog knows it.
    pub shaping: Option<Shaping>,
    /// The views of its own. None: they stay as they are.
    pub views: Option<OwnViews>,
}

impl DesiredSource {
    /// Whether a source that is new is to share a bucket.
    pub(crate) fn is_shared(&self) -> bool {
        self.storage == Some(Storage::Shared)
    }

    /// Whether it is to have relations that show no repeats. What it does not say is as `before`.
    pub(crate) fn tells_repeats(&self, before: bool) -> bool {
        let has_layout = self.layout.map(|layout| layout != WarehouseLayout::None);
        let has_views = self
            .views
            .as_ref()
            .map(|views| !(views.views.is_empty() && views.untouched.is_empty()));
        match (has_layout, has_views) {
            (Some(true), _) | (_, Some(true)) => true,
            (Some(false), Some(false)) => false,
            _ => before,
        }
    }
}

/// A source that has storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// The partition that its rows go to, its own or a shared one; part of the ingesters'
    /// configuration.
    pub bucket: i32,
    /// The relation that shows every event.
    pub relation: RelationName,
    /// What was changed, in words for a log; of a shared partition by the first source alone.
    pub changed: Vec<String>,
    /// What readers will see later than now; ingestion does not wait for it.
    pub pending: Vec<PendingStep>,
    /// Which of the readers cannot read or cannot be kept from it, why, and what to do about it.
    pub warnings: Vec<String>,
    /// What its owner should know, and what another call does not change.
    pub notes: Vec<String>,
    /// Which of its own views are not as they are to be, why, and what to do about it. All else of
    /// the source is as it would be without them.
    pub views: Vec<String>,
}

/// What holds for a source that is new and says nothing.
pub(crate) const NEW_PARTITION_BY: PartitionBy = PartitionBy::Day;

/// Each desired source with what became of it, in the order of the desire.
pub type SourceResults = Vec<(SourceName, Result<Provisioned, SourceError>)>;

/// Brings every source of the cluster to what is desired, and marks those as removed that are not.
pub(crate) async fn ensure(
    client: &Client,
    place: Place<'_>,
    desired: &[DesiredSource],
    kept: &[SourceName],
) -> Result<SourceResults, Error> {
    let mut found = Found::read(client, place, desired).await?;
    let places = claim_places(client, place, &mut found, desired).await?;
    let mut switched = relations::switch(client, &mut found.relations, desired, &places).await?;
    let buckets: BTreeMap<_, _> = places
        .iter()
        .flatten()
        .map(|held| (held.bucket.number, held.bucket))
        .collect();
    let ranges = catalog::ranges(client, &buckets.keys().copied().collect::<Vec<_>>()).await?;
    let taken = |bucket: i32| ranges.get(&bucket).map_or(&[][..], Vec::as_slice);
    let shared_work: Vec<_> = buckets
        .into_values()
        .filter(|bucket| bucket.is_shared)
        .map(|bucket| {
            let taken = taken(bucket.number);
            let work = work::shared_bucket(bucket, place.occasion, taken);
            (bucket.number, work)
        })
        .collect();
    let work: Vec<_> = desired
        .iter()
        .zip(&places)
        .map(|(source, held)| match held {
            Ok(held) => work::of_source(place, &found, source, *held, taken(held.bucket.number)),
            Err(_) => Vec::new(),
        })
        .collect();
    let of_readers = work::of_readers(place);
    // One look for all sources: most often there is nothing to do for any.
    let of_buckets = shared_work.iter().flat_map(|(_, work)| work);
    let steps: Vec<_> = of_readers
        .iter()
        .chain(of_buckets)
        .chain(work.iter().flatten())
        .map(Work::step)
        .collect();
    let mut verdicts = needed(client, &steps).await?.into_iter();

    match run_all(client, due(&of_readers, &mut verdicts)).await? {
        Ok(done) => {
            for step in done.report.changed {
                tracing::info!(step, "made what all readers share");
            }
        }
        // Nor can any source's group be made a member, which its source says.
        Err(error) => tracing::warn!(
            error = chain(&error),
            "the group of all readers is not ready"
        ),
    }
    let mut shared = SharedResults::default();
    for (bucket, work) in &shared_work {
        let done = run_all(client, due(work, &mut verdicts)).await?;
        let done = done.map(|done| done.report);
        shared.insert(*bucket, done.map_err(|error| chain(&error)));
    }
    let numbers: Vec<_> = places
        .iter()
        .map(|held| held.as_ref().ok().map(|held| held.number))
        .collect();
    let mut results = SourceResults::with_capacity(desired.len());
    for ((source, held), work) in desired.iter().zip(places).zip(&work) {
        let due = due(work, &mut verdicts);
        let result = match held {
            Ok(held) => {
                let switched = switched.remove(&held.number).unwrap_or_default();
                let provided = provide(client, &found, source, held, due, &mut shared).await?;
                provided.map(|provided| provided.after(switched))
            }
            Err(error) => Err(error),
        };
        results.push((source.name.clone(), result));
    }
    let asks = |source: &DesiredSource| source.indexes.is_some_and(|it| !it.is_empty());
    if desired.iter().any(asks) {
        let mut lacking = indexes::lacking(client, place.cluster).await?;
        for (held, (_, result)) in numbers.iter().zip(&mut results) {
            if let (Some(number), Ok(provided)) = (held, result) {
                provided.notes.extend(lacking.remove(number));
            }
        }
    }
    let (kept, others) = undesired(found, place.cluster, desired, kept);
    for step in buckets::make_leaves(client, &kept, place.occasion)
        .await?
        .changed
    {
        tracing::info!(step, "made a partition of a source that cannot be read");
    }
    remove(client, &others).await?;
    Ok(results)
}

/// What was done for each shared bucket and not told yet, or why it could not be done.
type SharedResults = BTreeMap<i32, Result<Report, String>>;

/// Does what is due of one source. The outer error ends the run, the inner one this source.
async fn provide(
    client: &Client,
    found: &Found,
    source: &DesiredSource,
    held: Held,
    due: Vec<&Work>,
    shared: &mut SharedResults,
) -> Result<Result<Provisioned, SourceError>, Error> {
    let mut report = match shared.get_mut(&held.bucket.number) {
        Some(Err(reason)) => {
            let reason = reason.clone();
            return Ok(Err(SourceError::SharedBucket { reason }));
        }
        Some(Ok(of_bucket)) => take(of_bucket),
        None => Report::default(),
    };
    let done = run_all(client, due).await?;
    Ok(done.map(|done| {
        report.absorb(done.report);
        let Report {
            changed,
            mut pending,
        } = report;
        let known = found.relations.get(&held.number);
        let of_columns = known
            .iter()
            .flat_map(|it| it.pending(source.schema.as_str()));
        pending.extend(of_columns);
        let relation = source.schema.events();
        let mut warnings =
            work::readers(held.number, &relation, None, source).warnings(&found.roles);
        warnings.extend(done.refused);
        Provisioned {
            bucket: held.bucket.number,
            relation,
            changed,
            pending,
            warnings,
            notes: known.map(Known::notes).unwrap_or_default(),
            views: done.views,
        }
    }))
}

impl Provisioned {
    /// With what was done before for the layout of its relations.
    fn after(mut self, Switched { report, warnings }: Switched) -> Self {
        self.changed = [report.changed, self.changed].concat();
        self.pending = [report.pending, self.pending].concat();
        self.warnings = [warnings, self.warnings].concat();
        self
    }
}

/// The sources of the cluster that are served by the catalog and not desired: those that are kept,
/// and those that are gone.
fn undesired(
    found: Found,
    cluster: &ClusterName,
    desired: &[DesiredSource],
    kept: &[SourceName],
) -> (Vec<SourceRow>, Vec<SourceRow>) {
    let cluster = cluster.to_string();
    let names = |sources: &mut dyn Iterator<Item = &SourceName>| -> HashSet<String> {
        sources.map(ToString::to_string).collect()
    };
    let desired = names(&mut desired.iter().map(|source| &source.name));
    let kept = names(&mut kept.iter());
    let served =
        |row: &SourceRow| !row.removed && row.cluster == cluster && !desired.contains(&row.source);
    let rows = found.holdings.rows.into_iter().filter(served);
    rows.partition(|row| kept.contains(&row.source))
}

/// The place of each desired source, a new one for a source that is new.
async fn claim_places(
    client: &Client,
    place: Place<'_>,
    found: &mut Found,
    desired: &[DesiredSource],
) -> Result<Vec<Result<Held, SourceError>>, Error> {
    let is_new = |claim: &Result<Claim, SourceError>| matches!(claim, Ok(Claim::New));
    let mut claims = Vec::with_capacity(desired.len());
    for source in desired {
        let claim = found.judge(place, source, &found.holdings);
        let claim = record(client, place.cluster, source, claim).await?;
        if is_new(&claim) {
            found.holdings.reserve(place.cluster, source);
        }
        claims.push(claim);
    }
    // Another process may have taken a name between the look and the record; who has it now, has
    // it.
    let recorded = if claims.iter().any(is_new) {
        Holdings::new(catalog::sources(client).await?, Vec::new())
    } else {
        Holdings::default()
    };
    let held = |source: &DesiredSource, claim| match claim {
        Claim::Held(held) => Ok(held),
        Claim::New => match found.judge(place, source, &recorded)? {
            Claim::Held(held) => Ok(held),
            Claim::New => {
                let doing = format!("record source {}", source.name);
                Err(SourceError::Database(Box::new(Error::Locked { doing })))
            }
        },
    };
    let claims = desired.iter().zip(claims);
    Ok(claims
        .map(|(source, claim)| claim.and_then(|claim| held(source, claim)))
        .collect())
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
    let step = record::record_new(cluster, source);
    match run_or_fail(client, &step).await {
        Ok(_) => Ok(claim),
        Err(error) if error.is_local() => Ok(Err(SourceError::Database(Box::new(error)))),
        Err(error) => Err(error),
    }
}

/// Marks as removed what nobody asks for any more.
async fn remove(client: &Client, rows: &[SourceRow]) -> Result<(), Error> {
    let steps: Vec<_> = rows.iter().map(record::record_removed).collect();
    for step in run_needed(client, &steps).await?.changed {
        tracing::info!(step, "changed the catalog");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod fixtures {
    use super::DesiredSource;
    use crate::shared::Storage;

    /// The source a/shop.
    pub(crate) fn shop(schema: &str) -> DesiredSource {
        DesiredSource {
            name: "a/shop".parse().unwrap(),
            schema: schema.parse().unwrap(),
            url: None,
            body: trunkline_model::request::BodyFormat::Json,
            header_columns: Vec::new(),
            readers: Vec::new(),
            retention_days: None,
            partition_by: None,
            storage: Some(Storage::Dedicated),
            indexes: None,
            layout: None,
            shaping: None,
            views: None,
        }
    }
}
