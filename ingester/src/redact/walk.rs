//! Walks through an element and writes it down without what has to go.
//!
//! Of the containers around the walker's place those are known that a path leads into; all others,
//! and redacted ones, are passed over as a whole.

use std::ops::Range;

use trunkline_model::redaction::{Hasher, RedactAction};

use super::paths::{Fate, Paths, Rules};
use crate::json::{Number, StringToken, Visitor, decode_string};

/// The place in an element, and its text up to there.
pub(super) struct Walk<'a, E, R> {
    rules: &'a Rules,
    hasher: Option<&'a Hasher>,
    text: &'a str,
    /// What `copied` bytes of the text have become.
    out: String,
    copied: usize,
    is_changed: bool,
    /// The open containers that a path leads into, the element first.
    frames: Vec<Frame>,
    /// Containers open within those, and what becomes of the outermost of them, which begins there.
    passed: usize,
    passing: (Fate, usize),
    /// What becomes of the value whose key came last.
    member: Fate,
    room: R,
    refused: Option<E>,
}

/// A container that a path leads into.
#[derive(Debug)]
struct Frame {
    paths: Paths,
    /// Where the next element of an array is; none in an object.
    place: Option<usize>,
    /// Offset behind the last value that was dealt with, or behind the brace.
    done: usize,
    has_kept: bool,
    has_dropped: bool,
}

impl<'a, E, R: FnMut(usize) -> Result<(), E>> Walk<'a, E, R> {
    /// At the beginning of a text.
    pub(super) fn new(
        rules: &'a Rules,
        hasher: Option<&'a Hasher>,
        text: &'a str,
        room: R,
    ) -> Self {
        let nothing = Fate::Kept(0);
        Self {
            rules,
            hasher,
            text,
            out: String::new(),
            copied: 0,
            is_changed: false,
            frames: Vec::new(),
            passed: 0,
            passing: (nothing, 0),
            member: nothing,
            room,
            refused: None,
        }
    }

    /// The new text, at the end of the old one; None if it is the same.
    pub(super) fn finish(mut self) -> Result<Option<String>, E> {
        if self.is_changed {
            self.copy_until(self.text.len());
        }
        match self.refused {
            Some(refused) => Err(refused),
            None => Ok(self.is_changed.then_some(self.out)),
        }
    }

    /// A value begins outside of what is passed over: what becomes of it.
    fn begin(&mut self) -> Fate {
        let depth = self.frames.len().saturating_sub(1);
        let Some(frame) = self.frames.last_mut() else {
            return self.rules.whole();
        };
        let Some(place) = &mut frame.place else {
            return self.member;
        };
        let here = *place;
        *place += 1;
        self.rules
            .fate(frame.paths, depth, |step| step.is_place(here))
    }

    /// A value without others in it.
    fn scalar(&mut self, value: Range<usize>) {
        if self.passed == 0 {
            let fate = self.begin();
            self.end(fate, value);
        }
    }

    fn open(&mut self, start: usize, place: Option<usize>) {
        if self.passed > 0 {
            self.passed += 1;
            return;
        }
        match self.begin() {
            Fate::Kept(paths) if paths != 0 => self.frames.push(Frame {
                paths,
                place,
                done: start + 1,
                has_kept: false,
                has_dropped: false,
            }),
            fate => {
                self.passed = 1;
                self.passing = (fate, start);
            }
        }
    }

    fn close(&mut self, end: usize) {
        if self.passed == 0 {
            self.frames.pop();
            self.end(Fate::Kept(0), end..end);
            return;
        }
        self.passed -= 1;
        if self.passed == 0 {
            let (fate, start) = self.passing;
            self.end(fate, start..end);
        }
    }

    /// A value is complete. Of one that is kept only the end matters.
    fn end(&mut self, fate: Fate, value: Range<usize>) {
        let end = value.end;
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let before = std::mem::replace(&mut frame.done, end);
        match fate {
            Fate::Kept(_) => {}
            Fate::Redacted(RedactAction::Drop) if frame.place.is_none() => {
                frame.has_dropped = true;
                // With its key, and the comma before that.
                self.replace(before..end, "");
            }
            // The others keep their places.
            Fate::Redacted(RedactAction::Drop) if self.json(&value) != "null" => {
                self.replace(value, "null");
            }
            Fate::Redacted(RedactAction::Drop) => {}
            Fate::Redacted(RedactAction::Hash) => {
                if let Some(hash) = self.hash(&value) {
                    self.replace(value, &format!("\"{hash}\""));
                }
            }
        }
    }

    /// The hash of a value; None of null, which is nothing. Without a key, which is seen to before,
    /// it is of no value at all.
    fn hash(&self, value: &Range<usize>) -> Option<String> {
        let json = self.json(value);
        if json == "null" {
            return None;
        }
        let of = |value: &[u8]| self.hasher.map(|it| it.hash(value)).unwrap_or_default();
        let string = json.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        Some(match string {
            Some(string) => of(decode_string(string).as_bytes()),
            None => of(json.as_bytes()),
        })
    }

    fn json(&self, value: &Range<usize>) -> &'a str {
        self.text.get(value.clone()).unwrap_or_default()
    }

    fn replace(&mut self, range: Range<usize>, by: &str) {
        self.is_changed = true;
        self.copy_until(range.start);
        self.write(by);
        self.copied = range.end;
    }

    fn copy_until(&mut self, offset: usize) {
        let text = self.text;
        self.write(text.get(self.copied..offset).unwrap_or_default());
        self.copied = offset;
    }

    fn write(&mut self, piece: &str) {
        let needed = self.out.len() + piece.len();
        if needed > self.out.capacity() && self.refused.is_none() {
            // Mostly it is as long as the text, and is never copied.
            let size = needed.max(self.text.len()).max(2 * self.out.capacity());
            match (self.room)(size) {
                Ok(()) => self.out.reserve_exact(size - self.out.len()),
                Err(refused) => self.refused = Some(refused),
            }
        }
        if self.refused.is_none() {
            self.out.push_str(piece);
        }
    }
}

impl<E, R: FnMut(usize) -> Result<(), E>> Visitor for Walk<'_, E, R> {
    fn open_object(&mut self, start: usize) {
        self.open(start, None);
    }

    fn close_object(&mut self, end: usize) {
        self.close(end);
    }

    fn open_array(&mut self, start: usize) {
        self.open(start, Some(0));
    }

    fn close_array(&mut self, end: usize) {
        self.close(end);
    }

    fn key(&mut self, token: StringToken) {
        if self.passed > 0 {
            return;
        }
        let depth = self.frames.len().saturating_sub(1);
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        let key = token.decoded(self.text);
        self.member = self
            .rules
            .fate(frame.paths, depth, |step| step.is_key(&key));
        if self.member == Fate::Redacted(RedactAction::Drop) {
            return;
        }
        let is_first = !std::mem::replace(&mut frame.has_kept, true);
        if is_first && frame.has_dropped {
            // The comma behind those that went before it.
            let quote = token.start - 1;
            let comma = frame.done..quote;
            self.replace(comma, "");
        }
    }

    fn string(&mut self, token: StringToken) {
        self.scalar(token.start - 1..token.end + 1);
    }

    fn number(&mut self, number: Number) {
        self.scalar(number.start..number.end);
    }

    fn boolean(&mut self, start: usize, end: usize) {
        self.scalar(start..end);
    }

    fn null(&mut self, start: usize, end: usize) {
        self.scalar(start..end);
    }
}
