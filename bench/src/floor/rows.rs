//! From a body to rows as COPY takes them: verify, check, encode.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use hmac::{Hmac, Mac};
use hyper::HeaderMap;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha1::Sha1;
use trunkline_bench::routes::Source;
use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_model::columns::{self, Column};
use uuid::Uuid;

/// The version byte that `jsonb_recv` expects before the JSON text.
const JSONB_VERSION: u8 = 1;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const UNIX_TO_POSTGRES_MICROS: i64 = 946_684_800_000_000;

/// The fields that have columns. Reading them checks the rest of the JSON on the way, at the cost
/// of serde_json's `IgnoredAny`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    r#type: Option<Cow<'a, str>>,
    event: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    anonymous_id: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
    original_timestamp: Option<Cow<'a, str>>,
    sent_at: Option<Cow<'a, str>>,
}

/// The rows of a request; `None` when it is not signed or not JSON.
pub(crate) fn encode(
    key: &Hmac<Sha1>,
    source: &Source,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<BytesMut> {
    let text = std::str::from_utf8(body).ok()?;
    if memmem::find(body, br"\u0000").is_some() {
        return None;
    }
    let is_batch = text.starts_with('[');
    let elements = if is_batch {
        serde_json::from_str::<Vec<&RawValue>>(text).ok()?
    } else {
        Vec::new()
    };
    let elements: Vec<_> = elements.iter().map(|element| element.get()).collect();
    let elements = if is_batch { &*elements } else { &[text] };
    // Segment signs element 0 of a batch.
    verify(key, headers, elements.first()?.as_bytes())?;
    let delivery = Delivery {
        source,
        id: Uuid::now_v7(),
        headers: stored_headers(headers),
    };
    let mut rows = BytesMut::with_capacity(body.len() + 512 * elements.len());
    for (position, element) in elements.iter().enumerate() {
        let scope = match position {
            _ if !is_batch => "request",
            0 => "element",
            _ => "batch",
        };
        row(&mut rows, &delivery, position, element, scope)?;
    }
    Some(rows)
}

fn verify(key: &Hmac<Sha1>, headers: &HeaderMap, signed: &[u8]) -> Option<()> {
    let mut claimed = [0; 20];
    hex::decode_to_slice(headers.get(SIGNATURE_HEADER)?, &mut claimed).ok()?;
    let mut mac = key.clone();
    mac.update(signed);
    mac.verify_slice(&claimed).ok()
}

/// What the benchmark's sources store of the headers.
fn stored_headers(headers: &HeaderMap) -> String {
    let agent = headers.get(hyper::header::USER_AGENT);
    let agent = agent.map_or("", |agent| agent.to_str().unwrap_or_default());
    serde_json::json!({ "user-agent": agent }).to_string()
}

struct Delivery<'a> {
    source: &'a Source,
    id: Uuid,
    headers: String,
}

fn row(
    out: &mut BytesMut,
    delivery: &Delivery<'_>,
    position: usize,
    element: &str,
    scope: &str,
) -> Option<()> {
    let envelope: Envelope<'_> = serde_json::from_str(element).ok()?;
    out.put_i16(i16::try_from(columns::copied().count()).ok()?);
    for spec in columns::copied() {
        match spec.column {
            Column::Bucket => field(out, &delivery.source.bucket.to_be_bytes())?,
            Column::Source => field(out, delivery.source.name.as_bytes())?,
            Column::DeliveryId => field(out, delivery.id.as_bytes())?,
            Column::Position => field(out, &i32::try_from(position).ok()?.to_be_bytes())?,
            Column::MessageId => text(out, envelope.message_id.as_deref())?,
            Column::Type => text(out, envelope.r#type.as_deref())?,
            Column::Event => text(out, envelope.event.as_deref())?,
            Column::UserId => text(out, envelope.user_id.as_deref())?,
            Column::AnonymousId => text(out, envelope.anonymous_id.as_deref())?,
            Column::Timestamp => time(out, envelope.timestamp.as_deref())?,
            Column::OriginalTimestamp => time(out, envelope.original_timestamp.as_deref())?,
            Column::SentAt => time(out, envelope.sent_at.as_deref())?,
            Column::AuthScope => field(out, scope.as_bytes())?,
            Column::Headers => jsonb(out, &delivery.headers)?,
            Column::BodyJson => jsonb(out, element)?,
            Column::HeaderValues | Column::BodyText | Column::Raw => null(out),
            // Not in the COPY.
            Column::ReceivedAt | Column::Dup | Column::Unsettled => return None,
        }
    }
    Some(())
}

fn null(out: &mut BytesMut) {
    out.put_i32(-1);
}

fn field(out: &mut BytesMut, value: &[u8]) -> Option<()> {
    out.put_i32(i32::try_from(value.len()).ok()?);
    out.put_slice(value);
    Some(())
}

fn text(out: &mut BytesMut, value: Option<&str>) -> Option<()> {
    match value {
        Some(value) => field(out, value.as_bytes()),
        None => {
            null(out);
            Some(())
        }
    }
}

fn time(out: &mut BytesMut, value: Option<&str>) -> Option<()> {
    match value.and_then(|value| value.parse::<jiff::Timestamp>().ok()) {
        Some(time) => field(
            out,
            &(time.as_microsecond() - UNIX_TO_POSTGRES_MICROS).to_be_bytes(),
        ),
        None => {
            null(out);
            Some(())
        }
    }
}

fn jsonb(out: &mut BytesMut, json: &str) -> Option<()> {
    out.put_i32(i32::try_from(json.len() + 1).ok()?);
    out.put_u8(JSONB_VERSION);
    out.put_slice(json.as_bytes());
    Some(())
}
