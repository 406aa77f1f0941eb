//! JSON strings: their end, their escapes, and what of them PostgreSQL's text cannot hold.
//!
//! PostgreSQL has no U+0000 in text and no surrogate without its partner, though JSON can spell
//! both. They are read as U+FFFD, the replacement character.

use std::borrow::Cow;
use std::ops::Range;

use super::error::{Fault, FaultAt};

/// A string's place in the body, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StringToken {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(super) escapes: Escapes,
}

impl StringToken {
    /// The string that it stands for, as [`decode`] says. `body` is what it was found in.
    pub(crate) fn decoded(self, body: &str) -> Cow<'_, str> {
        let text = body.get(self.start..self.end).unwrap_or_default();
        match self.escapes {
            Escapes::None => Cow::Borrowed(text),
            Escapes::Harmless | Escapes::Suspect => Cow::Owned(decode(text)),
        }
    }
}

/// What a string's scan saw of escapes, so that a clean string is not looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Escapes {
    /// None: the text is the string.
    None,
    /// Some, none of them unstorable.
    Harmless,
    /// `\u0000` or a surrogate, perhaps one without its partner.
    Suspect,
}

/// Scans the string whose opening quote is at `quote`.
#[inline]
pub(super) fn scan(body: &[u8], quote: usize) -> Result<StringToken, FaultAt> {
    let start = quote + 1;
    let mut end = find_special(body, start);
    let mut escapes = Escapes::None;
    if body.get(end) != Some(&b'"') {
        (end, escapes) = scan_escaped(body, end)?;
    }
    Ok(StringToken {
        start,
        end,
        escapes,
    })
}

/// Goes on from the first special byte of a string, which is not its closing quote, to that quote.
fn scan_escaped(body: &[u8], mut offset: usize) -> Result<(usize, Escapes), FaultAt> {
    let mut escapes = Escapes::None;
    loop {
        match body.get(offset) {
            Some(b'"') => return Ok((offset, escapes)),
            Some(b'\\') => {
                let (length, seen) = scan_escape(body, offset)?;
                escapes = escapes.max(seen);
                offset = find_special(body, offset + length);
            }
            _ => return Err(FaultAt::new(Fault::Control, offset, body)),
        }
    }
}

/// The length of the escape at `offset`, and whether it is harmless.
fn scan_escape(body: &[u8], offset: usize) -> Result<(usize, Escapes), FaultAt> {
    match body.get(offset + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok((2, Escapes::Harmless)),
        Some(b'u') => {
            let mut unit = 0;
            for position in offset + 2..offset + 6 {
                let digit = body.get(position).copied().and_then(hex_digit);
                let digit = digit.ok_or_else(|| FaultAt::new(Fault::Escape, position, body))?;
                unit = unit << 4 | digit;
            }
            let seen = match unit {
                0 | 0xD800..=0xDFFF => Escapes::Suspect,
                _ => Escapes::Harmless,
            };
            Ok((6, seen))
        }
        _ => Err(FaultAt::new(Fault::Escape, offset + 1, body)),
    }
}

fn hex_digit(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

/// The offset, at or after `offset`, of the first byte that a string's text cannot hold plainly: a
/// quote, a backslash or a control character. The body's length when there is none.
///
/// Eight bytes at a time: most strings of an event are shorter than what makes a SIMD search pay.
#[inline]
fn find_special(body: &[u8], mut offset: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH_BITS: u64 = ONES << 7;
    while let Some(chunk) = body.get(offset..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        // Sets the high bit of each byte that is below `limit`. A borrow can set it falsely, but
        // only in a byte after a true hit, and only the first hit counts.
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let special = (below(word, 0x20) | equal(b'"') | equal(b'\\')) & HIGH_BITS;
        if special != 0 {
            return offset + (special.trailing_zeros() / 8) as usize;
        }
        offset += 8;
    }
    while let Some(0x20..=0x21 | 0x23..=0x5B | 0x5D..) = body.get(offset) {
        offset += 1;
    }
    offset
}

/// The string that valid JSON text between two quotes stands for, with U+FFFD for what PostgreSQL
/// cannot hold.
pub(crate) fn decode(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut copied = 0;
    for escape in EscapeIter::new(text) {
        decoded.push_str(text.get(copied..escape.range.start).unwrap_or_default());
        decoded.push(escape.storable.unwrap_or(char::REPLACEMENT_CHARACTER));
        copied = escape.range.end;
    }
    decoded.push_str(text.get(copied..).unwrap_or_default());
    decoded
}

/// The places, within valid JSON text between two quotes, of the escapes that jsonb refuses.
pub(super) fn unstorable_escapes(text: &str) -> impl Iterator<Item = Range<usize>> {
    EscapeIter::new(text)
        .filter(|escape| escape.storable.is_none())
        .map(|escape| escape.range)
}

/// An escape (a surrogate pair is one) and the character that it stands for, if that is storable.
struct Escape {
    range: Range<usize>,
    storable: Option<char>,
}

/// The escapes of valid JSON text between two quotes.
struct EscapeIter<'a> {
    text: &'a [u8],
    offset: usize,
}

impl<'a> EscapeIter<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            offset: 0,
        }
    }

    /// The UTF-16 code unit of a `\uXXXX` at `offset`.
    fn unit(&self, offset: usize) -> Option<u32> {
        let digits = self.text.get(offset..)?.strip_prefix(b"\\u")?.get(..4)?;
        digits
            .iter()
            .try_fold(0, |unit, &byte| Some(unit << 4 | hex_digit(byte)?))
    }
}

