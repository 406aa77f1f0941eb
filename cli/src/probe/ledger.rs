//! What became of each event, and what is still to be looked for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::send::{Outcome, SentRequest};

/// How many names of missing events an account has.
const NAMED: usize = 10;

/// Remembers every event of a run by its `messageId`.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Whether it was acknowledged.
    events: HashMap<Uuid, bool>,
    acknowledged: u64,
    /// Acknowledged, and not looked for yet.
    waiting: Vec<Waiting>,
    gaps: Option<Gaps>,
}

/// An acknowledged event that has not been seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) id: Uuid,
    /// When it was answered; its row is not older than a request may take.
    pub(super) answered: Instant,
    /// How often it was looked for in vain.
    pub(super) looks: u32,
}

/// Pauses between acknowledgements.
#[derive(Debug, Clone, Copy)]
struct Gaps {
    last: Instant,
    longest: Duration,
}

/// What a full look at the rows of a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Acknowledged, and there.
    pub(super) found: u64,
    /// Acknowledged, and not there.
    pub(super) missing: u64,
    /// There more than once.
    pub(super) duplicated: u64,
    /// There without having been acknowledged.
    pub(super) unacknowledged: u64,
    /// Some of the missing.
    pub(super) missing_ids: Vec<String>,
}

impl Ledger {
    /// The pauses count from here.
    pub(super) fn start(&mut self) {
        self.gaps = Some(Gaps {
            last: Instant::now(),
            longest: Duration::ZERO,
        });
    }

    /// Takes down the end of a request.
    pub(super) fn note(&mut self, request: &SentRequest, outcome: &Outcome) {
        let now = Instant::now();
        let is_acknowledged = outcome.is_acknowledged();
        for event in request.events() {
            // Every one is a UUID that our own generator made.
            let Ok(id) = event.message_id.parse() else {
                continue;
            };
            self.events.insert(id, is_acknowledged);
            if is_acknowledged {
                self.acknowledged += 1;
                self.waiting.push(Waiting {
                    id,
                    answered: now,
                    looks: 0,
                });
            }
        }
        if is_acknowledged {
            self.end_pause(now);
        }
    }

    fn end_pause(&mut self, now: Instant) {
        if let Some(gaps) = &mut self.gaps {
            gaps.longest = gaps.longest.max(now.saturating_duration_since(gaps.last));
            gaps.last = now;
        }
    }

    /// The longest time without an acknowledgement, the time until now included.
    pub(super) fn longest_gap(&mut self) -> Duration {
        self.end_pause(Instant::now());
        self.gaps.map_or(Duration::ZERO, |gaps| gaps.longest)
    }

    /// Events that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.events.len() as u64
    }

    /// Events whose request was answered with 2xx.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Hands over what is to be looked for.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    /// Takes back what was not seen.
    pub(super) fn put_back(&mut self, waiting: impl IntoIterator<Item = Waiting>) {
        self.waiting.extend(waiting);
    }

    /// Compares all events with the rows of the run: how many each `messageId` has.
    pub(super) fn compare(&self, rows: &HashMap<Uuid, i64>) -> Count {
        let mut count = Count::default();
        for (id, is_acknowledged) in &self.events {
            let found = rows.get(id).copied().unwrap_or(0);
            match (is_acknowledged, found) {
                (true, 0) => {
                    count.missing += 1;
                    if count.missing_ids.len() < NAMED {
                        count.missing_ids.push(id.to_string());
                    }
                }
                (true, _) => count.found += 1,
                (false, 0) => {}
                (false, _) => count.unacknowledged += 1,
            }
            count.duplicated += u64::from(found > 1);
        }
        count.missing_ids.sort();
        count
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::HeaderMap;

    use super::*;
    use crate::http::Answer;
    use crate::segment::EventType;
    use crate::send::SentEvent;

    fn note(ledger: &mut Ledger, id: u128, status: u16) {
        let event = SentEvent {
            message_id: Uuid::from_u128(id).to_string(),
            r#type: EventType::Track,
            place: 0..0,
        };
        let request = SentRequest::alone(Bytes::new(), HeaderMap::new(), vec![event]);
        let answer = Answer {
            status,
            refusal: String::new(),
        };
        ledger.note(&request, &Outcome::new(Ok(answer), Duration::ZERO));
    }

    #[test]
    fn every_fate_is_counted_once() {
        let mut ledger = Ledger::default();
        for id in 1..=5 {
            note(&mut ledger, id, if id <= 3 { 200 } else { 503 });
        }
        let rows = [(1, 1), (2, 2), (4, 1), (99, 1)];
        let rows = rows
            .into_iter()
            .map(|(id, rows)| (Uuid::from_u128(id), rows))
            .collect();
        let count = ledger.compare(&rows);
        assert_eq!((ledger.sent(), ledger.acknowledged()), (5, 3));
        assert_eq!((count.found, count.missing), (2, 1));
        assert_eq!((count.duplicated, count.unacknowledged), (1, 1));
        assert_eq!(count.missing_ids, [Uuid::from_u128(3).to_string()]);
        let waiting: Vec<_> = ledger
            .take_waiting()
            .iter()
            .map(|waiting| waiting.id.as_u128())
            .collect();
        assert_eq!(waiting, [1, 2, 3]);
        assert!(ledger.take_waiting().is_empty());
    }

    #[test]
    fn the_longest_gap_reaches_to_the_end() {
        let mut ledger = Ledger::default();
        ledger.start();
        note(&mut ledger, 1, 200);
        std::thread::sleep(Duration::from_millis(30));
        note(&mut ledger, 2, 503);
        assert!(ledger.longest_gap() >= Duration::from_millis(30));
        // A refusal ends no pause, and nothing is counted twice.
        let longest = ledger.longest_gap();
        note(&mut ledger, 3, 200);
        assert_eq!(ledger.longest_gap(), longest);
    }
}
