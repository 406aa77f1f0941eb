//! Turns at the work on large and compressed bodies, which runs on threads of its own.
//!
//! Without them a flood of such bodies would take every processor from the threads that serve single
//! events, and many small compressed bodies the whole budget for their decoders' windows. A request
//! waits first for those of its own source, then for those of all: so sources take turns, however
//! much one of them has waiting.

use std::sync::Arc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As many places as there are processors, or half of that.
#[derive(Debug)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    /// Those of all sources together.
    pub(crate) fn of_all() -> Self {
        Self::new(processors())
    }

    /// Those of one source.
    pub(super) fn of_source() -> Self {
        Self::new(processors().div_ceil(2))
    }

    fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// A request's turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _of_all: Option<OwnedSemaphorePermit>,
    _of_source: Option<OwnedSemaphorePermit>,
}

/// Waits for a turn.
pub(super) async fn turn(all: &Places, source: &Places) -> Turn {
    let of_source = source.wait().await;
    Turn {
        _of_all: all.wait().await,
        _of_source: of_source,
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_source_with_much_waiting_does_not_delay_another() {
        let (all, flooded, other) = (Places::new(2), Places::new(1), Places::new(1));
        let first = turn(&all, &flooded).now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(turn(&all, &flooded))).collect();
        assert!(
            waiting
                .iter_mut()
                .all(|turn| turn.as_mut().now_or_never().is_none())
        );
        let second = turn(&all, &other).now_or_never().expect("a place is free");
        assert!(turn(&all, &other).now_or_never().is_none());
        drop((first, second));
        assert!(waiting[0].as_mut().now_or_never().is_some());
    }
}
