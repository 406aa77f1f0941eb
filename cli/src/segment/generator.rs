//! [`EventGenerator`]: one event after the other.

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::catalog::{PEOPLE, Person};
use super::context::{Context, Origin};
use super::envelope::{Envelope, Integrations, Millis};
use super::message_ids::MessageIds;
use super::properties::{self, Traits};
use super::random::chance;
use super::{Event, EventType};

/// How often each type occurs among [`CYCLE`] events; about what a shop sends.
const FREQUENCY: [(EventType, usize); 7] = [
    (EventType::Track, 12),
    (EventType::Identify, 2),
    (EventType::Page, 2),
    (EventType::Screen, 1),
    (EventType::Group, 1),
    (EventType::Alias, 1),
    (EventType::Delete, 1),
];

/// The order of types repeats after this many events, so that any run of this length has them all.
const CYCLE: usize = 20;

/// Makes Segment's events up. It never ends.
#[derive(Debug)]
pub struct EventGenerator {
    rng: StdRng,
    ids: MessageIds,
    cycle: [EventType; CYCLE],
    now: Timestamp,
}

impl EventGenerator {
    /// Starts at the first event of a seed. Events happen shortly before `now`.
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut types = FREQUENCY
            .iter()
            .flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
        let mut cycle = [(); CYCLE].map(|()| types.next().unwrap_or(EventType::Track));
        cycle.shuffle(&mut rng);
        Self {
            rng,
            ids: MessageIds::new(seed),
            cycle,
            now,
        }
    }

    /// Moves the time near which the next events happen; a long run calls it now and then.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// The next event of this seed.
    pub fn next_event(&mut self) -> Event {
        let kind = self.cycle[(self.ids.given() % CYCLE as u64) as usize];
        let message_id = self.ids.next_id();
        let envelope = self.envelope(kind, &message_id);
        // Only a map with keys that are no strings, or a type's own error, fails here; there is
        // neither.
        let json = serde_json::to_string(&envelope).unwrap_or_default();
        Event {
            message_id,
            r#type: kind,
            json,
        }
    }

    fn envelope<'a>(&mut self, kind: EventType, message_id: &'a str) -> Envelope<'a> {
        let times = Times::draw(self.now, &mut self.rng);
        let (now, rng) = (self.now, &mut self.rng);
        let person = Person::new(rng.random_range(0..PEOPLE));
        let origin = match kind {
            EventType::Page => Origin::Web,
            EventType::Screen => Origin::App,
            EventType::Delete | EventType::Group => Origin::Server,
            _ => match rng.random_range(0..10) {
                0..6 => Origin::Web,
                6..9 => Origin::App,
                _ => Origin::Server,
            },
        };
        let known = match kind {
            EventType::Track | EventType::Page | EventType::Screen => {
                origin == Origin::Server || chance(rng, 60)
            }
            _ => true,
        };
        let mut envelope = Envelope {
            anonymous_id: (origin != Origin::Server).then(|| person.anonymous_id()),
            category: None,
            channel: match origin {
                Origin::Web => "client",
                Origin::App => "mobile",
                Origin::Server => "server",
            },
            context: Context::new(origin, person, known, rng),
            event: None,
            group_id: None,
            integrations: Integrations::default(),
            message_id,
            name: None,
            original_timestamp: times.original.to_string(),
            previous_id: None,
            properties: None,
            received_at: times.received.to_string(),
            sent_at: times.sent.to_string(),
            timestamp: times.timestamp.to_string(),
            traits: None,
            kind,
            user_id: known.then(|| person.user_id()),
            version: 2,
        };
        if chance(rng, 10) {
            envelope.integrations = Integrations {
                all: Some(true),
                analytics: Some(false),
            };
        }
        match kind {
            EventType::Track => {
                let (event, properties) = properties::tracked(person, rng);
                envelope.event = Some(event);
                envelope.properties = Some(properties);
            }
            EventType::Page => {
                envelope.category = Some("Shop");
                envelope.properties = envelope.context.page.as_ref().map(properties::page);
                envelope.name = envelope.context.page.as_ref().map(|page| page.title);
            }
            EventType::Screen => {
                let (name, properties) = properties::screen(rng);
                envelope.name = Some(name);
                envelope.properties = Some(properties);
            }
            EventType::Identify => {
                let days = i64::try_from(person.constant(8) % 1_000).unwrap_or(0);
                let created = Millis(now - SignedDuration::from_hours(24 * days));
                envelope.traits = Some(Traits::of_person(person, created.to_string(), rng));
            }
            EventType::Group => {
                let company = properties::company(person);
                envelope.group_id = Some(company.id);
                envelope.traits = Some(Traits::of_company(company));
            }
            EventType::Alias => envelope.previous_id = Some(person.anonymous_id()),
            EventType::Delete => {}
        }
        envelope
    }
}

/// The four times of an event.
struct Times {
    /// By the clock of the device.
    original: Millis,
    /// By the same clock, when the library sent it.
    sent: Millis,
    /// By Segment's clock.
    received: Millis,
    /// By Segment's clock, when it happened: `received - (sent - original)`, as the Spec has it.
    timestamp: Millis,
}

