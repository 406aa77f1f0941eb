//! How the time of a signature is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How the time of a signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimestampUnit {
    /// Seconds since 1970, as digits.
    #[default]
    Seconds,
    /// Milliseconds since 1970, as digits.
    Milliseconds,
    /// Date and time of RFC 3339.
    Rfc3339,
}

impl TimestampUnit {
    /// The seconds since 1970 that a text means, rounded down. None for a text in another form:
    /// digits may have no sign, no space and no fraction.
    #[must_use]
    pub fn read(self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok()?;
        match self {
            Self::Seconds => digits(text),
            Self::Milliseconds => digits(text).map(|milliseconds| milliseconds / 1_000),
            Self::Rfc3339 => {
                let timestamp: Timestamp = text.parse().ok()?;
                Some(timestamp.as_millisecond().div_euclid(1_000))
            }
        }
    }

    /// Writes a time in seconds since 1970. None for one that RFC 3339 cannot name.
    #[must_use]
    pub fn write(self, seconds: i64) -> Option<String> {
        match self {
            Self::Seconds => Some(seconds.to_string()),
            Self::Milliseconds => seconds
                .checked_mul(1_000)
                .map(|milliseconds| milliseconds.to_string()),
            Self::Rfc3339 => Timestamp::from_second(seconds)
                .ok()
                .map(|timestamp| timestamp.to_string()),
        }
    }
}

fn digits(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written() {
        use TimestampUnit::{Milliseconds, Rfc3339, Seconds};
        for (unit, text, seconds) in [
            (Seconds, "1700000000", Some(1_700_000_000)),
            (Seconds, "+1700000000", None),
            (Seconds, "-1", None),
            (Seconds, "1700000000.5", None),
            (Seconds, "", None),
            (Seconds, "99999999999999999999", None),
            (Milliseconds, "1700000000999", Some(1_700_000_000)),
            (Rfc3339, "2023-11-14T22:13:20Z", Some(1_700_000_000)),
            (
                Rfc3339,
                "2023-11-14T23:13:20.123+01:00",
                Some(1_700_000_000),
            ),
            (Rfc3339, "2023-11-14", None),
            (Rfc3339, "1700000000", None),
        ] {
            assert_eq!(unit.read(text.as_bytes()), seconds, "{unit:?} {text}");
        }
        for unit in [Seconds, Milliseconds, Rfc3339] {
            let text = unit.write(1_700_000_000).unwrap();
            assert_eq!(unit.read(text.as_bytes()), Some(1_700_000_000), "{text}");
        }
    }
}
