//! The grammar of RFC 8259 as a loop: finds the end of a value and tells a visitor its tokens.
//!
//! Strict: whatever the RFC does not allow is a fault. serde_json's scanner is not used because it
//! gives no raw slices of keys, cannot say what jsonb would refuse, and builds or recurses.
//!
//! Invariants: no recursion, so no body overflows the stack; time is linear in the bytes scanned;
//! memory is one bit per level of nesting. The scanner does not look at UTF-8: its caller does.

use super::error::{Fault, FaultAt};
use super::number::{self, Number};
use super::strings::{self, StringToken};

/// What a scanner tells about a value, in the order of the text. Every method does nothing unless
/// overridden, so that `()` is the visitor that only validates.
pub(crate) trait Visitor {
    /// An object opens; `start` is the offset of its brace.
    fn open_object(&mut self, _start: usize) {}
    /// An object is complete; `end` is the offset after its brace.
    fn close_object(&mut self, _end: usize) {}
    /// An array opens; `start` is the offset of its bracket.
    fn open_array(&mut self, _start: usize) {}
    /// An array is complete; `end` is the offset after its bracket.
    fn close_array(&mut self, _end: usize) {}
    /// The key of the member whose value comes next.
    fn key(&mut self, _key: StringToken) {}
    /// A string value.
    fn string(&mut self, _string: StringToken) {}
    /// A number.
    fn number(&mut self, _number: Number) {}
    /// `true` or `false`, as offsets.
    fn boolean(&mut self, _start: usize, _end: usize) {}
    /// `null`, as offsets.
    fn null(&mut self, _start: usize, _end: usize) {}
}

impl Visitor for () {}

/// Scans the value that begins at `start` and returns the offset behind it. Nothing is known of what
/// follows.
///
/// One function with its state in locals, and free functions from an offset to an offset: the next
/// byte's place depends on the one before it, and a round trip through memory would be felt.
pub(super) fn value(
    body: &[u8],
    start: usize,
    visitor: &mut impl Visitor,
) -> Result<usize, FaultAt> {
    let fault = |fault, offset| Err(FaultAt::new(fault, offset, body));
    let mut open = OpenContainers::default();
    let mut offset = start;
    loop {
        // Here begins a member of an object, an element of an array, or the value itself.
        if open.innermost() == Some(Container::Object) {
            offset = key(body, offset, visitor)?;
        }
        match body.get(offset) {
            Some(b'"') => {
                let token = strings::scan(body, offset)?;
                offset = token.end + 1;
                visitor.string(token);
            }
            Some(b'{') => {
                visitor.open_object(offset);
                offset = skip_whitespace(body, offset + 1);
                if body.get(offset) != Some(&b'}') {
                    open.push(Container::Object);
                    continue;
                }
                offset += 1;
                visitor.close_object(offset);
            }
            Some(b'[') => {
                visitor.open_array(offset);
                offset = skip_whitespace(body, offset + 1);
                if body.get(offset) != Some(&b']') {
                    open.push(Container::Array);
                    continue;
                }
                offset += 1;
                visitor.close_array(offset);
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = number::scan(body, offset)?;
                offset = number.end;
                visitor.number(number);
            }
            Some(b't') => {
                let end = literal(body, offset, b"true")?;
                visitor.boolean(offset, end);
                offset = end;
            }
            Some(b'f') => {
                let end = literal(body, offset, b"false")?;
                visitor.boolean(offset, end);
                offset = end;
            }
            Some(b'n') => {
                let end = literal(body, offset, b"null")?;
                visitor.null(offset, end);
                offset = end;
            }
            _ => return fault(Fault::Value, offset),
        }
        // A value is complete; the containers around it say what may follow.
        loop {
            let Some(container) = open.innermost() else {
                return Ok(offset);
            };
            offset = skip_whitespace(body, offset);
            match (body.get(offset), container) {
                (Some(b','), _) => {
                    offset = skip_whitespace(body, offset + 1);
                    break;
                }
                (Some(b'}'), Container::Object) => {
                    offset += 1;
                    visitor.close_object(offset);
                }
                (Some(b']'), Container::Array) => {
                    offset += 1;
                    visitor.close_array(offset);
                }
                (_, Container::Object) => return fault(Fault::ObjectEnd, offset),
                (_, Container::Array) => return fault(Fault::ArrayEnd, offset),
            }
            open.pop();
        }
    }
}

/// The offset of the first byte at or after `offset` that is no whitespace, or the body's length.
#[inline]
pub(super) fn skip_whitespace(body: &[u8], mut offset: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = body.get(offset) {
        offset += 1;
    }
    offset
}

/// Scans a key and its colon; returns where its value begins.
#[inline]
fn key(body: &[u8], offset: usize, visitor: &mut impl Visitor) -> Result<usize, FaultAt> {
    if body.get(offset) != Some(&b'"') {
        return Err(FaultAt::new(Fault::Key, offset, body));
    }
    let token = strings::scan(body, offset)?;
    visitor.key(token);
    let colon = skip_whitespace(body, token.end + 1);
    if body.get(colon) != Some(&b':') {
        return Err(FaultAt::new(Fault::Colon, colon, body));
    }
    Ok(skip_whitespace(body, colon + 1))
}

/// Scans one of the three words; returns the offset behind it.
#[inline]
fn literal(body: &[u8], offset: usize, word: &[u8]) -> Result<usize, FaultAt> {
    let rest = body.get(offset..).unwrap_or_default();
    if rest.starts_with(word) {
        return Ok(offset + word.len());
    }
    let same = rest.iter().zip(word).take_while(|(a, b)| a == b).count();
    Err(FaultAt::new(Fault::Literal, offset + same, body))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

/// The containers around the scanner's position: one bit each, 64 of them without an allocation.
#[derive(Debug, Default)]
struct OpenContainers {
    /// The innermost ones, a set bit for an object, the innermost lowest.
    recent: u64,
    /// The outer ones, 64 to a word.
    outer: Vec<u64>,
    depth: usize,
}

impl OpenContainers {
    #[inline]
    fn push(&mut self, container: Container) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.outer.push(self.recent);
        }
        self.recent = self.recent << 1 | u64::from(container == Container::Object);
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
        self.recent >>= 1;
        if self.depth.is_multiple_of(64)
            && let Some(outer) = self.outer.pop()
        {
            self.recent = outer;
        }
    }

    #[inline]
    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.recent & 1) {
            (0, _) => None,
            (_, 1) => Some(Container::Object),
            _ => Some(Container::Array),
        }
    }
}
