//! Times of an event, as PostgreSQL's timestamptz would hold them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time in microseconds since 1970-01-01T00:00:00Z, within the range of timestamptz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first instant of timestamptz, 4714-11-24 BC (`MIN_TIMESTAMP` in PostgreSQL's
    /// `datatype/timestamp.h`). Its last is in the year 294276, past the four-digit years that
    /// are read here.
    const MIN_MICROS: i64 = -210_866_803_200_000_000;

    /// Longest text worth a look: a date, a time with nanoseconds, an offset and a zone's name.
    const MAX_TEXT: usize = 96;

    /// Microseconds since 1970-01-01T00:00:00Z; negative before.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 and the common forms of ISO 8601: `T` or a space between date and time, a
    /// date alone as midnight, no offset as UTC. A fraction is cut after the microsecond. Second
    /// 60 is read as 59. `None` for anything else and for a time outside timestamptz.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_rfc3339(text.as_bytes())
            .or_else(|| parse_iso8601(text))
            .filter(|micros| *micros >= Self::MIN_MICROS)
            .map(Self)
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±HH:MM)`, which is what Segment's libraries send.
fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    #[rustfmt::skip]
    let [c1, c2, y1, y2, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] =
        text
    else {
        return None;
    };
    let year = two_digits(*c1, *c2)? * 100 + two_digits(*y1, *y2)?;
    let (month, day) = (two_digits(*o1, *o2)?, two_digits(*d1, *d2)?);
    let (hour, minute) = (two_digits(*h1, *h2)?, two_digits(*m1, *m2)?);
    let second = two_digits(*s1, *s2)?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => parse_fraction(rest)?,
        _ => (0, rest),
    };
    let offset = parse_offset(rest)?;
    let days = days_since_epoch(year, month, day);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Some(seconds * 1_000_000 + fraction)
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// Microseconds of the digits after a decimal point, and the text behind them.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    /// What a fraction of so many digits counts.
    const UNIT: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    let counted = digits.get(..6).unwrap_or(digits);
    let value = counted
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    (length > 0).then_some((value * UNIT.get(counted.len())?, rest))
}

/// Seconds east of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two_digits(h1, h2)?, two_digits(m1, m2)?);
            let seconds = hours * 3_600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, year 0 or later: the
/// algorithm `days_from_civil` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of its year; the era is added so
    // that January of year 0 is not negative.
    let year = year + 400 - i64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era - 1) * 146_097 + day_of_era - 719_468
}

/// Every other form that jiff reads.
fn parse_iso8601(text: &str) -> Option<i64> {
    if text.len() > Timestamp::MAX_TEXT {
        return None;
    }
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        // Without an offset it is UTC, unless it names a zone.
        let civil: DateTime = text.parse().ok().filter(|_| !text.contains('['))?;
        let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(zoned.timestamp())
    })?;
    i64::try_from(instant.as_nanosecond().div_euclid(1_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<i64> {
        Timestamp::parse(text).map(Timestamp::unix_micros)
    }

    #[test]
    fn rfc_3339_is_read_to_the_microsecond() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2015-02-23T22:28:55.111Z", 1_424_730_535_111_000),
            ("2015-02-23T22:28:55.111222Z", 1_424_730_535_111_222),
            ("2015-02-23T22:28:55.111222999Z", 1_424_730_535_111_222),
            ("2015-02-23T22:28:55.1112229999999Z", 1_424_730_535_111_222),
            ("2015-02-23T22:28:55.1Z", 1_424_730_535_100_000),
            ("2015-02-24T00:28:55+02:00", 1_424_730_535_000_000),
            ("2015-02-23T16:58:55.5-05:30", 1_424_730_535_500_000),
            ("1969-12-31T23:59:59.9999999Z", -1),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000),
            ("1900-03-01T00:00:00Z", -2_203_891_200_000_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_forms_of_iso_8601_are_read() {
        let expected = 1_424_730_535_000_000;
        for text in [
            "2015-02-23 22:28:55Z",
            "2015-02-23t22:28:55z",
            "2015-02-23T22:28:55",
            "2015-02-23 22:28:55",
            "2015-02-23 22:28:55.000",
            "2015-02-23T22:28:55+00",
            "2015-02-23T23:28:55+0100",
            "2015-02-23 22:28:55-00:00",
            "2015-02-23T22:28:55,0Z",
            "20150223T222855Z",
            "+002015-02-23T22:28:55Z",
        ] {
            assert_eq!(micros(text), Some(expected), "{text}");
        }
        assert_eq!(micros("2015-02-23"), Some(1_424_649_600_000_000));
        assert_eq!(micros("2015-02-23T22:28Z"), Some(1_424_730_480_000_000));
        assert_eq!(micros("1969-12-31 23:59:59.9999999"), Some(-1));
    }

    #[test]
    fn a_leap_second_is_read_as_the_second_before_it() {
        assert_eq!(micros("2016-12-31T23:59:60Z"), Some(1_483_228_799_000_000));
        assert_eq!(micros("2016-12-31 23:59:60"), Some(1_483_228_799_000_000));
    }

    #[test]
    fn what_is_no_time_or_not_one_of_timestamptz_is_absent() {
        // jiff takes annotations without end, and takes its time.
        let long = format!("2015-02-23T22:28:55Z{}", "[a=b]".repeat(20));
        for text in [
            "",
            "yesterday",
            "1424730535",
            "2015-02-30T00:00:00Z",
            "2015-13-01T00:00:00Z",
            "2015-00-01T00:00:00Z",
            "0000-00-00T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2015-02-23T24:00:00Z",
            "2015-02-23T22:60:55Z",
            "2015-02-23T22:28:61Z",
            "2015-02-23T22:28:55.Z",
            "2015-02-23T22:28:55Zx",
            "2015-02-23T22:28:55+2:00",
            "2015-02-23T22:28:55+99:00",
            " 2015-02-23T22:28:55Z",
            "2015-02-23T22:28:55Z ",
            "2015-02-23T22:28:55[Europe/Paris]",
            "２015-02-23T22:28:55Z",
            "999999-01-01T00:00:00Z",
            "-009999-01-01T00:00:00Z",
            "-004714-11-23T00:00:00Z",
            "23/02/2015",
            "22:28:55",
            &long,
        ] {
            assert_eq!(micros(text), None, "{text:.60}");
        }
    }

    #[test]
    fn the_fast_path_agrees_with_jiff_on_every_day_of_four_centuries_and_on_both_ends() {
        let step = jiff::Span::new().days(1);
        for (from, days) in [
            ((1, 1, 1), 800),
            ((1800, 1, 1), 147_000),
            ((9990, 1, 1), 3_600),
        ] {
            let mut date = jiff::civil::date(from.0, from.1, from.2);
            for _ in 0..days {
                let text = format!("{date}T13:14:15.161718Z");
                let expected = text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
                assert_eq!(parse_rfc3339(text.as_bytes()), Some(expected), "{text}");
                date = date.checked_add(step).unwrap();
            }
        }
    }
}
