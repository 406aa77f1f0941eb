//! The fields of a Segment event that have columns of their own.
//!
//! Read from the top level of an element as jsonb would show it: keys compared decoded, the last
//! of two equal keys counts.

use std::borrow::Cow;

use super::strings;
use super::timestamp::Timestamp;

/// The fields of an event that have columns of their own; all absent in an element that is no
/// object.
///
/// A text field is a string's text with its escapes resolved (U+FFFD for what PostgreSQL's text
/// cannot hold), or a number or boolean as it was sent. It is absent when it is null, an object or
/// an array. A time is absent, too, unless it is a string that [`Timestamp::parse`] takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `messageId`.
    pub message_id: Option<Cow<'a, str>>,
    /// `type`.
    pub r#type: Option<Cow<'a, str>>,
    /// `event`.
    pub event: Option<Cow<'a, str>>,
    /// `userId`.
    pub user_id: Option<Cow<'a, str>>,
    /// `anonymousId`.
    pub anonymous_id: Option<Cow<'a, str>>,
    /// `timestamp`.
    pub timestamp: Option<Timestamp>,
    /// `originalTimestamp`.
    pub original_timestamp: Option<Timestamp>,
    /// `sentAt`.
    pub sent_at: Option<Timestamp>,
}

/// A field of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    MessageId,
    Type,
    Event,
    UserId,
    AnonymousId,
    Timestamp,
    OriginalTimestamp,
    SentAt,
}

impl Field {
    /// The field of a decoded top-level key.
    #[inline]
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"messageId" => Self::MessageId,
            b"type" => Self::Type,
            b"event" => Self::Event,
            b"userId" => Self::UserId,
            b"anonymousId" => Self::AnonymousId,
            b"timestamp" => Self::Timestamp,
            b"originalTimestamp" => Self::OriginalTimestamp,
            b"sentAt" => Self::SentAt,
            _ => return None,
        })
    }
}

/// The values of the fields seen so far in an element, not decoded yet: a later equal key may
/// replace each.
#[derive(Debug, Default)]
pub(super) struct Fields([Slot; 8]);

/// A field's value, as a place in the body.
#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    start: usize,
    end: usize,
    kind: Kind,
}

/// What is at a field's place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that has a column: null, an object, an array, or no field.
    #[default]
    Absent,
    /// A string's text, which is the string itself.
    Text,
    /// A string's text, with escapes.
    EscapedText,
    /// A number or boolean.
    Literal,
}

impl Fields {
    /// Notes a field's value.
    #[inline]
    pub(super) fn set(&mut self, field: Field, start: usize, end: usize, kind: Kind) {
        if let Some(slot) = self.0.get_mut(field as usize) {
            // One by one: a slot built first and copied then is stored by the byte and loaded by
            // the word, which stalls.
            slot.start = start;
            slot.end = end;
            slot.kind = kind;
        }
    }

    /// Decodes the fields, whose places are in `body`.
    pub(super) fn envelope<'a>(&self, body: &'a str) -> Envelope<'a> {
        let text = |field| self.slot(field).text(body);
        let time = |field| self.slot(field).time(body);
        Envelope {
            message_id: text(Field::MessageId),
            r#type: text(Field::Type),
            event: text(Field::Event),
            user_id: text(Field::UserId),
            anonymous_id: text(Field::AnonymousId),
            timestamp: time(Field::Timestamp),
            original_timestamp: time(Field::OriginalTimestamp),
            sent_at: time(Field::SentAt),
        }
    }

    fn slot(&self, field: Field) -> Slot {
        self.0.get(field as usize).copied().unwrap_or_default()
    }
}

impl Slot {
    fn text(self, body: &str) -> Option<Cow<'_, str>> {
        let text = body.get(self.start..self.end)?;
        match self.kind {
            Kind::Absent => None,
            Kind::Text | Kind::Literal => Some(Cow::Borrowed(text)),
            Kind::EscapedText => Some(Cow::Owned(strings::decode(text))),
        }
    }

    fn time(self, body: &str) -> Option<Timestamp> {
        match self.kind {
            Kind::Absent | Kind::Literal => None,
            Kind::Text | Kind::EscapedText => Timestamp::parse(&self.text(body)?),
        }
    }
}
