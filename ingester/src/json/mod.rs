//! Decodes a webhook's body into rows, in one pass over its bytes.
//!
//! The pass validates against RFC 8259, cuts the body into elements, finds the envelope's fields,
//! and repairs what JSON allows but PostgreSQL's jsonb refuses, so that one row cannot fail the
//! COPY that it shares with others.
//!
//! Invariants: a body is taken whole or refused whole. An element's `body` is accepted by jsonb; a
//! body that was fine as sent is borrowed, never copied. No body overflows the stack or takes more
//! than linear time, except that the keys of an object are sorted. Messages quote no content.

mod element;
mod envelope;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod hash;
mod keys;
mod number;
mod outline;
mod repair;
mod scan;
mod step;
mod strings;
#[cfg(test)]
mod tests;
mod timestamp;

use std::borrow::Cow;
use std::iter::FusedIterator;

pub use element::MAX_DEPTH;
pub use envelope::Envelope;
pub use error::{Fault, InvalidJson};
pub(crate) use number::Number;
pub(crate) use outline::{Field, Kind, Outline, Root};
pub(crate) use scan::Visitor;
pub(crate) use step::Step;
pub(crate) use strings::{StringToken, decode as decode_string};
pub use timestamp::Timestamp;

use error::FaultAt;
use keys::Keys;

/// Whether elements of a top-level array are rows of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayRows {
    /// A top-level array is one row.
    Whole,
    /// Each element of a top-level array is a row; an array within it stays in its row.
    Elements,
}

/// A JSON value that becomes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element<'a> {
    /// The bytes of the value as sent, without whitespace around it.
    pub text: &'a [u8],
    /// JSON text that jsonb accepts: `text` itself wherever that is possible.
    ///
    /// Otherwise `\u0000` and lone surrogates, in values and keys, are `\ufffd`; a number that is
    /// outside numeric, or that its exponent would blow up to more than 1,000 digits, is a string
    /// of the number as sent; what is nested deeper than [`MAX_DEPTH`] is a string of its JSON.
    pub body: Cow<'a, str>,
    /// False when jsonb will not hold all that was sent: `body` is repaired, or an object has a
    /// key twice, of which jsonb keeps the last.
    pub exact: bool,
    /// The fields that have columns of their own.
    pub envelope: Envelope<'a>,
}

/// Decodes a body into its rows.
///
/// A body is a stream of JSON values (so NDJSON needs no option); each is a row, or each element
/// of it with [`ArrayRows::Elements`]. Whitespace between two values is needed only after a number
/// or literal that a value other than a string, array or object follows, as in serde_json's
/// `StreamDeserializer`. An empty body has no rows.
///
/// A row costs about 200 bytes beyond the body, so a body of `1 1 1 …` grows a hundredfold;
/// [`Elements`] holds one at a time.
///
/// # Errors
/// [`InvalidJson`] when any byte of the body is not JSON.
pub fn decode(body: &[u8], rows: ArrayRows) -> Result<Vec<Element<'_>>, InvalidJson> {
    Elements::new(body, rows)?.collect()
}

/// The first element of a body that is a top-level array, as sent: what Segment signs of a batch.
///
/// What follows the element's comma is not looked at, except that the body's last byte must close
/// an array: [`decode`] decides about it later. `None` when the body is no array, or an empty one, or
/// something follows the array's end, or when the first element is not JSON.
#[must_use]
pub fn first_element(body: &[u8]) -> Option<&[u8]> {
    let last = body
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
    let open = scan::skip_whitespace(body, 0);
    if (body.get(open), body.get(last)) != (Some(&b'['), Some(&b']')) {
        return None;
    }
    let start = scan::skip_whitespace(body, open + 1);
    let end = scan::value(body, start, &mut ()).ok()?;
    let next = scan::skip_whitespace(body, end);
    let element = body.get(start..end)?;
    let is_first = body.get(next) == Some(&b',') || next == last;
    (is_first && std::str::from_utf8(element).is_ok()).then_some(element)
}

/// A body as text.
///
/// # Errors
/// [`InvalidJson`] when it is not UTF-8.
pub(crate) fn text(body: &[u8]) -> Result<&str, InvalidJson> {
    std::str::from_utf8(body).map_err(|error| {
        FaultAt {
            fault: Fault::Utf8,
            offset: error.valid_up_to(),
        }
        .locate(body)
    })
}

