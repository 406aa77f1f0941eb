//! Finds the rows of one delivery that the database refuses, and commits the delivery without
//! asking the database to parse them.
//!
//! Invariant: the delivery is committed whole, with every row that the database takes as it is in
//! its own form.

use std::ops::Range;
use std::time::Instant;

use tokio_postgres::error::SqlState;

use super::metrics::CommitMetrics;
use super::queue::Delivery;
use super::store::{LeftOut, Store, StoreError};
use crate::rows::EncodedRows;

/// Bound on the transactions that look for bad rows in one delivery. Enough to find some twenty
/// rows among thousands; the search ends well before the sender gives up. Halves that are still
/// suspect at the bound are quarantined whole, and so nothing is lost.
pub(super) const MAX_PROBES: usize = 256;

/// Commits a delivery, of which a row was refused with `code`, by putting the bad rows into
/// quarantine. [`StoreError::Rows`] when that is not possible.
pub(super) async fn isolate(
    store: &mut impl Store,
    delivery: &Delivery,
    code: SqlState,
    metrics: &CommitMetrics,
) -> Result<LeftOut, StoreError> {
    // Quarantine changes how a body is written. It mends neither a partition that is not there nor
    // a constraint that someone has added (class 23).
    if code.code().starts_with("23") {
        return Err(StoreError::Rows(code));
    }
    let bad = find_bad(store, delivery, code).await?;
    let rows = delivery
        .rows()
        .with_quarantined(|row| bad.iter().any(|range| range.contains(&row)));
    let begun = Instant::now();
    let stored = store.commit(&[&rows]).await?;
    metrics.committed(&[&rows], &stored, begun.elapsed());
    metrics.quarantined(bad.iter().map(ExactSizeIterator::len).sum());
    Ok(stored.left_out)
}

/// Finds the rows that the database refuses, by halves.
async fn find_bad(
    store: &mut impl Store,
    delivery: &Delivery,
    code: SqlState,
) -> Result<Vec<Range<usize>>, StoreError> {
    let rows = delivery.rows();
    let mut probes = 0;
    let mut bad = Vec::new();
    // Each is known to hold a bad row.
    let all = 0..rows.len();
    let mut suspects = vec![all];
    while let Some(suspect) = suspects.pop() {
        if suspect.len() <= 1 || probes >= MAX_PROBES {
            bad.push(suspect);
            continue;
        }
        if delivery.is_abandoned() {
            return Err(StoreError::Rows(code));
        }
        let middle = suspect.start + suspect.len() / 2;
        let (first, second) = (suspect.start..middle, middle..suspect.end);
        probes += 1;
        if is_good(store, rows, &first).await? {
            // Then it is the other half, without asking.
            suspects.push(second);
            continue;
        }
        suspects.push(first);
        probes += 1;
        if !is_good(store, rows, &second).await? {
            suspects.push(second);
        }
    }
    Ok(bad)
}

async fn is_good(
    store: &mut impl Store,
    rows: &EncodedRows,
    range: &Range<usize>,
) -> Result<bool, StoreError> {
    let tuples: Vec<_> = rows.tuples().take(range.end).skip(range.start).collect();
    match store.probe(&tuples).await {
        Ok(()) => Ok(true),
        Err(StoreError::Rows(code)) if !code.code().starts_with("23") => Ok(false),
        Err(error) => Err(error),
    }
}
