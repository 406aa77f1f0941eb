//! Buckets of the sources that the catalog knows: each once, however many sources share it.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::apply::{needed, run};
use crate::catalog::{self, SourceRow};
use crate::error::Error;
use crate::partitions::{self, Bucket, Occasion};
use crate::step::Report;

/// Leaves ahead for every source that is served.
pub(crate) async fn maintain(client: &Client, occasion: Occasion) -> Result<Report, Error> {
    let mut rows = catalog::sources(client).await?;
    rows.retain(|row| !row.removed);
    make_leaves(client, &rows, occasion).await
}

/// Leaves ahead, as the catalog knows these sources.
pub(crate) async fn make_leaves(
    client: &Client,
    rows: &[SourceRow],
    occasion: Occasion,
) -> Result<Report, Error> {
    let buckets: BTreeMap<i32, Bucket> = rows
        .iter()
        .map(SourceRow::bucket)
        .map(|bucket| (bucket.number, bucket))
        .collect();
    let numbers: Vec<i32> = buckets.keys().copied().collect();
    let ranges = catalog::ranges(client, &numbers).await?;
    let leaves = |bucket: Bucket| {
        let taken = ranges.get(&bucket.number).map_or(&[][..], Vec::as_slice);
        partitions::leaves(bucket, occasion, taken)
    };
    let steps: Vec<_> = buckets.into_values().flat_map(leaves).collect();
    let verdicts = needed(client, &steps.iter().collect::<Vec<_>>()).await?;
    let (mut report, mut failure) = (Report::default(), None);
    for (step, _) in steps.iter().zip(verdicts).filter(|(_, needed)| *needed) {
        match run(client, step).await {
            Ok(outcome) => report.add(step, outcome),
            // The other buckets still get theirs.
            Err(error) if error.is_local() => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(report), Err)
}
