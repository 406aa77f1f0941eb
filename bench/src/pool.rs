//! Signed events, made before anything is measured.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::Timestamp;
use trunkline_cli::segment::{EventGenerator, sign};

/// An event and the signature of a request that begins with it.
#[derive(Debug)]
pub(crate) struct SignedEvent {
    pub(crate) json: Box<[u8]>,
    pub(crate) signature: Box<str>,
}

/// Events of which each is sent once between two [`Pool::rewind`]s.
#[derive(Debug)]
pub(crate) struct Pool {
    events: Vec<SignedEvent>,
    next: AtomicUsize,
}

impl Pool {
    /// Makes `count` events with one generator for each core. No two have the same `messageId`.
    pub(crate) fn generate(seed: u64, count: usize, secret: &str) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(threads);
        let make = |number: u64| {
            let mut generator = EventGenerator::new(seed.wrapping_add(number), Timestamp::now());
            let one = |_| {
                let json = generator.next_event().json.into_bytes().into_boxed_slice();
                let signature = sign(secret.as_bytes(), &json).into();
                SignedEvent { json, signature }
            };
            (0..share).map(one).collect::<Vec<_>>()
        };
        let events = thread::scope(|scope| {
            let makers: Vec<_> = (0..threads as u64)
                .map(|number| scope.spawn(move || make(number)))
                .collect();
            makers
                .into_iter()
                .filter_map(|maker| maker.join().ok())
                .flatten()
                .collect()
        });
        Self::of(events)
    }

    /// Of these events.
    pub(crate) fn of(events: Vec<SignedEvent>) -> Self {
        Self {
            events,
            next: AtomicUsize::new(0),
        }
    }

    /// The next `count` events; `None` when there are not as many left.
    pub(crate) fn take(&self, count: usize) -> Option<&[SignedEvent]> {
        let start = self.next.fetch_add(count, Ordering::Relaxed);
        self.events.get(start..start.checked_add(count)?)
    }

    /// Begins anew, for a database that has forgotten the events or a run that repeats them.
    pub(crate) fn rewind(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    /// Size of an event on average, in bytes.
    pub(crate) fn mean_bytes(&self) -> usize {
        let bytes: usize = self.events.iter().map(|event| event.json.len()).sum();
        bytes / self.events.len().max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_event_is_given_out_twice() {
        let pool = Pool::generate(1, 1_000, "secret");
        let mut ids = HashSet::new();
        while let Some(events) = pool.take(7) {
            for event in events {
                let json: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
                assert!(ids.insert(json["messageId"].as_str().unwrap().to_owned()));
                assert_eq!(*event.signature, sign(b"secret", &event.json));
            }
        }
        assert_eq!(ids.len(), 994);
        pool.rewind();
        assert!(pool.take(1).is_some());
    }
}
