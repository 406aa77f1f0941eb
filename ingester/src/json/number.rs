//! JSON numbers: their grammar, and which of them PostgreSQL's numeric takes.
//!
//! Invariant: a number is never converted, so none loses a digit; a value of any length is decided
//! from the count of its digits.

use super::error::{Fault, FaultAt};

/// Digits that a number may need when written without exponent, unless it was sent with more.
///
/// jsonb takes `1e131071` and prints it as 131 kB, so a few bytes could fill a reader's memory.
/// 1,000 is far past every float64 (309 digits) and a uint256 (78 digits).
const MAX_EXPANDED_DIGITS: i64 = 1_000;

/// Digits before the decimal point that PostgreSQL's numeric holds (documentation, table 8.2).
const NUMERIC_INTEGER_DIGITS: i64 = 131_072;

/// Digits after the decimal point that PostgreSQL's numeric holds (documentation, table 8.2).
const NUMERIC_FRACTION_DIGITS: i64 = 16_383;

/// A number's place in the body, and the count of its digits as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) start: usize,
    pub(crate) end: usize,
    integer_digits: usize,
    fraction_digits: usize,
    /// Where the exponent's sign or digits begin; `end` when there is no exponent.
    exponent_start: usize,
}

/// Scans the number at `start`, which is a digit or a minus sign.
#[inline]
pub(super) fn scan(body: &[u8], start: usize) -> Result<Number, FaultAt> {
    let invalid = |offset| FaultAt::new(Fault::Number, offset, body);
    let byte = |offset: usize| body.get(offset).copied();

    let integer = start + usize::from(byte(start) == Some(b'-'));
    let mut end = digits(body, integer);
    let integer_digits = end - integer;
    // A leading zero stands alone: the digit after it is one too many.
    if integer_digits == 0 || (integer_digits > 1 && byte(integer) == Some(b'0')) {
        return Err(invalid(integer + integer_digits.min(1)));
    }

    let mut fraction_digits = 0;
    if byte(end) == Some(b'.') {
        let fraction = end + 1;
        end = digits(body, fraction);
        fraction_digits = end - fraction;
        if fraction_digits == 0 {
            return Err(invalid(end));
        }
    }

    let mut exponent_start = end;
    if let Some(b'e' | b'E') = byte(end) {
        exponent_start = end + 1;
        let exponent =
            exponent_start + usize::from(matches!(byte(exponent_start), Some(b'+' | b'-')));
        end = digits(body, exponent);
        if end == exponent {
            return Err(invalid(end));
        }
    }
    Ok(Number {
        start,
        end,
        integer_digits,
        fraction_digits,
        exponent_start,
    })
}

/// The offset behind the digits that begin at `offset`.
#[inline]
fn digits(body: &[u8], mut offset: usize) -> usize {
    while let Some(b'0'..=b'9') = body.get(offset) {
        offset += 1;
    }
    offset
}

impl Number {
    /// Whether jsonb takes the number without growing it past [`MAX_EXPANDED_DIGITS`].
    #[inline]
    pub(super) fn is_storable(&self, body: &str) -> bool {
        let has_exponent = self.exponent_start != self.end;
        if !has_exponent && self.end - self.start <= MAX_EXPANDED_DIGITS as usize {
            return true;
        }
        let exponent = body.get(self.exponent_start..self.end).map_or(0, exponent);
        self.fits(exponent)
    }

    fn fits(&self, exponent: i64) -> bool {
        let (integer, fraction) = (self.integer_digits as i64, self.fraction_digits as i64);
        let written = integer + fraction;
        // The exponent moves the point; where it leaves the digits written, zeros fill the gap.
        let integer_expanded = integer.saturating_add(exponent).max(0);
        let fraction_expanded = fraction.saturating_sub(exponent).max(0);
        integer_expanded.saturating_add(fraction_expanded) <= written.max(MAX_EXPANDED_DIGITS)
            && integer_expanded <= NUMERIC_INTEGER_DIGITS
            && fraction_expanded <= NUMERIC_FRACTION_DIGITS
    }
}

