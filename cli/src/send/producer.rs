//! Makes and signs the requests of a plan, apart from the connections, so that this work does not
//! show in the latencies.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::plan::{Content, Plan};
use super::request::{SentEvent, SentRequest};
use crate::segment::{Event, EventGenerator, ProbeEvents};
use crate::signing::proof;

/// Makes requests until the plan is fulfilled or nobody takes them. Blocks while the queue is full.
pub(super) fn produce(plan: &Plan, queue: &mpsc::Sender<SentRequest>) {
    for request in Requests::new(plan) {
        if queue.blocking_send(request).is_err() {
            return;
        }
    }
}

/// Where the events come from.
enum Events {
    Shop(Box<EventGenerator>),
    Probe(ProbeEvents),
}

impl Events {
    fn new(content: Content, seed: u64) -> Self {
        let now = Timestamp::now();
        match content {
            Content::Shop => Self::Shop(Box::new(EventGenerator::new(seed, now))),
            Content::Probe => Self::Probe(ProbeEvents::new(seed, now)),
        }
    }

    fn set_now(&mut self, now: Timestamp) {
        match self {
            Self::Shop(events) => events.set_now(now),
            Self::Probe(events) => events.set_now(now),
        }
    }

    fn next_event(&mut self) -> Event {
        match self {
            Self::Shop(events) => events.next_event(),
            Self::Probe(events) => events.next_event(),
        }
    }
}

/// The requests of a plan, in their order.
pub(super) struct Requests<'a> {
    plan: &'a Plan,
    events: Events,
    /// Requests made so far.
    requests: u64,
    /// Events made so far.
    made: u64,
    start: Timestamp,
}

impl<'a> Requests<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            events: Events::new(plan.content, plan.seed),
            requests: 0,
            made: 0,
            start: Timestamp::now(),
        }
    }

    /// About when a request leaves: now, or when it is due, since requests are made ahead and a
    /// receiver may look at the time of a signature.
    fn sent_at(&self, due: Option<Duration>) -> Timestamp {
        let due = due.and_then(|due| self.start.checked_add(due).ok());
        due.map_or_else(Timestamp::now, |due| due.max(Timestamp::now()))
    }
}

impl Iterator for Requests<'_> {
    type Item = SentRequest;

    fn next(&mut self) -> Option<SentRequest> {
        let left = self.plan.count - self.made;
        if left == 0 {
            return None;
        }
        let due = self
            .plan
            .rate
            .map(|rate| Duration::from_secs_f64(self.made as f64 / rate));
        let size = self
            .plan
            .batch
            .map_or(1, |batch| batch.get() as u64)
            .min(left);
        self.events.set_now(Timestamp::now());
        let mut body = String::new();
        let mut events = Vec::with_capacity(size as usize);
        for _ in 0..size {
            let event = self.events.next_event();
            if self.plan.batch.is_some() {
                body.push(if events.is_empty() { '[' } else { ',' });
            }
            let start = body.len();
            body.push_str(&event.json);
            events.push(SentEvent {
                message_id: event.message_id,
                r#type: event.r#type,
                place: start..body.len(),
            });
        }
        if self.plan.batch.is_some() {
            body.push(']');
        }
        self.made += size;
        self.requests += 1;
        // As many of any number of requests as the share says, spread evenly.
        let alone = |requests: u64| (requests as f64 * self.plan.new_connections).floor();
        let is_alone = alone(self.requests) > alone(self.requests - 1);
        let proof = proof(&self.plan.verification, &body, &events, self.sent_at(due));
        Some(SentRequest {
            body: Bytes::from(body),
            proof,
            events,
            is_alone,
            due,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::sign;
    use crate::send::Target;
    use crate::signing::preset;
    use serde_json::Value;
    use std::num::NonZeroUsize;

    fn plan(count: u64, batch: Option<usize>, rate: Option<f64>) -> Plan {
        Plan {
            target: Target::parse("http://127.0.0.1/").unwrap(),
            verification: preset("segment", false, &["hush"]),
            count,
            rate,
            concurrency: NonZeroUsize::MIN,
            new_connections: 0.0,
            batch: batch.map(|batch| batch.try_into().unwrap()),
            content: Content::Shop,
            seed: 9,
        }
    }

    fn requests(count: u64, batch: Option<usize>, rate: Option<f64>) -> Vec<SentRequest> {
        Requests::new(&plan(count, batch, rate)).collect()
    }

    #[test]
    fn a_single_event_is_an_object_signed_whole() {
        for request in requests(5, None, None) {
            assert!(
                serde_json::from_slice::<Value>(request.body())
                    .unwrap()
                    .is_object()
            );
            assert_eq!(request.proof["x-signature"], sign(b"hush", request.body()));
            assert_eq!(request.json(&request.events()[0]), &request.body()[..]);
        }
    }

    #[test]
    fn a_batch_is_an_array_signed_over_the_exact_bytes_of_its_first_element() {
        let requests = requests(10, Some(4), None);
        let sizes: Vec<usize> = requests
            .iter()
            .map(|request| request.events().len())
            .collect();
        assert_eq!(sizes, [4, 4, 2]);
        for request in &requests {
            let elements: Vec<&serde_json::value::RawValue> =
                serde_json::from_slice(request.body()).unwrap();
            let signed = elements[0].get().as_bytes();
            assert_eq!(request.proof["x-signature"], sign(b"hush", signed));
            for (element, event) in elements.iter().zip(request.events()) {
                assert_eq!(element.get().as_bytes(), request.json(event));
                assert!(element.get().contains(&event.message_id));
            }
        }
    }

    /// Requests are made long before they are sent.
    #[test]
    fn a_signature_has_the_time_at_which_its_request_is_due() {
        let plan = Plan {
            verification: preset("stripe", false, &["hush"]),
            ..plan(2, None, Some(0.001))
        };
        let times: Vec<i64> = Requests::new(&plan)
            .map(|request| {
                let header = request.proof["stripe-signature"].to_str().unwrap();
                let (time, _) = header.split_once(',').unwrap();
                time.trim_start_matches("t=").parse().unwrap()
            })
            .collect();
        assert!((999..=1_001).contains(&(times[1] - times[0])), "{times:?}");
    }

    #[test]
    fn a_batch_of_one_is_still_an_array() {
        assert!(requests(1, Some(1), None)[0].body().starts_with(b"[{"));
    }

    #[test]
    fn the_share_of_new_connections_is_spread_evenly() {
        let plan = Plan {
            new_connections: 0.25,
            content: Content::Probe,
            ..plan(12, None, None)
        };
        let alone: Vec<bool> = Requests::new(&plan)
            .map(|request| request.is_alone)
            .collect();
        assert_eq!(alone, [false, false, false, true].repeat(3));
    }

    #[test]
    fn the_rate_is_one_of_events_whatever_the_batch() {
        let due = |batch| -> Vec<u128> {
            let requests = requests(6, batch, Some(2.0));
            requests
                .iter()
                .map(|request| request.due.unwrap().as_millis())
                .collect()
        };
        assert_eq!(due(None), [0, 500, 1_000, 1_500, 2_000, 2_500]);
        assert_eq!(due(Some(3)), [0, 1_500]);
    }
}
