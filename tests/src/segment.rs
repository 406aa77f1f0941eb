//! Segment's requests, signed.

use bytes::Bytes;
use trunkline_cli::segment::{Event, EventGenerator, sign};

/// A batch as Segment sends it.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The array.
    pub body: Bytes,
    /// The signature over element 0.
    pub signature: String,
}

/// The first `count` events of a seed.
#[must_use]
pub fn events(seed: u64, count: usize) -> Vec<Event> {
    let mut generator = EventGenerator::new(seed, jiff::Timestamp::now());
    (0..count).map(|_| generator.next_event()).collect()
}

/// An event alone: the body and its signature.
#[must_use]
pub fn signed_single(secret: &[u8], json: &str) -> (Bytes, String) {
    (Bytes::from(json.to_owned()), sign(secret, json.as_bytes()))
}

/// Elements as one array, signed over the first.
#[must_use]
pub fn signed_batch<T: AsRef<[u8]>>(secret: &[u8], elements: &[T]) -> Batch {
    let mut body = vec![b'['];
    for (position, element) in elements.iter().enumerate() {
        if position > 0 {
            body.push(b',');
        }
        body.extend_from_slice(element.as_ref());
    }
    body.push(b']');
    let first = elements.first().map(AsRef::as_ref).unwrap_or_default();
    Batch {
        body: body.into(),
        signature: sign(secret, first),
    }
}
