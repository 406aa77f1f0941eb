//! Which fields an event has below `properties`, `traits` and `context`, and of which kind: found
//! in the pass that decodes the element, for whoever notes them.
//!
//! Invariants:
//! - A field's path is what `body #>> path` finds it by: keys are decoded, and nothing within an
//!   array has a path.
//! - Memory has a bound, whatever is sent.
//! - Who does not ask pays nothing: `()` is the sketch of nothing, and is compiled away.

use super::hash;
use super::strings::{self, Escapes, StringToken};
use super::timestamp::Timestamp;

/// Keys below a root down to which an object is looked into.
const MAX_KEYS: usize = 4;

/// Bytes of a key, decoded, above which a field is left out, and all that is within it.
const MAX_KEY_BYTES: usize = 255;

/// Fields of one root that are kept of one element. An object on the way counts as well.
const MAX_FIELDS: u16 = 1_024;

/// Lengths of a text that may be a date and a time with an offset: `2026-01-02T03:04Z` is the
/// shortest.
const TIMESTAMP_BYTES: std::ops::RangeInclusive<usize> = 17..=40;

/// An object at the top of an event whose fields are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// `properties`
    Properties,
    /// `traits`
    Traits,
    /// `context`
    Context,
}

/// The key of each root, and a number that makes its fields others than those of the same name below
/// another.
const ROOTS: [(&str, u64); 3] = [
    ("properties", 0x8B72_E1C9_0A5D_4F36),
    ("traits", 0x3C6E_F372_FE94_F82B),
    ("context", 0xA54F_F53A_5F1D_36F1),
];

impl Root {
    #[inline]
    fn of_key(key: &[u8]) -> Option<Self> {
        match key {
            b"properties" => Some(Self::Properties),
            b"traits" => Some(Self::Traits),
            b"context" => Some(Self::Context),
            _ => None,
        }
    }

    fn key(self) -> &'static str {
        ROOTS[self as usize].0
    }

    fn hash(self) -> u64 {
        hash::fold(hash::seed() ^ ROOTS[self as usize].1)
    }
}

/// What a field holds. `null` and an empty object are nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A number that PostgreSQL's numeric holds.
    Number,
    /// A string that is a date and a time with an offset.
    Timestamp,
    /// Another string, or what `body` shows as one.
    Text,
    /// An array, whatever is in it.
    Array,
    /// An object that is too deep to be looked into.
    Object,
}

/// What the pass tells about an element's structure. Every method does nothing unless overridden.
pub(super) trait Sketch {
    /// A new element begins.
    fn clear(&mut self) {}
    /// A key, within `depth` containers: its hash, itself decoded, and where it is.
    fn key(&mut self, _depth: usize, _hash: u64, _key: &[u8], _token: StringToken) {}
    /// A value that is no container and not `null`.
    fn value(&mut self, _kind: impl FnOnce() -> Kind) {}
    /// An object opens within `depth` containers.
    fn open_object(&mut self, _depth: usize, _is_empty: impl FnOnce() -> bool) {}
    /// An array opens.
    fn open_array(&mut self) {}
    /// The innermost container is complete.
    fn close(&mut self) {}
}

impl Sketch for () {}

/// The fields of one element. The space is used again for the next.
#[derive(Debug)]
pub(crate) struct Outline {
    fields: Vec<Field>,
    /// Of the member of the element whose value comes next or is open.
    root: Option<Root>,
    /// The open objects whose keys are fields: the root first.
    open: [Parent; MAX_KEYS + 1],
    /// How many of them there are.
    level: usize,
    /// Containers open within one that is not looked into, and that one.
    skipped: usize,
    /// The field whose value comes next, unless it is left out.
    next: Option<usize>,
    /// How many more fields each root may have.
    room: [u16; ROOTS.len()],
    long_keys: u64,
    surplus: u64,
}

/// An open object.
#[derive(Debug, Clone, Copy, Default)]
struct Parent {
    hash: u64,
    /// Its field; none for a root.
    field: Option<u16>,
}

/// A key, and what it leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) root: Root,
    /// Names the path, the root included, within this process.
    pub(crate) path: u64,
    /// None for what is nothing, and for an object that is looked into.
    pub(crate) kind: Option<Kind>,
    key: StringToken,
    parent: Option<u16>,
}

impl Outline {
    pub(super) fn new() -> Self {
        Self {
            fields: Vec::with_capacity(64),
            root: None,
            open: Default::default(),
            level: 0,
            skipped: 0,
            next: None,
            room: [MAX_FIELDS; ROOTS.len()],
            long_keys: 0,
            surplus: 0,
        }
    }

