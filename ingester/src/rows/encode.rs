//! Makes tuples of a delivery's elements.

use std::hash::{DefaultHasher, Hash, Hasher};

use trunkline_model::columns::{self, Column};
use trunkline_model::verification::AuthScope;
use uuid::Uuid;

use super::{EncodedRows, Keys, SourceKey, tuple};
use crate::json::{Element, Envelope};

/// What every row of a delivery has in common.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryFields<'a> {
    /// The partition of the source's rows.
    pub bucket: i32,
    /// The source, as `namespace/name`.
    pub source: &'a str,
    /// UUIDv7 of the request.
    pub delivery_id: Uuid,
    /// The stored headers, as the text of a JSON object.
    pub headers: Option<&'a str>,
    /// The values of the headers that have columns of their own, as the text of a JSON object.
    pub header_values: Option<&'a str>,
}

/// What a row has of its own.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The body, for the column of its kind.
    pub body: RowBody<'a>,
    /// The bytes as sent, where the body is not exactly that.
    pub raw: Option<&'a [u8]>,
    /// The fields of the event, of a body that has such.
    pub envelope: Option<&'a Envelope<'a>>,
}

/// The body of a row.
#[derive(Debug, Clone, Copy)]
pub enum RowBody<'a> {
    /// JSON that jsonb accepts.
    Json(&'a str),
    /// Text without NUL characters.
    Text(&'a str),
    /// Only [`Row::raw`].
    Bytes,
}

impl<'a> From<&'a Element<'a>> for Row<'a> {
    fn from(element: &'a Element<'a>) -> Self {
        Self {
            body: RowBody::Json(&element.body),
            raw: (!element.exact).then_some(element.text),
            envelope: Some(&element.envelope),
        }
    }
}

/// The envelope of a body that has none.
static NO_ENVELOPE: Envelope<'static> = Envelope {
    message_id: None,
    r#type: None,
    event: None,
    user_id: None,
    anonymous_id: None,
    timestamp: None,
    original_timestamp: None,
    sent_at: None,
};

fn source_key(source: &str) -> SourceKey {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    hasher.finish()
}

/// Encodes the rows of one delivery.
#[derive(Debug)]
pub struct RowEncoder<'a> {
    delivery: DeliveryFields<'a>,
    rows: EncodedRows,
}

impl<'a> RowEncoder<'a> {
    /// Begins a delivery. `body_bytes` is the size of its body and only a hint for the buffer.
    #[must_use]
    pub fn new(delivery: DeliveryFields<'a>, body_bytes: usize) -> Self {
        // What a single row adds to its body: lengths, ids, and the envelope a second time.
        const ROW_OVERHEAD: usize = 512;
        let headers = delivery.headers.map_or(0, str::len);
        let bytes = Vec::with_capacity(body_bytes + headers + ROW_OVERHEAD);
        Self {
            delivery,
            rows: EncodedRows {
                bytes,
                ends: Vec::with_capacity(1),
                source: source_key(delivery.source),
                keys: Keys::None,
            },
        }
    }

    /// Says what of the delivery is stored only once. It has no row yet.
    #[must_use]
    pub fn keyed(mut self, keys: Keys) -> Self {
        self.rows.keys = keys;
        self
    }

    /// Adds the next row of the request; its position is the number of those before it.
    pub fn push<'r>(&mut self, row: impl Into<Row<'r>>, scope: AuthScope) {
        let row = row.into();
        // A position past 2^31 would need a body of 4 GiB.
        let position = i32::try_from(self.rows.len()).unwrap_or(i32::MAX);
        let out = &mut self.rows.bytes;
        tuple::start(out);
        for spec in columns::copied() {
            field(out, spec.column, &self.delivery, position, &row, scope);
        }
        self.rows.ends.push(out.len());
        self.rows.keys.push();
    }

    /// Gives the row that was pushed last its key, in a delivery whose rows have keys of their own.
    pub fn identify(&mut self, key: Uuid) {
        self.rows.keys.identify(key);
    }

    /// Bytes encoded so far, for a caller that bounds them: every row repeats the headers, so many
    /// small elements grow far beyond the body that they came in.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.rows.bytes.len()
    }

    /// Bytes that the keys of rows take besides.
    #[must_use]
    pub fn key_byte_len(&self) -> usize {
        self.rows.keys.byte_len()
    }

    /// The rows.
    #[must_use]
    pub fn finish(self) -> EncodedRows {
        self.rows
    }
}

