//! One request and what became of it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;

use crate::http::{Answer, Failure};
use crate::segment::EventType;

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub struct SentRequest {
    pub(super) body: Bytes,
    /// What makes the source accept it.
    pub(super) proof: HeaderMap,
    pub(super) events: Vec<SentEvent>,
    /// Whether it goes over a connection opened for it alone.
    pub(super) is_alone: bool,
    /// When it is meant to be sent, from the start of the run on.
    pub(super) due: Option<Duration>,
}

/// One event of a request.
#[derive(Debug, Clone)]
pub struct SentEvent {
    /// The event's `messageId`.
    pub message_id: String,
    /// The event's `type`.
    pub r#type: EventType,
    /// Where the event stands in the body.
    pub(crate) place: Range<usize>,
}

impl SentRequest {
    /// A request to be sent at once, on a connection of its own.
    pub(crate) fn alone(body: Bytes, proof: HeaderMap, events: Vec<SentEvent>) -> Self {
        Self {
            body,
            proof,
            events,
            is_alone: true,
            due: None,
        }
    }

    /// The whole body, byte for byte.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The events of the body, in their order.
    #[must_use]
    pub fn events(&self) -> &[SentEvent] {
        &self.events
    }

    /// The bytes of one of [`SentRequest::events`], without the array around it.
    #[must_use]
    pub fn json(&self, event: &SentEvent) -> &[u8] {
        self.body.get(event.place.clone()).unwrap_or_default()
    }
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The status of the answer, or why there is none.
    pub result: Result<u16, Failure>,
    /// The time to the end of the answer, or to the failure: from the moment of sending, and for a
    /// request that was late on its schedule from the moment it was due.
    pub latency: Duration,
    /// What an answer other than 2xx said, shortened; else empty.
    pub refusal: String,
}

impl Outcome {
    pub(crate) fn new(result: Result<Answer, Failure>, latency: Duration) -> Self {
        let (result, refusal) = match result {
            Ok(answer) => (Ok(answer.status), answer.refusal),
            Err(failure) => (Err(failure), String::new()),
        };
        Self {
            result,
            latency,
            refusal,
        }
    }

    /// Whether the answer was 2xx, by which the receiver says that the events are committed.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.result, Ok(200..=299))
    }
}
