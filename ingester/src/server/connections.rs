//! The connections of a listener, and their bound.
//!
//! Past the bound a new connection takes the place of the one that has been idle longest; when none
//! is idle the new one is refused. Invariant: a connection with a request on it is never closed for
//! another.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::ConnectionMetrics;
use super::watch::Watch;

/// Time for which the idle connections are not looked for again when there was none: under a flood
/// each new connection would look at all the others.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    bound: AtomicUsize,
    stopping: Arc<AtomicBool>,
    open: Mutex<Open>,
    metrics: ConnectionMetrics,
}

#[derive(Debug, Default)]
struct Open {
    last_number: u64,
    watches: HashMap<u64, Arc<Watch>>,
    /// Connections that were idle at the last look, and since when, the longest first. Whoever is
    /// still idle since then has been so longer than all that are not in it.
    idle: VecDeque<(u64, Instant)>,
    next_look: Option<Instant>,
}

impl Connections {
    /// No connection yet, and a bound.
    pub(crate) fn new(bound: usize, metrics: ConnectionMetrics) -> Self {
        Self {
            bound: AtomicUsize::new(bound),
            stopping: Arc::default(),
            open: Mutex::default(),
            metrics,
        }
    }

    /// Sets the bound. It closes no connection by itself.
    pub(crate) fn set_bound(&self, bound: usize) {
        self.bound.store(bound, Ordering::Relaxed);
    }

    /// Connections that are open now.
    pub(crate) fn count(&self) -> usize {
        self.lock().watches.len()
    }

    /// Asks each answer from now on to be its connection's last.
    pub(super) fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A place for a new connection; none when the bound is reached and no connection is idle.
    pub(super) fn admit(self: &Arc<Self>, now: Instant) -> Option<Place> {
        let bound = self.bound.load(Ordering::Relaxed).max(1);
        let mut open = self.lock();
        while open.watches.len() >= bound {
            if !open.evict(now) {
                self.metrics.refused();
                return None;
            }
            self.metrics.evicted();
        }
        open.last_number += 1;
        let number = open.last_number;
        let watch = Arc::new(Watch::new(now, Arc::clone(&self.stopping)));
        open.watches.insert(number, Arc::clone(&watch));
        Some(Place {
            connections: Arc::clone(self),
            number,
            watch,
        })
    }

    /// Closes the connection that has been idle longest, for the sake of the process.
    pub(super) fn evict(&self, now: Instant) {
        if self.lock().evict(now) {
            self.metrics.evicted();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Asks the connection that has been idle longest to end, and counts it no more.
    fn evict(&mut self, now: Instant) -> bool {
        loop {
            while let Some((number, since)) = self.idle.pop_front() {
                let Some(watch) = self.watches.get(&number) else {
                    continue;
                };
                if watch.idle_since(now) == Some(since) {
                    watch.evict();
                    self.watches.remove(&number);
                    return true;
                }
            }
            if self.next_look.is_some_and(|at| now < at) {
                return false;
            }
            self.look(now);
            if self.idle.is_empty() {
                self.next_look = Some(now + LOOK_INTERVAL);
                return false;
            }
        }
    }

    fn look(&mut self, now: Instant) {
        let idle = self.watches.iter().filter_map(|(&number, watch)| {
            let since = watch.idle_since(now)?;
            Some((number, since))
        });
        let mut idle: Vec<_> = idle.collect();
        idle.sort_unstable_by_key(|&(number, since)| (since, number));
        self.idle = idle.into();
    }
}

/// The place that an open connection takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    number: u64,
    pub(super) watch: Arc<Watch>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().watches.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(bound: usize) -> Arc<Connections> {
        Arc::new(Connections::new(bound, ConnectionMetrics::default()))
    }

    fn admit(connections: &Arc<Connections>) -> Option<Place> {
        connections.admit(Instant::now())
    }

    /// A connection that has had a request.
    fn kept(connections: &Arc<Connections>) -> Place {
        let place = admit(connections).unwrap();
        drop(place.watch.begin_request());
        place
    }

    async fn is_evicted(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.watch.evicted())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_room() {
        let step = Duration::from_millis(1);
        let connections = connections(3);
        let (mut places, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            places.push(kept(&connections));
            tokio::time::advance(step).await;
        }
        // The first is used again, so that the second is idle longest.
        drop(places[0].watch.begin_request());
        tokio::time::advance(step).await;
        for expected in [1, 2, 0] {
            let new = admit(&connections).unwrap();
            let request = new.watch.begin_request();
            for (number, place) in places.iter().enumerate() {
                assert_eq!(is_evicted(place).await, number == expected, "{number}");
            }
            assert_eq!(connections.count(), 3);
            busy.push((new, request));
        }
        assert!(admit(&connections).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_began_a_request_since_the_look_is_passed_over() {
        let connections = connections(2);
        let (first, second) = (kept(&connections), kept(&connections));
        let third = admit(&connections).unwrap();
        assert!(is_evicted(&first).await);
        // The look that found the first has found the second too.
        let request = second.watch.begin_request();
        assert!(admit(&connections).is_none());
        assert!(!is_evicted(&second).await);
        drop((request, third));
        assert!(admit(&connections).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connections_are_no_shelter() {
        let connections = connections(1);
        let silent = admit(&connections).unwrap();
        assert!(admit(&connections).is_none());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(admit(&connections).is_some());
        assert!(is_evicted(&silent).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_bound_is_reached_by_new_connections() {
        let connections = connections(4);
        let _kept: Vec<_> = (0..4).map(|_| kept(&connections)).collect();
        connections.set_bound(2);
        assert_eq!(connections.count(), 4);
        let _new = admit(&connections).unwrap();
        assert_eq!(connections.count(), 2);
    }

    #[test]
    fn a_place_is_given_back() {
        let connections = connections(1);
        drop(admit(&connections).unwrap());
        assert_eq!(connections.count(), 0);
        assert!(admit(&connections).is_some());
    }
}
