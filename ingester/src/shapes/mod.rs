//! What was seen in the events of sources that have analysts' relations, written down for the owner
//! in `trunkline.shapes`: calls, event names, and which fields are of which kind.
//!
//! Each is written once, as far as this process remembers; the database knows the rest. After a
//! start, or when the database may be another than before, everything is news once.
//!
//! Invariants:
//! - Nobody waits: requests only leave their news here, and a task of its own writes it.
//! - Only names and kinds get here, never a value; and nothing that was not committed.
//! - Everything has a bound. What has no room is not remembered, so that it is news again.
//! - What waits to be written survives an outage of the database, while the process lasts.

mod known;
mod noting;
mod shape;
mod source;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::events::{ShapesLost, ShapesNoted, ShapesUnnoted, ShapesUnwritten};
use crate::instance::Instance;
use crate::scribe::{Desk, Scribe};
use known::Bound;
use shape::Shape;

pub(crate) use noting::{News, Noting};
pub(crate) use source::SourceShapes;

/// Shapes that may wait, of all sources: a few megabytes, however long their names.
const MAX_WAITING: usize = 4_096;

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    waiting: Mutex<VecDeque<Shape>>,
    /// Something waits where nothing did.
    wake: Notify,
}

impl Shapes {
    /// Takes a delivery's news, now that it is committed. Returns how often what was not noted.
    fn take(&self, news: &mut News) {
        let mut waiting = self.waiting();
        let room = MAX_WAITING.saturating_sub(waiting.len());
        let taken = news.shapes.len().min(room);
        waiting.extend(news.shapes.drain(..taken).map(|(_, shape)| shape));
        drop(waiting);
        news.unnoted[Bound::Rate as usize] += news.shapes.len() as u64;
        if taken > 0 {
            self.wake.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Shape>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the news of a delivery, now that it is committed.
pub(crate) fn tell(instance: &Instance, mut news: News) {
    instance.shapes.take(&mut news);
    for (bound, &times) in Bound::ALL.iter().zip(&news.unnoted) {
        if times > 0 {
            ShapesUnnoted {
                source: &news.name,
                bound: bound.label(),
                times,
            }
            .emit(&instance.events);
        }
    }
}

/// Starts the task that writes.
pub(crate) fn note(instance: &Arc<Instance>) -> Scribe {
    Scribe::start(NotingDesk(Arc::clone(instance)), &instance.destination)
}

struct NotingDesk(Arc<Instance>);

impl Desk for NotingDesk {
    type Note = Shape;

    /// A relation is looked for while its first event is still fresh in mind.
    const PACE: Duration = Duration::from_millis(200);

    fn wake(&self) -> &Notify {
        &self.0.shapes.wake
    }

    fn next_due(&self) -> Option<Instant> {
        let waits = !self.0.shapes.waiting().is_empty();
        waits.then(Instant::now)
    }

    fn take(&self, limit: usize) -> Vec<Shape> {
        let mut waiting = self.0.shapes.waiting();
        let count = limit.min(waiting.len());
        waiting.drain(..count).collect()
    }

    fn take_all(&self) -> Vec<Shape> {
        self.0.shapes.waiting().drain(..).collect()
    }

    /// Behind the others, in case one of them is why it could not be written.
    fn give_back(&self, shapes: Vec<Shape>) {
        self.0.shapes.waiting().extend(shapes);
    }

    fn statement(&self, shapes: &[Shape]) -> String {
        shape::statement(shapes)
    }

    fn written(&self, shapes: &[Shape]) {
        for shape in shapes {
            let source = &shape.source;
            ShapesNoted { source }.emit(&self.0.events);
        }
    }

    fn unwritten(&self, reason: &str) {
        ShapesUnwritten { reason }.emit(&self.0.events);
    }

    fn lost(&self, shapes: &[Shape]) {
        let shapes = shapes.len();
        ShapesLost { shapes }.emit(&self.0.events);
    }
}