/// The value of an exponent; one past i64 stays at i64's end, since it is refused long before.
fn exponent(text: &str) -> i64 {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let value = digits.iter().fold(0_i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')))
    });
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_storable(text: &str) -> bool {
        let number = scan(text.as_bytes(), 0).unwrap();
        assert_eq!(number.end, text.len(), "{text:.40}");
        number.is_storable(text)
    }

    #[test]
    fn a_number_of_the_rfc_is_scanned_to_its_end() {
        for text in [
            "0",
            "-0",
            "10",
            "-12.5",
            "0.0",
            "1e5",
            "1E+5",
            "1e-5",
            "-0.1e00",
            "1.10",
            "0e0",
            "123456789012345678901234567890",
        ] {
            let padded = format!("{text}, 1");
            let number = scan(padded.as_bytes(), 0).unwrap();
            assert_eq!((number.start, number.end), (0, text.len()), "{text}");
        }
    }

    #[test]
    fn another_number_is_a_fault_at_the_byte_that_spoils_it() {
        for (text, offset) in [
            ("-", 1),
            ("-x", 1),
            ("01", 1),
            ("-01", 2),
            ("00.5", 1),
            ("1.", 2),
            ("1.e5", 2),
            ("1e", 2),
            ("1e+", 3),
            ("1.5E-", 5),
            ("-.5", 1),
            ("-Infinity", 1),
        ] {
            let fault = scan(format!("{text} ").as_bytes(), 0).unwrap_err();
            assert_eq!(
                (fault.fault, fault.offset),
                (Fault::Number, offset),
                "{text}"
            );
            if offset == text.len() {
                let fault = scan(text.as_bytes(), 0).unwrap_err();
                assert_eq!((fault.fault, fault.offset), (Fault::End, offset), "{text}");
            }
        }
    }

    #[test]
    fn an_exponent_may_imply_zeros_up_to_a_thousand_digits() {
        for text in [
            "0",
            "-0",
            "1E3",
            "1.10",
            "1e0",
            "0e0",
            "1e999",
            "1e-1000",
            "-1.5e998",
            "12.34e-997",
            "1.7976931348623157e308",
            "5e-324",
            "1e00000000000000000000000000000000000000005",
        ] {
            assert!(is_storable(text), "{text}");
        }
        for text in [
            "1e1000",
            "1e1001",
            "1e-1001",
            "1e131071",
            "1e131072",
            "1e-16384",
            "1e400000",
            "-1e400000",
            "0e400000",
            "0.1e1001",
            "1e9223372036854775807",
            // Past 64 bits, and 5 when wrapped.
            "1e18446744073709551621",
            "1e-9223372036854775808",
            "1e99999999999999999999999999",
            "1e-99999999999999999999999999",
        ] {
            assert!(!is_storable(text), "{text}");
        }
    }

    #[test]
    fn digits_as_sent_are_limited_by_numeric_alone() {
        let digits = |count| "7".repeat(count);
        assert!(is_storable(&digits(2_000)));
        assert!(is_storable(&digits(131_072)));
        assert!(!is_storable(&digits(131_073)));
        assert!(is_storable(&format!("0.{}", digits(16_383))));
        assert!(!is_storable(&format!("0.{}", digits(16_384))));
        assert!(is_storable(&format!(
            "{}.{}",
            digits(131_072),
            digits(16_383)
        )));
    }

    #[test]
    fn an_exponent_may_move_the_point_within_the_digits_sent() {
        let digits = |count| "7".repeat(count);
        assert!(is_storable(&format!("0.{}e16000", digits(20_000))));
        assert!(!is_storable(&format!("0.{}e3000", digits(20_000))));
        assert!(is_storable(&format!("{}e-5000", digits(20_000))));
        assert!(!is_storable(&format!("{}e-17000", digits(20_000))));
        assert!(!is_storable(&format!("{}e1", digits(2_000))));
        assert!(!is_storable(&format!("{}e-2001", digits(2_000))));
    }
}
