//! From a body as received to rows ready for the database: verify, decode, encode.
//!
//! No waiting in here, so that a large body can be worked on elsewhere. Invariant: nothing of a
//! body is parsed before its signature is found valid, and no row leaves before the whole body is
//! found to be JSON.

use std::sync::Arc;
use std::time::SystemTime;

use hyper::HeaderMap;
use trunkline_model::document::{BodyFormat, Limits, SourceSettings};
use uuid::Uuid;

use super::body::ReadBody;
use super::budget::Reservation;
use super::headers;
use super::refusal::Refusal;
use crate::config::Route;
use crate::json::{ArrayRows, Elements};
use crate::rows::{DeliveryFields, EncodedRows, RowEncoder};
use crate::verify::{Verdict, verify};

/// Bound on the encoded rows of a request, in bodies of the largest size. Each row repeats the
/// request's headers, so a body of very many tiny elements would otherwise grow a hundredfold.
const MAX_ROWS_PER_BODY: usize = 8;

/// A request whose body has arrived.
pub(super) struct Delivery {
    route: Arc<Route>,
    headers: HeaderMap,
    body: ReadBody,
    limits: Limits,
}

/// Rows to commit.
pub(super) struct Prepared {
    pub(super) rows: EncodedRows,
    pub(super) events: u64,
    /// How many of the events have a repaired body.
    pub(super) repaired: u64,
    pub(super) reservation: Reservation,
}

impl Delivery {
    pub(super) fn new(
        route: Arc<Route>,
        headers: HeaderMap,
        body: ReadBody,
        limits: Limits,
    ) -> Self {
        Self {
            route,
            headers,
            body,
            limits,
        }
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body.bytes.len()
    }

    /// Does the work.
    pub(super) fn prepare(self) -> Result<Prepared, Refusal> {
        let Self {
            route,
            headers,
            body,
            limits,
        } = self;
        let settings = route
            .settings
            .as_ref()
            .map_err(|reason| Refusal::SourceUnavailable(reason.clone()))?;
        let verdict = verify(&settings.verification, &headers, &body.bytes, unix_now())?;
        let stored = headers::selected(&settings.include_headers, &headers);
        let values = headers::columns(&settings.header_columns, &headers);
        let fields = DeliveryFields {
            bucket: settings.bucket,
            source: &route.source,
            delivery_id: Uuid::now_v7(),
            headers: stored.as_deref(),
            header_values: values.as_deref(),
        };
        encode(fields, settings, verdict, body, limits)
    }
}

/// Seconds since 1970; 0 with a clock before that, at which no secret has expired.
fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or(0)
}

fn encode(
    fields: DeliveryFields<'_>,
    settings: &SourceSettings,
    verdict: Verdict,
    body: ReadBody,
    limits: Limits,
) -> Result<Prepared, Refusal> {
    let ReadBody {
        bytes,
        mut reservation,
    } = body;
    let BodyFormat::Json = settings.body;
    let is_split = settings.split_arrays;
    let arrays = if is_split {
        ArrayRows::Elements
    } else {
        ArrayRows::Whole
    };
    let limit = limits.max_body_bytes.saturating_mul(MAX_ROWS_PER_BODY);
    let mut encoder = RowEncoder::new(fields, bytes.len());
    let (mut events, mut repaired) = (0, 0);
    for (position, element) in Elements::new(&bytes, arrays)?.enumerate() {
        let element = element?;
        encoder.push(&element, verdict.scope(position, is_split));
        events += 1;
        repaired += u64::from(!element.exact);
        if encoder.byte_len() > limit {
            return Err(Refusal::RowsTooLarge { limit });
        }
        // The rows lie in a buffer that doubles when it is full.
        let held = encoder
            .byte_len()
            .saturating_mul(2)
            .saturating_add(bytes.len());
        reservation.cover(held).map_err(|_| Refusal::Overloaded)?;
    }
    Ok(Prepared {
        rows: encoder.finish(),
        events,
        repaired,
        reservation,
    })
}
