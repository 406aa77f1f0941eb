//! Why a body is not JSON, and where.
//!
//! Invariant: no part of the body appears in a message, since it may hold personal data and the
//! message reaches logs and the table of rejections.

use thiserror::Error;

/// A body, or a value in it, that RFC 8259 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{fault} at line {line} column {column}")]
pub struct InvalidJson {
    /// What is wrong.
    pub fault: Fault,
    /// Offset of the first byte that cannot be part of the JSON, from 0. The length of the body
    /// when the body ended too early.
    pub offset: usize,
    /// Line of that byte, from 1; lines end with LF.
    pub line: usize,
    /// Column of that byte within its line, in bytes, from 1.
    pub column: usize,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not UTF-8: the only encoding that RFC 8259 §8.1 allows between systems.
    #[error("invalid UTF-8")]
    Utf8,
    /// The body ended inside a value.
    #[error("unexpected end of JSON")]
    End,
    /// Something else where a value must begin; a byte order mark ends up here too.
    #[error("expected a JSON value")]
    Value,
    /// Something else where a member of an object must begin, such as `}` after a comma.
    #[error("expected a string as object key")]
    Key,
    /// No colon between an object's key and its value.
    #[error("expected `:` after an object key")]
    Colon,
    /// Something else after a member of an object.
    #[error("expected `,` or `}}` in an object")]
    ObjectEnd,
    /// Something else after an element of an array.
    #[error("expected `,` or `]` in an array")]
    ArrayEnd,
    /// A word that is not `true`, `false` or `null`.
    #[error("invalid literal")]
    Literal,
    /// A number that RFC 8259 §6 does not allow, such as `01`, `1.`, `+1` or `NaN`.
    #[error("invalid number")]
    Number,
    /// A byte below 0x20 in a string, where it must be escaped.
    #[error("unescaped control character in a string")]
    Control,
    /// A backslash that begins none of the escapes of RFC 8259 §7.
    #[error("invalid escape in a string")]
    Escape,
    /// A number or literal that runs into the next value, as in `1true`.
    #[error("expected whitespace between two values")]
    Separator,
}

/// A fault and its offset, before line and column are worth computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FaultAt {
    pub(super) fault: Fault,
    pub(super) offset: usize,
}

impl FaultAt {
    /// A fault at an offset; the end of the body is always [`Fault::End`], whatever was expected
    /// there.
    #[cold]
    pub(super) fn new(fault: Fault, offset: usize, body: &[u8]) -> Self {
        let fault = if offset < body.len() {
            fault
        } else {
            Fault::End
        };
        Self { fault, offset }
    }

    /// Adds line and column, which cost a pass over the bytes before the fault.
    #[cold]
    pub(super) fn locate(self, body: &[u8]) -> InvalidJson {
        let before = body.get(..self.offset).unwrap_or(body);
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        InvalidJson {
            fault: self.fault,
            offset: self.offset,
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
            column: 1 + before.len() - line_start,
        }
    }
}