/// Tells a visitor of what a text that begins with a value consists.
///
/// # Errors
/// [`InvalidJson`] when it does not begin with one; the visitor has heard of what was before.
pub(crate) fn visit(text: &str, visitor: &mut impl Visitor) -> Result<(), InvalidJson> {
    let body = text.as_bytes();
    let end = scan::value(body, 0, visitor);
    end.map(|_| ()).map_err(|fault| fault.locate(body))
}

/// The elements of a body, decoded one after another; nothing follows an error.
///
/// A body must be refused whole, so an element counts only once the iterator has ended without an
/// error.
#[derive(Debug)]
pub struct Elements<'a> {
    body: &'a str,
    /// Where the next value begins, or whitespace before it.
    offset: usize,
    keys: Keys,
    /// Of the element that came last, when it is asked for.
    outline: Option<Box<Outline>>,
    rows: ArrayRows,
    place: Place,
}

/// Where an [`Elements`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between two values of the stream.
    Stream,
    /// Before an element of a top-level array.
    Array,
    /// At the end, or behind an error.
    Done,
}

impl<'a> Elements<'a> {
    /// Begins to decode a body; see [`decode`].
    ///
    /// # Errors
    /// [`InvalidJson`] when the body is not UTF-8.
    pub fn new(body: &'a [u8], rows: ArrayRows) -> Result<Self, InvalidJson> {
        Ok(Self {
            body: text(body)?,
            offset: 0,
            keys: Keys::new(),
            outline: None,
            rows,
            place: Place::Stream,
        })
    }

    /// Keeps an outline of each element.
    pub(crate) fn outlined(mut self) -> Self {
        self.outline = Some(Box::new(Outline::new()));
        self
    }

    /// The outline of the element that came last, and what its places are in.
    pub(crate) fn outline(&self) -> Option<(&Outline, &'a str)> {
        self.outline.as_deref().map(|outline| (outline, self.body))
    }

    /// Scans the value at the offset.
    fn scan(&mut self) -> Result<Element<'a>, FaultAt> {
        let (body, start, keys) = (self.body, self.offset, &mut self.keys);
        match &mut self.outline {
            None => element::scan(body, start, keys, &mut ()),
            Some(outline) => element::scan(body, start, keys, &mut **outline),
        }
    }

    fn advance(&mut self) -> Result<Option<Element<'a>>, FaultAt> {
        let body = self.body.as_bytes();
        loop {
            self.offset = scan::skip_whitespace(body, self.offset);
            if self.place == Place::Array {
                return self.array_element().map(Some);
            }
            match (body.get(self.offset), self.rows) {
                (None, _) => return Ok(None),
                (Some(b'['), ArrayRows::Elements) => {
                    self.offset = scan::skip_whitespace(body, self.offset + 1);
                    if body.get(self.offset) == Some(&b']') {
                        self.offset += 1;
                    } else {
                        self.place = Place::Array;
                    }
                }
                (Some(_), _) => return self.stream_value().map(Some),
            }
        }
    }

    fn stream_value(&mut self) -> Result<Element<'a>, FaultAt> {
        let body = self.body.as_bytes();
        let element = self.scan()?;
        let end = self.offset + element.text.len();
        let delimits_itself = matches!(element.text.last(), Some(b'"' | b']' | b'}'));
        match body.get(end) {
            None | Some(b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'[' | b'{') => {}
            Some(_) if delimits_itself => {}
            Some(_) => return Err(FaultAt::new(Fault::Separator, end, body)),
        }
        self.offset = end;
        Ok(element)
    }

    fn array_element(&mut self) -> Result<Element<'a>, FaultAt> {
        let body = self.body.as_bytes();
        let element = self.scan()?;
        let end = self.offset + element.text.len();
        let next = scan::skip_whitespace(body, end);
        match body.get(next) {
            Some(b',') => {}
            Some(b']') => self.place = Place::Stream,
            _ => return Err(FaultAt::new(Fault::ArrayEnd, next, body)),
        }
        self.offset = next + 1;
        Ok(element)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, InvalidJson>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.place == Place::Done {
            return None;
        }
        match self.advance() {
            Ok(Some(element)) => Some(Ok(element)),
            Ok(None) => {
                self.place = Place::Done;
                None
            }
            Err(fault) => {
                self.place = Place::Done;
                Some(Err(fault.locate(self.body.as_bytes())))
            }
        }
    }
}

impl FusedIterator for Elements<'_> {}
