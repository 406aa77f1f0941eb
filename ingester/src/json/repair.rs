//! Rewrites an element into JSON that jsonb accepts, copying only when something must change.
//!
//! Invariant: whatever is replaced was valid JSON, and so is what replaces it: an escape by an
//! escape, a value by a string.

use std::borrow::Cow;
use std::ops::Range;

/// The text of one element, and its repaired copy once a first repair was needed.
#[derive(Debug)]
pub(super) struct Repair<'a> {
    body: &'a str,
    repaired: String,
    /// Offset up to which the body is in `repaired`, or is the element's start.
    copied: usize,
}

impl<'a> Repair<'a> {
    /// No repair yet, of an element that begins at `start`.
    pub(super) fn new(body: &'a str, start: usize) -> Self {
        Self {
            body,
            repaired: String::new(),
            copied: start,
        }
    }

    /// Puts the replacement character instead of the escape at `escape`.
    pub(super) fn replace_escape(&mut self, escape: Range<usize>) {
        self.copy_until(escape.start);
        self.repaired.push_str("\\ufffd");
        self.copied = escape.end;
    }

    /// Makes the value at `value` a string that holds its text as sent.
    pub(super) fn quote(&mut self, value: Range<usize>) {
        self.copy_until(value.start);
        self.repaired.push('"');
        let mut rest = self.body.get(value.clone()).unwrap_or_default();
        // What JSON text can hold that a string cannot: quotes, backslashes, and whitespace.
        while let Some(at) = rest.find(['"', '\\', '\n', '\r', '\t']) {
            let (plain, special) = rest.split_at(at);
            self.repaired.push_str(plain);
            self.repaired.push_str(match special.as_bytes() {
                [b'"', ..] => "\\\"",
                [b'\\', ..] => "\\\\",
                [b'\n', ..] => "\\n",
                [b'\r', ..] => "\\r",
                _ => "\\t",
            });
            rest = special.get(1..).unwrap_or_default();
        }
        self.repaired.push_str(rest);
        self.repaired.push('"');
        self.copied = value.end;
    }

    /// The element, which ends at `end`: borrowed from the body when nothing was repaired.
    pub(super) fn finish(mut self, end: usize) -> Cow<'a, str> {
        if self.repaired.is_empty() {
            return Cow::Borrowed(self.body.get(self.copied..end).unwrap_or_default());
        }
        self.copy_until(end);
        Cow::Owned(self.repaired)
    }

    fn copy_until(&mut self, offset: usize) {
        let unchanged = self.body.get(self.copied..offset).unwrap_or_default();
        self.repaired.push_str(unchanged);
    }
}