impl Times {
    /// A device whose clock is a little off sends what happened within the last seconds.
    fn draw(now: Timestamp, rng: &mut StdRng) -> Self {
        let mut millis = |range| SignedDuration::from_millis(rng.random_range(range));
        let received = now - millis(1..2_000);
        let clock_error = millis(-1_500..1_500);
        let sent = received - millis(15..400) + clock_error;
        let waited = millis(2..3_000);
        Self {
            original: Millis(sent - waited),
            sent: Millis(sent),
            received: Millis(received),
            timestamp: Millis(received - waited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    const NOW: &str = "2026-11-24T10:00:00.5Z";

    fn events(seed: u64, count: usize) -> Vec<Event> {
        let mut generator = EventGenerator::new(seed, NOW.parse().unwrap());
        (0..count).map(|_| generator.next_event()).collect()
    }

    fn time(event: &Value, field: &str) -> Timestamp {
        let text = event[field].as_str().unwrap();
        assert!(text.len() == 24 && text.ends_with('Z'), "{field} {text}");
        text.parse().unwrap()
    }

    #[test]
    fn a_seed_always_gives_the_same_events_and_another_seed_gives_others() {
        assert_eq!(events(7, 200), events(7, 200));
        let ids = |seed| events(seed, 200).into_iter().map(|event| event.message_id);
        let of_both: HashSet<String> = ids(7).chain(ids(8)).collect();
        assert_eq!(of_both.len(), 400);
    }

    #[test]
    fn message_ids_do_not_depend_on_the_time() {
        let later = EventGenerator::new(7, "2030-01-01T00:00:00Z".parse().unwrap()).next_event();
        assert_eq!(later.message_id, events(7, 1)[0].message_id);
        assert_ne!(later.json, events(7, 1)[0].json);
    }

    #[test]
    fn message_ids_are_unique_over_a_long_run() {
        let mut generator = EventGenerator::new(1, NOW.parse().unwrap());
        let ids: HashSet<String> = (0..50_000)
            .map(|_| generator.next_event().message_id)
            .collect();
        assert_eq!(ids.len(), 50_000);
        assert!(ids.iter().all(|id| id.len() == 36));
    }

    #[test]
    fn any_20_events_in_a_row_have_every_type_and_most_are_tracks() {
        for seed in 0..50 {
            let events = events(seed, 200);
            for window in events.windows(20) {
                let types: HashSet<EventType> = window.iter().map(|event| event.r#type).collect();
                assert_eq!(types.len(), EventType::ALL.len(), "seed {seed}");
            }
            let tracks = events
                .iter()
                .filter(|event| event.r#type == EventType::Track)
                .count();
            assert_eq!(tracks, 120, "seed {seed}");
        }
    }

    #[test]
    fn every_event_is_compact_json_with_its_fields_in_segments_order() {
        for event in events(3, 2_000) {
            let value: Value = serde_json::from_str(&event.json).unwrap();
            // serde_json sorts the keys of a map, so writing it again gives the same bytes only
            // when the event was compact and sorted.
            assert_eq!(serde_json::to_string(&value).unwrap(), event.json);
            assert_eq!(value["type"], event.r#type.as_str());
            assert_eq!(value["messageId"], event.message_id.as_str());
            assert!(
                !event.json.contains(".0,") && !event.json.contains(".0}"),
                "{}",
                event.json
            );
        }
    }

    #[test]
    fn every_type_has_the_fields_of_the_spec() {
        let fields = |kind: EventType| -> &[&str] {
            match kind {
                EventType::Track => &["event", "properties"],
                EventType::Identify => &["userId", "traits"],
                EventType::Page | EventType::Screen => &["name", "properties"],
                EventType::Group => &["userId", "groupId", "traits"],
                EventType::Alias => &["userId", "previousId"],
                EventType::Delete => &["userId"],
            }
        };
        let mut unknown_visitors = 0;
        for event in events(4, 2_000) {
            let value: Value = serde_json::from_str(&event.json).unwrap();
            for field in fields(event.r#type) {
                assert!(
                    !value[field].is_null(),
                    "{field} is missing: {}",
                    event.json
                );
            }
            let library = &value["context"]["library"];
            assert!(library["name"].is_string() && library["version"].is_string());
            assert!(!value["userId"].is_null() || value["anonymousId"].is_string());
            unknown_visitors += usize::from(value["userId"].is_null());
        }
        assert!(
            (100..1_000).contains(&unknown_visitors),
            "{unknown_visitors}"
        );
    }

    #[test]
    fn times_are_close_to_now_and_agree_with_each_other() {
        let now: Timestamp = NOW.parse().unwrap();
        for event in events(5, 500) {
            let value: Value = serde_json::from_str(&event.json).unwrap();
            let [original, sent, received, timestamp] =
                ["originalTimestamp", "sentAt", "receivedAt", "timestamp"]
                    .map(|field| time(&value, field));
            let drift = timestamp.duration_since(received) - original.duration_since(sent);
            assert!(drift.abs() <= SignedDuration::from_millis(1), "{drift:?}");
            assert!(original < sent && received < now);
            assert!(now.duration_since(original) < SignedDuration::from_secs(10));
        }
    }

    #[test]
    fn events_are_as_large_as_segments_and_hold_what_breaks_naive_code() {
        let events = events(6, 4_000);
        let bytes: usize = events.iter().map(|event| event.json.len()).sum();
        let average = bytes / events.len();
        assert!(
            (1_000..1_250).contains(&average),
            "{average} bytes on average"
        );
        let all: String = events.into_iter().map(|event| event.json).collect();
        for needle in [
            "\\\"", "\\n", "\\t", "\\\\", "王", "🐈", "ß", "null", "[{", "9.99",
        ] {
            assert!(all.contains(needle), "{needle}");
        }
    }
}
