//! Makes an element of a value's tokens: what must be repaired, which keys occur twice, the
//! envelope.
//!
//! Invariant: an element's `body` is JSON that jsonb accepts and nests no deeper than [`MAX_DEPTH`].

use super::Element;
use super::envelope::{Field, Fields, Kind};
use super::error::FaultAt;
use super::keys::Keys;
use super::number::Number;
use super::outline::{self, Sketch};
use super::repair::Repair;
use super::scan::{self, Visitor};
use super::strings::{self, Escapes, StringToken};

/// Containers that may be open at once in a stored value; what is nested deeper becomes a string.
///
/// jsonb itself takes about 10,000 with PostgreSQL's default stack (`max_stack_depth`), fewer with
/// less, and tools that read it take fewer still (serde_json 128, Python 1,000). Real events have
/// less than 20.
pub const MAX_DEPTH: usize = 512;

/// Scans the value that begins at `start` into an element. `keys` is scratch space; `sketch` is told
/// what the element looks like.
pub(super) fn scan<'a>(
    body: &'a str,
    start: usize,
    keys: &mut Keys,
    sketch: &mut impl Sketch,
) -> Result<Element<'a>, FaultAt> {
    keys.clear();
    sketch.clear();
    let mut builder = Builder {
        body,
        keys,
        sketch,
        repair: Repair::new(body, start),
        is_exact: true,
        depth: 0,
        deep_start: start,
        field: None,
        fields: Fields::default(),
    };
    let end = scan::value(body.as_bytes(), start, &mut builder)?;
    Ok(Element {
        text: body.as_bytes().get(start..end).unwrap_or_default(),
        exact: builder.is_exact && !builder.keys.has_duplicate(),
        envelope: builder.fields.envelope(body),
        body: builder.repair.finish(end),
    })
}

struct Builder<'a, 'k, S> {
    body: &'a str,
    keys: &'k mut Keys,
    sketch: &'k mut S,
    repair: Repair<'a>,
    is_exact: bool,
    /// Containers open now.
    depth: usize,
    /// Where the subtree begins that is deeper than [`MAX_DEPTH`], while inside one.
    deep_start: usize,
    /// The envelope field whose value comes next.
    field: Option<Field>,
    fields: Fields,
}

impl<S: Sketch> Builder<'_, '_, S> {
    fn is_deep(&self) -> bool {
        self.depth > MAX_DEPTH
    }

    #[inline]
    fn open(&mut self, start: usize) {
        self.field_value(start, start, Kind::Absent);
        self.depth += 1;
        if self.depth == MAX_DEPTH + 1 {
            self.deep_start = start;
        }
    }

    #[inline]
    fn close(&mut self, end: usize) {
        self.depth -= 1;
        self.sketch.close();
        if self.depth == MAX_DEPTH {
            self.is_exact = false;
            self.repair.quote(self.deep_start..end);
        }
    }

    /// A value begins; it is the envelope's if its key was.
    #[inline]
    fn field_value(&mut self, start: usize, end: usize, kind: Kind) {
        if let Some(field) = self.field.take() {
            self.fields.set(field, start, end, kind);
        }
    }

    /// The key at `token`, which is the bytes of `text` from `start` to `end`.
    #[inline]
    fn decoded_key(&mut self, text: &[u8], start: usize, end: usize, token: StringToken) {
        let hash = self.keys.push(text, start, end);
        let key = text.get(start..end).unwrap_or_default();
        if self.depth == 1 {
            self.field = Field::of_key(key);
        }
        self.sketch.key(self.depth, hash, key, token);
    }

    #[cold]
    fn escaped_key(&mut self, token: StringToken) {
        self.repair_escapes(token);
        let key = strings::decode(self.body.get(token.start..token.end).unwrap_or_default());
        self.decoded_key(key.as_bytes(), 0, key.len(), token);
    }

    #[cold]
    fn repair_escapes(&mut self, token: StringToken) {
        if self.is_deep() {
            return;
        }
        let text = self.body.get(token.start..token.end).unwrap_or_default();
        for escape in strings::unstorable_escapes(text) {
            self.is_exact = false;
            self.repair
                .replace_escape(token.start + escape.start..token.start + escape.end);
        }
    }
}

impl<S: Sketch> Visitor for Builder<'_, '_, S> {
    #[inline]
    fn open_object(&mut self, start: usize) {
        let body = self.body.as_bytes();
        self.sketch.open_object(self.depth, || {
            body.get(scan::skip_whitespace(body, start + 1)) == Some(&b'}')
        });
        self.open(start);
        if !self.is_deep() {
            self.keys.open();
        }
    }

    #[inline]
    fn close_object(&mut self, end: usize) {
        if !self.is_deep() {
            self.keys.close();
        }
        self.close(end);
    }

    #[inline]
    fn open_array(&mut self, start: usize) {
        self.sketch.open_array();
        self.open(start);
    }

    #[inline]
    fn close_array(&mut self, end: usize) {
        self.close(end);
    }

    #[inline]
    fn key(&mut self, token: StringToken) {
        if self.is_deep() {
            return;
        }
        if token.escapes == Escapes::None {
            self.decoded_key(self.body.as_bytes(), token.start, token.end, token);
        } else {
            self.escaped_key(token);
        }
    }

    #[inline]
    fn string(&mut self, token: StringToken) {
        let kind = match token.escapes {
            Escapes::None => Kind::Text,
            Escapes::Harmless => Kind::EscapedText,
            Escapes::Suspect => {
                self.repair_escapes(token);
                Kind::EscapedText
            }
        };
        let body = self.body;
        self.sketch.value(|| outline::of_string(body, token));
        self.field_value(token.start, token.end, kind);
    }

    #[inline]
    fn number(&mut self, number: Number) {
        let is_storable = number.is_storable(self.body);
        if !is_storable && !self.is_deep() {
            self.is_exact = false;
            self.repair.quote(number.start..number.end);
        }
        self.sketch.value(|| {
            if is_storable {
                outline::Kind::Number
            } else {
                outline::Kind::Text
            }
        });
        self.field_value(number.start, number.end, Kind::Literal);
    }

    #[inline]
    fn boolean(&mut self, start: usize, end: usize) {
        self.sketch.value(|| outline::Kind::Boolean);
        self.field_value(start, end, Kind::Literal);
    }

    #[inline]
    fn null(&mut self, _start: usize, _end: usize) {
        self.field_value(0, 0, Kind::Absent);
    }
}