/// Writes one field. The match is exhaustive, so that a new column cannot be forgotten here.
fn field(
    out: &mut Vec<u8>,
    column: Column,
    delivery: &DeliveryFields<'_>,
    position: i32,
    row: &Row<'_>,
    scope: AuthScope,
) {
    let envelope = row.envelope.unwrap_or(&NO_ENVELOPE);
    match column {
        Column::Bucket => tuple::integer(out, delivery.bucket),
        Column::Source => tuple::bytes(out, delivery.source.as_bytes()),
        Column::DeliveryId => tuple::bytes(out, delivery.delivery_id.as_bytes()),
        Column::Position => tuple::integer(out, position),
        Column::MessageId => tuple::optional_text(out, envelope.message_id.as_deref()),
        Column::Type => tuple::optional_text(out, envelope.r#type.as_deref()),
        Column::Event => tuple::optional_text(out, envelope.event.as_deref()),
        Column::UserId => tuple::optional_text(out, envelope.user_id.as_deref()),
        Column::AnonymousId => tuple::optional_text(out, envelope.anonymous_id.as_deref()),
        Column::Timestamp => {
            tuple::optional_timestamp(out, envelope.timestamp.map(|time| time.unix_micros()));
        }
        Column::OriginalTimestamp => {
            let time = envelope.original_timestamp;
            tuple::optional_timestamp(out, time.map(|time| time.unix_micros()));
        }
        Column::SentAt => {
            tuple::optional_timestamp(out, envelope.sent_at.map(|time| time.unix_micros()));
        }
        Column::AuthScope => tuple::bytes(out, scope.as_str().as_bytes()),
        Column::Headers => tuple::optional_jsonb(out, delivery.headers),
        Column::HeaderValues => tuple::optional_jsonb(out, delivery.header_values),
        Column::BodyJson => match row.body {
            RowBody::Json(json) => tuple::jsonb(out, json),
            RowBody::Text(_) | RowBody::Bytes => tuple::null(out),
        },
        Column::BodyText => match row.body {
            RowBody::Text(text) => tuple::bytes(out, text.as_bytes()),
            RowBody::Json(_) | RowBody::Bytes => tuple::null(out),
        },
        Column::Raw => match row.raw {
            Some(raw) => tuple::bytes(out, raw),
            None => tuple::null(out),
        },
        // Not in the COPY; the database's defaults fill them.
        Column::ReceivedAt | Column::Dup | Column::Unsettled => tuple::null(out),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rows::testing;

    const DELIVERY: DeliveryFields<'_> = DeliveryFields {
        bucket: 7,
        source: "default/segment",
        delivery_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
        headers: Some(r#"{"user-agent":"x"}"#),
        header_values: None,
    };

    fn encode(body: &str, scope: AuthScope) -> EncodedRows {
        testing::encode(DELIVERY, body, scope)
    }

    /// The fields of a row as a server reads them, independent of the encoder's own reader.
    fn read(rows: &EncodedRows, row: usize) -> HashMap<&'static str, Option<Vec<u8>>> {
        let mut tuple = rows.range(row..row + 1);
        let mut take = |count: usize| {
            let (head, rest) = tuple.split_at(count);
            tuple = rest;
            head.to_vec()
        };
        let count = i16::from_be_bytes(take(2).try_into().unwrap());
        assert_eq!(usize::try_from(count).unwrap(), columns::copied().count());
        let mut fields = HashMap::new();
        for spec in columns::copied() {
            let length = i32::from_be_bytes(take(4).try_into().unwrap());
            fields.insert(spec.name, usize::try_from(length).ok().map(&mut take));
        }
        assert!(tuple.is_empty());
        fields
    }

    #[test]
    fn a_row_holds_the_envelope_and_the_body() {
        let body = r#"{"messageId":"m1","type":"track","event":"Signed Up","userId":"u",
            "timestamp":"2000-01-01T00:00:01Z","sentAt":"soon"}"#;
        let fields = read(&encode(body, AuthScope::Request), 0);
        let text = |name: &str| {
            fields[name]
                .as_deref()
                .map(|bytes| std::str::from_utf8(bytes).unwrap())
        };
        assert_eq!(
            fields["bucket"].as_deref(),
            Some(7_i32.to_be_bytes().as_slice())
        );
        assert_eq!(text("source"), Some("default/segment"));
        assert_eq!(
            fields["delivery_id"].as_deref(),
            Some(DELIVERY.delivery_id.as_bytes().as_slice())
        );
        assert_eq!(text("message_id"), Some("m1"));
        assert_eq!(text("type"), Some("track"));
        assert_eq!(text("event"), Some("Signed Up"));
        assert_eq!(text("user_id"), Some("u"));
        assert_eq!(text("anonymous_id"), None);
        assert_eq!(
            fields["timestamp"].as_deref(),
            Some(1_000_000_i64.to_be_bytes().as_slice())
        );
        assert_eq!(fields["sent_at"], None);
        assert_eq!(text("auth_scope"), Some("request"));
        assert_eq!(text("headers"), Some("\u{1}{\"user-agent\":\"x\"}"));
        assert_eq!(text("header_values"), None);
        assert_eq!(text("body_json"), Some(format!("\u{1}{body}").as_str()));
        assert_eq!(text("raw"), None);
    }

    #[test]
    fn a_text_and_bytes_fill_their_own_columns() {
        let mut encoder = RowEncoder::new(DELIVERY, 0);
        let text = Row {
            body: RowBody::Text(""),
            raw: None,
            envelope: None,
        };
        let bytes = Row {
            body: RowBody::Bytes,
            raw: Some(b"\0\xff"),
            ..text
        };
        encoder.push(text, AuthScope::None);
        encoder.push(bytes, AuthScope::None);
        let rows = encoder.finish();
        let (text, bytes) = (read(&rows, 0), read(&rows, 1));
        assert_eq!(text["body_text"].as_deref(), Some(b"".as_slice()));
        assert_eq!(bytes["raw"].as_deref(), Some(b"\0\xff".as_slice()));
        for absent in [&text["body_json"], &text["raw"], &text["message_id"]] {
            assert_eq!(*absent, None);
        }
        for absent in [&bytes["body_json"], &bytes["body_text"], &bytes["sent_at"]] {
            assert_eq!(*absent, None);
        }
    }

    #[test]
    fn raw_is_kept_only_where_the_body_is_not_what_was_sent() {
        let rows = encode(r#"[ {"a":1} , {"a":"\u0000"} ]"#, AuthScope::Batch);
        assert_eq!(rows.len(), 2);
        let (clean, repaired) = (read(&rows, 0), read(&rows, 1));
        assert_eq!(clean["raw"], None);
        assert_eq!(
            repaired["raw"].as_deref(),
            Some(br#"{"a":"\u0000"}"#.as_slice())
        );
        assert_eq!(
            repaired["body_json"].as_deref(),
            Some(b"\x01{\"a\":\"\\ufffd\"}".as_slice())
        );
        assert_eq!(
            clean["position"].as_deref(),
            Some(0_i32.to_be_bytes().as_slice())
        );
        assert_eq!(
            repaired["position"].as_deref(),
            Some(1_i32.to_be_bytes().as_slice())
        );
    }

    #[test]
    fn no_column_is_copied_that_the_encoder_leaves_to_the_database() {
        for spec in columns::copied() {
            let left = matches!(
                spec.column,
                Column::ReceivedAt | Column::Dup | Column::Unsettled
            );
            assert!(!left, "{} needs an encoding", spec.name);
        }
    }

    #[test]
    fn each_row_has_its_key_or_none_and_keeps_it_in_quarantine() {
        let mut encoder = RowEncoder::new(DELIVERY, 0).keyed(Keys::of_rows(60));
        let row = Row {
            body: RowBody::Text(""),
            raw: None,
            envelope: None,
        };
        for key in [Some(1), None, Some(3)] {
            encoder.push(row, AuthScope::None);
            if let Some(key) = key {
                encoder.identify(Uuid::from_u128(key));
            }
        }
        assert!(encoder.key_byte_len() >= 3 * 16);
        let rows = encoder.finish();
        let keys = [Some(1), None, Some(3)].map(|key| key.map(Uuid::from_u128));
        let expected = Keys::Rows {
            keys: keys.to_vec(),
            window_seconds: 60,
        };
        assert_eq!(*rows.keys(), expected);
        assert_eq!(*rows.with_quarantined(|_| true).keys(), expected);
        let found: Vec<_> = rows.keys().iter().collect();
        let key = |key| (Uuid::from_u128(key), 60);
        assert_eq!(found, [key(1), key(3)]);
    }

    #[test]
    fn a_time_that_the_database_cannot_hold_is_null() {
        let mut out = Vec::new();
        tuple::optional_timestamp(&mut out, Some(i64::MIN));
        assert_eq!(out, (-1_i32).to_be_bytes());
    }
}
