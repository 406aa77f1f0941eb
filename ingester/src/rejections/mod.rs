//! Refused requests, written down for their owner in `trunkline.rejections`.
//!
//! A refusal is counted under its source and its reason. The first one is written at once, the next
//! ones as one row a minute with their number, so that a flood of refusals is no flood of writes.
//!
//! Invariants:
//! - Nobody waits: a request only counts itself; a task of its own writes, over a connection of its
//!   own, while the commit path knows nothing of it.
//! - What is written names a source, a reason and a sentence of ours: no path, no header, no address,
//!   no part of a body.
//! - Every refusal is in a row, waits for one, or is counted as lost. While the database is away
//!   they wait.

mod recent;
mod recorder;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::instance::Instance;
use crate::metrics::RefusalLabels;
use crate::request::Refusal;
use crate::scribe::Scribe;
use recorder::RejectionsDesk;
use tally::{Rejection, Tally};

use recent::Recent;
pub(crate) use recent::{SourceRefusals, WINDOW};

/// How much of a sentence is kept, in characters: one that speaks of many hosts may be long.
const MAX_DETAIL_CHARS: usize = 1_000;

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct Rejections {
    tally: Mutex<Tally>,
    recent: Mutex<Recent>,
    /// Something waits under a source and a reason under which nothing waited.
    wake: Notify,
}

impl Rejections {
    pub(crate) fn new() -> Self {
        Self {
            tally: Mutex::default(),
            recent: Mutex::new(Recent::new(Instant::now())),
            wake: Notify::new(),
        }
    }

    /// Counts a refusal. Whether there was room for it.
    pub(crate) fn note(&self, labels: RefusalLabels, refusal: &Refusal) -> bool {
        let status = refusal.status().as_u16();
        let detail = || detail(refusal);
        let now = Instant::now();
        locked(&self.recent).note(&labels, now);
        let noted = self.tally().note(labels, status, detail, now);
        if noted == tally::Noted::First {
            self.wake.notify_one();
        }
        noted != tally::Noted::NoRoom
    }

    /// What was refused in the last hour.
    pub(crate) fn recent(&self) -> Vec<SourceRefusals> {
        locked(&self.recent).told(Instant::now())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        locked(&self.tally)
    }
}

/// Starts the task that writes. `name` says in each row who refused.
pub(crate) fn record(instance: &Arc<Instance>, name: Option<String>) -> Scribe {
    let desk = RejectionsDesk {
        instance: Arc::clone(instance),
        name,
    };
    Scribe::start(desk, &instance.destination)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sentence for the owner. PostgreSQL's text has no zero byte.
fn detail(refusal: &Refusal) -> String {
    refusal
        .to_string()
        .chars()
        .filter(|&character| character != '\0')
        .take(MAX_DETAIL_CHARS)
        .collect()
}

/// How many requests these stand for.
fn requests(rejections: &[Rejection]) -> u64 {
    rejections.iter().map(|rejection| rejection.count).sum()
}
