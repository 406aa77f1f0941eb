//! From a body as received to rows ready for the database: verify, decode, encode.
//!
//! No waiting in here, so that a large body can be worked on elsewhere. Invariant: nothing of a
//! body is parsed before its signature is found valid; it is only decompressed.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::HeaderMap;
use trunkline_model::document::Limits;
use trunkline_model::verification::{Mode, Verification};
use uuid::Uuid;

use super::body::{ReadBody, held};
use super::budget::Reservation;
use super::decode::{Reading, encode};
use super::decompress::decompress;
use super::headers;
use super::refusal::Refusal;
use super::source_use::SourceUse;
use super::trace::Trace;
use crate::config::Route;
use crate::rows::{DeliveryFields, EncodedRows};
use crate::shapes::{News, Noting};
use crate::verify::{Unverified, Verdict, verify};

/// A body above this is verified, decoded and encoded (up to some 50 ms of work) off the threads
/// that serve the other connections.
const LARGE_BODY_BYTES: usize = 256 << 10;

/// The same of a source that redacts: a hash of each number of an array takes ten times as long.
const LARGE_REDACTED_BYTES: usize = 32 << 10;

/// A request whose body has arrived.
pub(super) struct Delivery {
    route: Arc<Route>,
    headers: HeaderMap,
    body: ReadBody,
    limits: Limits,
    trace: Trace,
}

/// Rows to commit.
pub(super) struct Prepared {
    pub(super) rows: EncodedRows,
    pub(super) events: u64,
    /// How many of the events have a repaired body.
    pub(super) repaired: u64,
    /// Why it would have been refused by a source that enforces verification.
    pub(super) unverified: Option<Unverified>,
    /// What the events show that was not noted before.
    pub(super) news: Option<News>,
    pub(super) reservation: Reservation,
}

impl Delivery {
    pub(super) fn new(
        route: Arc<Route>,
        headers: HeaderMap,
        body: ReadBody,
        limits: Limits,
        trace: &Trace,
    ) -> Self {
        Self {
            route,
            headers,
            body,
            limits,
            trace: trace.clone(),
        }
    }

    /// What its source uses.
    pub(super) fn in_use(&self) -> &Arc<SourceUse> {
        &self.route.in_use
    }

    /// Whether it is too much work for a thread that serves other connections. Of a compressed
    /// body nobody knows.
    pub(super) fn is_large(&self) -> bool {
        let large = match self.route.redactor {
            None => LARGE_BODY_BYTES,
            Some(_) => LARGE_REDACTED_BYTES,
        };
        self.body.coding.is_some() || self.body.bytes.len() > large
    }

    /// Does the work.
    pub(super) fn prepare(self) -> Result<Prepared, Refusal> {
        let Self {
            route,
            headers,
            body,
            limits,
            trace,
        } = self;
        trace.phase("verify");
        let settings = route
            .settings
            .as_ref()
            .map_err(|reason| Refusal::SourceUnavailable(reason.clone()))?;
        let ReadBody {
            bytes,
            coding,
            mut reservation,
        } = body;
        let (body, wire) = match coding {
            None => (bytes, None),
            Some(coding) => {
                let limit = limits.max_body_bytes;
                let body = decompress(coding, &bytes, limit, &mut reservation)?;
                (Bytes::from(body), Some(bytes))
            }
        };
        let verified = verify_any(&settings.verification, &headers, &body, wire.as_deref());
        let verdict = match (verified, settings.verification.mode()) {
            (Ok(verdict), _) => verdict,
            (Err(reason), Mode::ReportOnly) => Verdict::Failed(reason),
            (Err(reason), Mode::Enforce) => return Err(reason.into()),
        };
        // Not before, or a stranger could use the limit up.
        if let Some(limit) = settings.rate_limit {
            let admitted = route.in_use.rate.admit(limit);
            admitted.map_err(|wait| Refusal::RateLimited { wait })?;
        }
        if wire.is_some() {
            drop(wire);
            reservation.shrink(held(body.len()));
        }
        trace.phase("decode");
        let stored = headers::selected(&settings.include_headers, &headers);
        let values = headers::columns(&settings.header_columns, &headers);
        let fields = DeliveryFields {
            bucket: settings.bucket,
            source: &route.source,
            delivery_id: Uuid::now_v7(),
            headers: stored.as_deref(),
            header_values: values.as_deref(),
        };
        let identifier = route.identifier.as_ref();
        let keys = identifier.map(|it| it.delivery(&headers, &body));
        let shapes = route.shapes.as_ref();
        let noting = shapes.map(|shapes| Noting::new(shapes, &route.source));
        let reading = Reading {
            format: settings.body,
            is_split: settings.split_arrays,
            redactor: route.redactor.as_ref(),
            identifier,
            keys: keys.unwrap_or_default(),
            noting,
        };
        encode(fields, reading, verdict, &body, limits, reservation)
    }
}

/// Checks the body, and with a coding the bytes on the wire as well: senders sign either.
fn verify_any(
    verification: &Verification,
    headers: &HeaderMap,
    body: &[u8],
    wire: Option<&[u8]>,
) -> Result<Verdict, Unverified> {
    let now = unix_now();
    match (verify(verification, headers, body, now), wire) {
        (Err(Unverified::Mismatch), Some(wire)) => verify(verification, headers, wire, now),
        (verdict, _) => verdict,
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
