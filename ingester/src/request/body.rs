//! Reads a body within its bounds, or past them just enough that its sender reads the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use tokio::time::timeout;
use trunkline_model::document::Limits;

use super::budget::Reservation;
use super::coding::Coding;
use super::refusal::Refusal;
use crate::config::Routing;

/// Time from the headers of a request to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time in which what a refused request still sends is discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What is discarded of a refused request, in bodies of the largest size.
const DISCARD_BODIES: usize = 2;

/// What is discarded while no configuration sets a largest size, in bytes.
const DISCARD_BYTES: usize = 16 << 20;

/// What a request holds for each byte of its body: the body, and its rows in a buffer that may have
/// doubled to take their last byte.
const HELD_PER_BODY_BYTE: usize = 3;

/// What a request holds besides: its headers, its task, and what a row adds to its body.
const HELD_PER_REQUEST: usize = 8 << 10;

/// A body as it arrived, and the memory that is reserved for it and for its rows.
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    /// How the bytes are coded.
    pub(super) coding: Option<Coding>,
    pub(super) reservation: Reservation,
}

/// Bytes that a request with such a body holds until its commit.
pub(super) fn held(body_bytes: usize) -> usize {
    body_bytes
        .saturating_mul(HELD_PER_BODY_BYTE)
        .saturating_add(HELD_PER_REQUEST)
}

/// Refuses a body whose end a proxy in front may see elsewhere. hyper has refused what does not end
/// in `chunked`, and passes by what comes before it: another coding, which nobody would undo, or
/// `chunked` once more (RFC 9112 §6.1 forbids it).
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    is_plain.then_some(()).ok_or(Refusal::TransferEncoding)
}

/// Reads a body.
pub(super) async fn read(
    incoming: &mut Incoming,
    coding: Option<Coding>,
    limits: &Limits,
    mut reservation: Reservation,
) -> Result<ReadBody, Refusal> {
    let limit = limits.max_body_bytes;
    let announced = incoming.size_hint().exact().map(usize::try_from);
    let announced = match announced {
        Some(Ok(bytes)) if bytes <= limit => bytes,
        Some(_) => return Err(Refusal::BodyTooLarge { limit }),
        None => 0,
    };
    reservation.cover(held(announced))?;
    let bytes = timeout(
        BODY_TIMEOUT,
        collect(incoming, announced, limit, &mut reservation),
    )
    .await
    .map_err(|_| Refusal::BodyTimeout)??;
    Ok(ReadBody {
        bytes,
        coding,
        reservation,
    })
}

async fn collect(
    incoming: &mut Incoming,
    announced: usize,
    limit: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyAborted)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let read = whole.len() + data.len();
        if read > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if whole.is_empty() && data.len() == announced {
            // The usual case: the whole body in one piece, not copied.
            return Ok(data);
        }
        reservation.cover(held(read))?;
        whole.reserve(announced.saturating_sub(whole.len()).max(data.len()));
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Discards what a refused request still sends, within bounds: a connection that is closed with
/// unread bytes is reset, and the reset overtakes the answer.
pub(super) async fn discard(head: &Parts, incoming: &mut Incoming, routing: Option<&Routing>) {
    // A sender that waits for our leave sends nothing, and reading would give it.
    if incoming.is_end_stream() || head.headers.contains_key(EXPECT) {
        return;
    }
    let mut left = routing.map_or(DISCARD_BYTES, |routing| {
        routing.limits.max_body_bytes.saturating_mul(DISCARD_BODIES)
    });
    let drain = async {
        while let Some(Ok(frame)) = incoming.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // What does not end in time is cut off.
    let _ = timeout(DISCARD_TIMEOUT, drain).await;
}
