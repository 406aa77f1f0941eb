//! [`ProbeEvents`]: events that nobody takes for real ones.
//!
//! They are as Segment's in form, so that they take the way of Segment's; their name says what they
//! are, and they have nobody's name and no money in them.

use jiff::Timestamp;
use serde::Serialize;

use super::envelope::Millis;
use super::message_ids::MessageIds;
use super::{Event, EventType};

/// The name of every event.
pub const PROBE_EVENT: &str = "Trunkline Probe";

/// Makes events up. It never ends.
#[derive(Debug)]
pub struct ProbeEvents {
    ids: MessageIds,
    now: Timestamp,
}

/// Fields in alphabetical order, which is their order in the JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    anonymous_id: &'static str,
    event: &'static str,
    message_id: &'a str,
    original_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<String>,
    properties: Properties,
    sent_at: String,
    timestamp: String,
    #[serde(rename = "type")]
    kind: EventType,
    version: u32,
}

#[derive(Serialize)]
struct Properties {
    /// The number of the event within its seed, from 1.
    number: u64,
}

impl ProbeEvents {
    /// Starts at the first event of a seed. Events happen at `now`.
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            ids: MessageIds::new(seed),
            now,
        }
    }

    /// The same from the event after the first `number` on.
    #[must_use]
    pub fn after(mut self, number: u64) -> Self {
        self.ids.skip_to(number);
        self
    }

    /// What the `messageId` of every event of a seed begins with.
    #[must_use]
    pub fn prefix(seed: u64) -> String {
        MessageIds::prefix(seed)
    }

    /// Moves the time at which the next events happen.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The next event of this seed.
    pub fn next_event(&mut self) -> Event {
        let message_id = self.ids.next_id();
        self.event(message_id, None)
    }

    /// The next event of this seed, `bytes` long; longer where that is too short for any event.
    pub fn next_event_of(&mut self, bytes: usize) -> Event {
        let message_id = self.ids.next_id();
        let shortest = self.event(message_id.clone(), Some(String::new()));
        let missing = bytes.saturating_sub(shortest.json.len());
        self.event(message_id, Some("x".repeat(missing)))
    }

    fn event(&self, message_id: String, padding: Option<String>) -> Event {
        let now = Millis(self.now).to_string();
        let envelope = Envelope {
            anonymous_id: "trunkline-probe",
            event: PROBE_EVENT,
            message_id: &message_id,
            original_timestamp: now.clone(),
            padding,
            properties: Properties {
                number: self.ids.given(),
            },
            sent_at: now.clone(),
            timestamp: now,
            kind: EventType::Track,
            version: 2,
        };
        // Only a map with keys that are no strings, or a type's own error, fails here; there is
        // neither.
        let json = serde_json::to_string(&envelope).unwrap_or_default();
        Event {
            message_id,
            r#type: EventType::Track,
            json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_exactly_as_long_as_wanted_and_say_what_they_are() {
        let mut events = ProbeEvents::new(3, "2026-11-24T10:00:00Z".parse().unwrap());
        for bytes in [1_000, 32 << 10, 400] {
            let event = events.next_event_of(bytes);
            assert_eq!(event.json.len(), bytes);
            let value: serde_json::Value = serde_json::from_str(&event.json).unwrap();
            assert_eq!(value["event"], PROBE_EVENT);
            assert_eq!(value["messageId"], event.message_id.as_str());
            assert!(event.message_id.starts_with(&ProbeEvents::prefix(3)));
        }
        let next = events.next_event();
        assert!(next.json.len() < 400, "{}", next.json);
        assert!(next.json.contains("\"number\":4"), "{}", next.json);
    }
}
