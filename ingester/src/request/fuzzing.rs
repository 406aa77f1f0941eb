//! What holds of any request behind its verification; see [`crate::fuzzing`].

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use trunkline_model::columns;
use trunkline_model::deduplication::{Deduplication, Identity};
use trunkline_model::document::Limits;
use trunkline_model::headers::{HeaderColumn, HeaderSelection};
use trunkline_model::redaction::{RedactAction, RedactedPath, Redaction};
use trunkline_model::request::{BodyFormat, HttpPolicy};
use trunkline_model::secret::SecretBytes;
use uuid::Uuid;

use super::budget::Budget;
use super::coding::Coding;
use super::decode::{self, Reading};
use super::refusal::Refusal;
use crate::identity::Identifier;
use crate::json::{ArrayRows, Elements};
use crate::redact::Redactor;
use crate::rows::{DeliveryFields, EncodedRows, Keys};
use crate::shapes::Noting;
use crate::verify::Verdict;

/// Bytes of a body, small so that a bomb is one at once.
const MAX_BODY_BYTES: usize = 64 << 10;

/// Bytes that may be reserved: what the largest body of the worst kind takes.
const BYTES_IN_FLIGHT: usize = 64 << 20;

/// A body that decompresses is within the limit, whatever was sent. The first byte chooses the
/// coding.
pub fn decompress(data: &[u8]) {
    let Some((choice, wire)) = data.split_first() else {
        return;
    };
    let codings = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];
    let Some(coding) = codings.into_iter().cycle().nth(usize::from(*choice)) else {
        return;
    };
    let budget = Arc::new(Budget::default());
    let mut reservation = budget.open_alone(BYTES_IN_FLIGHT);
    match super::decompress::decompress(coding, wire, MAX_BODY_BYTES, &mut reservation) {
        Ok(body) => assert!(body.len() <= MAX_BODY_BYTES, "{} bytes", body.len()),
        Err(refusal) => assert!(
            matches!(
                refusal,
                Refusal::NotDecompressible(_) | Refusal::BodyTooLarge { .. } | Refusal::Overloaded
            ),
            "{refusal:?}"
        ),
    }
    drop(reservation);
    assert_eq!(budget.used(), 0, "a reservation is kept");
}

/// A form is the text of one JSON object, within what was reserved for it.
pub fn form(body: &[u8]) {
    let Ok(form) = super::form::read(body) else {
        return;
    };
    assert!(form.json.len() <= super::form::held(body).max(2), "held");
    let rows = Elements::new(form.json.as_bytes(), ArrayRows::Whole)
        .map(|elements| elements.collect::<Result<Vec<_>, _>>());
    match rows {
        Ok(Ok(rows)) => assert_eq!(rows.len(), 1, "rows of a form"),
        other => panic!("a form is {other:?}"),
    }
}

/// Headers that were received become JSON, or the request is refused. Lines of `name:value`.
pub fn headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Ok(Some(coding)) = Coding::of(&headers) {
        assert!(headers.contains_key(CONTENT_ENCODING), "{coding:?}");
    }
    let all = HeaderSelection {
        all: true,
        ..HeaderSelection::default()
    };
    let bytes = |bytes| HeaderColumn {
        name: "x".to_owned(),
        column: if bytes { "b" } else { "t" }.to_owned(),
        bytes,
    };
    let stored = super::headers::selected(&all, &headers);
    let values = super::headers::columns(&[bytes(true), bytes(false)], &headers);
    for json in stored.iter().chain(&values) {
        let is_json = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json);
        assert!(is_json.is_ok(), "{json}");
    }
    let policy = HttpPolicy::default();
    let _ = super::cors::CorsHeaders::of(&policy, &headers);
}

/// Rows are whole tuples of COPY in every format, and so are those that go into quarantine; events
/// are looked at for shapes, and have a place for their keys. The first byte chooses the format, and whether something is redacted.
pub fn rows(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let formats = [
        (BodyFormat::Json, true),
        (BodyFormat::Json, false),
        (BodyFormat::Text, false),
        (BodyFormat::Bytes, false),
        (BodyFormat::Form, false),
    ];
    let Some((format, is_split)) = formats.into_iter().cycle().nth(usize::from(*choice)) else {
        return;
    };
    let redactor = (*choice >= 128).then(redactor).flatten();
    let limits = Limits {
        max_body_bytes: MAX_BODY_BYTES,
        bytes_in_flight: BYTES_IN_FLIGHT,
        writers: 1,
        max_connections: None,
    };
    let fields = DeliveryFields {
        bucket: 1,
        source: "namespace/name",
        delivery_id: Uuid::nil(),
        headers: None,
        header_values: None,
    };
    let budget = Arc::new(Budget::default());
    let reservation = budget.open_alone(BYTES_IN_FLIGHT);
    let shapes = Arc::default();
    let identifier = identifier();
    let reading = Reading {
        format,
        is_split,
        redactor: redactor.as_ref(),
        identifier: Some(&identifier),
        keys: identifier.delivery(&HeaderMap::new(), body),
        noting: Some(Noting::new(&shapes, &"namespace/name".into())),
    };
    let encoded = decode::encode(
        fields,
        reading,
        Verdict::Unchecked,
        body,
        limits,
        reservation,
    );
    if let Ok(prepared) = encoded {
        assert_eq!(prepared.events, prepared.rows.len() as u64, "events");
        match prepared.rows.keys() {
            Keys::Rows { keys, .. } => assert_eq!(keys.len(), prepared.rows.len(), "keys"),
            keys => panic!("{keys:?}"),
        }
        whole_tuples(&prepared.rows);
        whole_tuples(&prepared.rows.with_quarantined(|_| true));
    }
    assert_eq!(budget.used(), 0, "a reservation is kept");
}

/// Tells events by a path that is short enough to be met by chance.
fn identifier() -> Identifier {
    let deduplication = Deduplication {
        by: Identity::Path {
            keys: vec!["a".to_owned(), "0".to_owned()],
        },
        window_seconds: 1,
    };
    Identifier::new("namespace/name", 1, &deduplication)
}

/// Takes out what the seeds have, and keys that are short enough to be met by chance.
fn redactor() -> Option<Redactor> {
    let path = |keys: &[&str], action| RedactedPath {
        path: keys.iter().map(|key| (*key).to_owned()).collect(),
        action,
    };
    let redaction = Redaction {
        paths: vec![
            path(&["userId"], RedactAction::Hash),
            path(&["context", "*"], RedactAction::Drop),
            path(&["properties", "*", "*"], RedactAction::Hash),
            path(&["a"], RedactAction::Drop),
            path(&["0", "b"], RedactAction::Hash),
        ],
        key: Some(SecretBytes::new("key")),
    };
    Redactor::new(&redaction).ok()
}

/// Every row has its fields and nothing behind them.
fn whole_tuples(rows: &EncodedRows) {
    let columns = columns::copied().count();
    for row in 0..rows.len() {
        let tuple = rows.range(row..row + 1);
        let count = tuple.first_chunk().map(|count| i16::from_be_bytes(*count));
        assert_eq!(count.map(usize::try_from), Some(Ok(columns)), "count");
        let mut rest = tuple.get(2..).unwrap_or_default();
        for _ in 0..columns {
            let Some((length, after)) = rest.split_first_chunk() else {
                panic!("a field is missing");
            };
            // -1 is NULL, which has no bytes.
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
            rest = after
                .get(length..)
                .unwrap_or_else(|| panic!("a field is cut"));
        }
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
    }
}