    /// The fields that hold something.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&Field, Kind)> {
        self.fields
            .iter()
            .filter_map(|field| Some((field, field.kind?)))
    }

    /// Fields that were left out because a key is longer than [`MAX_KEY_BYTES`].
    pub(crate) fn long_keys(&self) -> u64 {
        self.long_keys
    }

    /// Fields that were left out because there were too many.
    pub(crate) fn surplus(&self) -> u64 {
        self.surplus
    }

    /// The keys to a field from the outside in, the root's first. `body` is what the element was
    /// found in.
    pub(crate) fn path(&self, field: &Field, body: &str) -> Vec<String> {
        let mut path = Vec::with_capacity(MAX_KEYS + 2);
        let mut next = Some(field);
        while let Some(field) = next {
            path.push(field.key.decoded(body).into_owned());
            next = field.parent.and_then(|at| self.fields.get(usize::from(at)));
        }
        path.push(field.root.key().to_owned());
        path.reverse();
        path
    }

    /// Whether keys and values that come now are fields.
    #[inline]
    fn is_inside(&self) -> bool {
        self.level > 0 && self.skipped == 0
    }

    #[inline]
    fn add(&mut self, hash: u64, key: &[u8], token: StringToken) {
        self.next = None;
        let Some(root) = self.root else { return };
        if key.len() > MAX_KEY_BYTES {
            self.long_keys += 1;
            return;
        }
        let room = &mut self.room[root as usize];
        let (Some(left), Ok(at)) = (room.checked_sub(1), u16::try_from(self.fields.len())) else {
            self.surplus += 1;
            return;
        };
        *room = left;
        let parent = self.open[self.level - 1];
        self.fields.push(Field {
            root,
            path: hash::fold(parent.hash ^ hash),
            kind: None,
            key: token,
            parent: parent.field,
        });
        self.next = Some(usize::from(at));
    }

    /// Says what the field holds whose value has come, unless it is left out.
    #[inline]
    fn set(&mut self, kind: impl FnOnce() -> Kind) {
        if let Some(field) = self.next.take().and_then(|at| self.fields.get_mut(at)) {
            field.kind = Some(kind());
        }
    }
}

impl Sketch for Outline {
    fn clear(&mut self) {
        self.fields.clear();
        self.root = None;
        self.level = 0;
        self.skipped = 0;
        self.next = None;
        self.room = [MAX_FIELDS; ROOTS.len()];
        self.long_keys = 0;
        self.surplus = 0;
    }

    #[inline]
    fn key(&mut self, depth: usize, hash: u64, key: &[u8], token: StringToken) {
        if self.is_inside() {
            self.add(hash, key, token);
        } else if depth == 1 {
            self.root = Root::of_key(key);
        }
    }

    #[inline]
    fn value(&mut self, kind: impl FnOnce() -> Kind) {
        if self.is_inside() {
            self.set(kind);
        }
    }

    #[inline]
    fn open_object(&mut self, depth: usize, is_empty: impl FnOnce() -> bool) {
        if self.level == 0 {
            if let Some(root) = self.root.filter(|_| depth == 1) {
                self.level = 1;
                self.open[0] = Parent {
                    hash: root.hash(),
                    field: None,
                };
            }
            return;
        }
        if self.skipped > 0 {
            self.skipped += 1;
            return;
        }
        let found = self.next.and_then(|at| self.fields.get(at));
        match found {
            Some(field) if self.level <= MAX_KEYS => {
                self.open[self.level] = Parent {
                    hash: field.path,
                    field: self.next.and_then(|at| u16::try_from(at).ok()),
                };
                self.level += 1;
            }
            _ => {
                if found.is_some() && !is_empty() {
                    self.set(|| Kind::Object);
                }
                self.skipped = 1;
            }
        }
    }

    #[inline]
    fn open_array(&mut self) {
        if self.level > 0 {
            if self.skipped == 0 {
                self.set(|| Kind::Array);
            }
            self.skipped += 1;
        }
    }

    #[inline]
    fn close(&mut self) {
        if self.skipped > 0 {
            self.skipped -= 1;
        } else if self.level > 0 {
            self.level -= 1;
        }
    }
}

/// The kind of a string value.
#[inline]
pub(super) fn of_string(body: &str, token: StringToken) -> Kind {
    let text = body.as_bytes().get(token.start..token.end);
    let text = text.unwrap_or_default();
    // Of very few strings does it take longer to know.
    let is_timestamp = match (text.first(), token.escapes) {
        (Some(b'0'..=b'9'), Escapes::None) => text.get(10) == Some(&b'T') && is_timestamp(text),
        (_, Escapes::None) => false,
        (Some(b'0'..=b'9' | b'\\'), _) => is_escaped_timestamp(text),
        _ => false,
    };
    if is_timestamp {
        Kind::Timestamp
    } else {
        Kind::Text
    }
}

/// Whether a text is `YYYY-MM-DDTHH:MM`, perhaps more of a time, and an offset. Without an offset it
/// is no instant: what PostgreSQL would make of it depends on a setting.
fn is_timestamp(text: &[u8]) -> bool {
    // Other forms that are read as times (a zone in brackets, a comma) are not PostgreSQL's.
    let is_plain =
        |byte: &u8| matches!(byte, b'0'..=b'9' | b'T' | b'Z' | b':' | b'.' | b'+' | b'-');
    let has_offset = |time: &[u8]| time.iter().any(|byte| matches!(byte, b'Z' | b'+' | b'-'));
    TIMESTAMP_BYTES.contains(&text.len())
        && text.get(13) == Some(&b':')
        && text.iter().all(is_plain)
        && text.get(16..).is_some_and(has_offset)
        && std::str::from_utf8(text).is_ok_and(|text| Timestamp::parse(text).is_some())
}

#[cold]
fn is_escaped_timestamp(text: &[u8]) -> bool {
    // The longest escape of a character is a surrogate pair, and none of a timestamp's has one.
    text.len() <= 6 * TIMESTAMP_BYTES.end()
        && std::str::from_utf8(text)
            .is_ok_and(|text| is_timestamp(strings::decode(text).as_bytes()))
}