impl Iterator for EscapeIter<'_> {
    type Item = Escape;

    fn next(&mut self) -> Option<Escape> {
        let start = self.offset + memchr::memchr(b'\\', self.text.get(self.offset..)?)?;
        let mut end = start + 2;
        let storable = match *self.text.get(start + 1)? {
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            b'u' => {
                let unit = self.unit(start)?;
                end = start + 6;
                match (unit, self.unit(end)) {
                    (high @ 0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                        end += 6;
                        char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00))
                    }
                    (0, _) => None,
                    // A lone surrogate is no `char`.
                    _ => char::from_u32(unit),
                }
            }
            same => Some(char::from(same)),
        };
        self.offset = end;
        Some(Escape {
            range: start..end,
            storable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_quoted(inner: &str) -> Result<StringToken, FaultAt> {
        scan(format!("\"{inner}\"").as_bytes(), 0)
    }

    #[test]
    fn a_string_ends_at_its_first_unescaped_quote_wherever_that_is() {
        for length in 0..40 {
            for before in ["", "\\\"", "\\\\", "\\u0041", "é", "\u{7f}", "🦀"] {
                let inner = format!("{before}{}", "x".repeat(length));
                for after in ["", "\"", ":\"next\"", "                    "] {
                    let token = scan(format!("\"{inner}\"{after}").as_bytes(), 0).unwrap();
                    assert_eq!((token.start, token.end), (1, 1 + inner.len()), "{inner:?}");
                }
            }
        }
    }

    #[test]
    fn a_control_character_is_a_fault_at_every_offset() {
        for control in 0..0x20 {
            for length in 0..20 {
                let inner = format!("{}{}z", "x".repeat(length), char::from(control));
                let fault = scan_quoted(&inner).unwrap_err();
                assert_eq!((fault.fault, fault.offset), (Fault::Control, 1 + length));
            }
        }
    }

    #[test]
    fn a_byte_that_only_looks_special_is_not() {
        for byte in 0x20..=0x7f_u8 {
            let inner = char::from(byte).to_string().repeat(9);
            let is_plain = !matches!(byte, b'"' | b'\\');
            let end = scan_quoted(&inner).ok().map(|token| token.end);
            assert_eq!(end == Some(10), is_plain, "{byte:#x}");
        }
        for character in [
            '\u{80}', '\u{a0}', '\u{2022}', '\u{dc}', '\u{221f}', '\u{ffff}',
        ] {
            let inner = character.to_string().repeat(9);
            assert_eq!(scan_quoted(&inner).unwrap().end, 1 + inner.len());
        }
    }

    #[test]
    fn another_escape_is_a_fault_at_the_byte_that_spoils_it() {
        for (inner, offset) in [
            ("\\x", 2),
            ("\\a", 2),
            ("\\'", 2),
            ("\\0", 2),
            ("\\U0041", 2),
            ("\\u", 3),
            ("\\u004", 6),
            ("\\u00g0", 5),
            ("\\u+041", 3),
            ("\\u{41}", 3),
            ("\\ud83d\\u12", 11),
            ("12345678\\q", 10),
        ] {
            let fault = scan_quoted(inner).unwrap_err();
            assert_eq!(
                (fault.fault, fault.offset),
                (Fault::Escape, offset),
                "{inner}"
            );
        }
    }

    #[test]
    fn a_string_without_end_is_a_fault_at_the_end() {
        for text in ["\"", "\"abc", "\"abcdefgh", "\"\\", "\"\\u00", "\"abc\\\""] {
            let fault = scan(text.as_bytes(), 0).unwrap_err();
            assert_eq!(
                (fault.fault, fault.offset),
                (Fault::End, text.len()),
                "{text}"
            );
        }
    }

    #[test]
    fn escapes_are_resolved_and_what_text_cannot_hold_is_replaced() {
        for (text, decoded, seen) in [
            ("plain", "plain", Escapes::None),
            (
                "\\\"\\\\\\/\\b\\f\\n\\r\\t",
                "\"\\/\u{8}\u{c}\n\r\t",
                Escapes::Harmless,
            ),
            (
                "\\u0041\\u00e9\\u00E9\\uFFFF",
                "Aéé\u{ffff}",
                Escapes::Harmless,
            ),
            ("\\\\u0000", "\\u0000", Escapes::Harmless),
            ("\\ud83e\\udd80!", "🦀!", Escapes::Suspect),
            ("\\uD83E\\uDD80", "🦀", Escapes::Suspect),
            (
                "\\udbff\\udfff\\ud800\\udc00",
                "\u{10ffff}\u{10000}",
                Escapes::Suspect,
            ),
            ("a\\u0000b", "a\u{fffd}b", Escapes::Suspect),
            ("\\ud800", "\u{fffd}", Escapes::Suspect),
            ("\\udc00", "\u{fffd}", Escapes::Suspect),
            ("\\ud800x\\udc00", "\u{fffd}x\u{fffd}", Escapes::Suspect),
            ("\\ud800\\n", "\u{fffd}\n", Escapes::Suspect),
            ("\\ud800\\ud83e\\udd80", "\u{fffd}🦀", Escapes::Suspect),
            ("\\ud83e\\udd80\\udd80", "🦀\u{fffd}", Escapes::Suspect),
            ("\\ud800\\u0041", "\u{fffd}A", Escapes::Suspect),
            ("\\ud800\\u0000", "\u{fffd}\u{fffd}", Escapes::Suspect),
            ("\\ud800\\\\udc00", "\u{fffd}\\udc00", Escapes::Suspect),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
            assert_eq!(scan_quoted(text).unwrap().escapes, seen, "{text}");
            let replaced = decoded.matches('\u{fffd}').count();
            assert_eq!(unstorable_escapes(text).count(), replaced, "{text}");
        }
    }
}
