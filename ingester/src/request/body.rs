//! Reads a body within its bounds, or past them just enough that its sender reads the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use tokio::time::{Instant, timeout, timeout_at};
use trunkline_model::document::Limits;

use super::budget::Reservation;
use super::coding::Coding;
use super::refusal::Refusal;
use crate::config::Routing;
use crate::server::Timeouts;

/// What is reserved at once, in bytes of a body: what was announced is not here yet, and its sender may
/// never send it.
const RESERVE_STEP: usize = 16 << 10;

/// Time in which what a refused request still sends is discarded.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What is discarded of a refused request, in bodies of the largest size.
const DISCARD_BODIES: usize = 2;

/// What is discarded while no configuration sets a largest size, in bytes.
const DISCARD_BYTES: usize = 16 << 20;

/// What a request holds for each byte of its body: the body, and its rows in a buffer that may have
/// doubled to take their last byte.
const HELD_PER_BODY_BYTE: usize = 3;

/// What a request holds besides, its headers apart: its task, and what a row adds to its body.
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

/// Bytes that the headers of a request hold. Under HTTP/2 requests are many more than connections.
fn headers_held(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
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

/// Reads a body. It is given time as long as it arrives at the pace of `timeouts`.
pub(super) async fn read(
    incoming: &mut Incoming,
    headers: &HeaderMap,
    coding: Option<Coding>,
    limits: &Limits,
    reservation: Reservation,
    timeouts: &Timeouts,
) -> Result<ReadBody, Refusal> {
    let limit = limits.max_body_bytes;
    let announced = match incoming.size_hint().exact().map(usize::try_from) {
        Some(Ok(bytes)) if bytes <= limit => Some(bytes),
        Some(_) => return Err(Refusal::BodyTooLarge { limit }),
        None => None,
    };
    let mut reader = Reader {
        begun: Instant::now(),
        largest: announced.unwrap_or(limit),
        whole: BytesMut::new(),
        headers: headers_held(headers),
        reserved: 0,
        reservation,
    };
    reader.reserve(RESERVE_STEP.min(reader.largest))?;
    while let Some(data) = reader.next(incoming, timeouts).await? {
        let read = reader.whole.len() + data.len();
        if read > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        reader.make_room(read)?;
        if reader.whole.is_empty() && announced == Some(read) {
            // The usual case: the whole body in one piece, not copied.
            return Ok(reader.done(data, coding));
        }
        reader.append(&data);
    }
    let whole = std::mem::take(&mut reader.whole).freeze();
    Ok(reader.done(whole, coding))
}

/// A body of which a part has arrived.
struct Reader {
    begun: Instant,
    /// How large it becomes at most, in bytes.
    largest: usize,
    whole: BytesMut,
    /// What the headers hold, in bytes.
    headers: usize,
    /// For how many of its bytes memory is reserved.
    reserved: usize,
    reservation: Reservation,
}

impl Reader {
    /// Waits for the next piece, and no longer than the pace allows.
    async fn next(
        &self,
        incoming: &mut Incoming,
        timeouts: &Timeouts,
    ) -> Result<Option<Bytes>, Refusal> {
        let deadline = self.begun + timeouts.body_patience(self.whole.len());
        loop {
            let frame = timeout_at(deadline, incoming.frame()).await;
            let Some(frame) = frame.map_err(|_| Refusal::BodyTimeout)? else {
                return Ok(None);
            };
            let frame = frame.map_err(|_| Refusal::BodyAborted)?;
            // Trailers are read past.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// Makes sure of the memory for this many bytes, and for what the next reads may bring.
    fn make_room(&mut self, read: usize) -> Result<(), Refusal> {
        if read <= self.reserved {
            return Ok(());
        }
        self.reserve(
            read.saturating_add(RESERVE_STEP)
                .min(self.largest)
                .max(read),
        )
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.reservation
            .cover(held(bytes).saturating_add(self.headers))?;
        self.reserved = bytes;
        Ok(())
    }

    /// Appends a piece. The buffer doubles, so that what was announced and does not come takes no
    /// memory either.
    fn append(&mut self, data: &[u8]) {
        let missing = self.largest.saturating_sub(self.whole.len());
        let ahead = self.whole.len().max(RESERVE_STEP).min(missing);
        self.whole.reserve(ahead.max(data.len()));
        self.whole.extend_from_slice(data);
    }

    fn done(mut self, bytes: Bytes, coding: Option<Coding>) -> ReadBody {
        if bytes.len() < self.reserved {
            self.reservation.shrink(held(bytes.len()));
        }
        ReadBody {
            bytes,
            coding,
            reservation: self.reservation,
        }
    }
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
