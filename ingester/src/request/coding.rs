//! The header Content-Encoding: in which of the codings that we read a body is sent.

use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;

use super::refusal::Refusal;

/// A coding of a body (RFC 9110 §8.4.1; br RFC 7932, zstd RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// The zlib format, as RFC 9110 has it, and not raw DEFLATE.
    Deflate,
    Brotli,
    Zstd,
}

/// Every coding, as `Accept-Encoding` of a refusal lists them.
pub(super) const ACCEPTED: &str = "gzip, deflate, br, zstd";

impl Coding {
    /// The coding's registered name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of a request; `None` for a body that is sent as it is. More than one coding is
    /// refused: a bomb could be wrapped in itself, and no sender does it.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut coding = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let unknown = || Refusal::ContentEncoding(value.clone());
            for name in value.as_bytes().split(|&byte| byte == b',') {
                let name = name.trim_ascii();
                if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                    continue;
                }
                let this = Self::by_name(name).ok_or_else(unknown)?;
                if coding.replace(this).is_some() {
                    return Err(unknown());
                }
            }
        }
        Ok(coding)
    }

    fn by_name(name: &[u8]) -> Option<Self> {
        // RFC 9110 §8.4.1.3: x-gzip is the same.
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd]
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Option<Coding>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, value.parse().unwrap());
        }
        Coding::of(&headers).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn one_coding_is_read_in_any_spelling() {
        for (values, coding) in [
            (&[][..], None),
            (&["identity"], None),
            (&[""], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&["Deflate"], Some(Coding::Deflate)),
            (&["br"], Some(Coding::Brotli)),
            (&["zstd"], Some(Coding::Zstd)),
            (&["identity, br ,identity"], Some(Coding::Brotli)),
            (&["identity", "zstd"], Some(Coding::Zstd)),
        ] {
            assert_eq!(of(values), Ok(coding), "{values:?}");
        }
        let listed: Vec<_> = ACCEPTED.split(", ").collect();
        for name in listed {
            assert_eq!(of(&[name]).unwrap().unwrap().name(), name);
        }
    }

    #[test]
    fn an_unknown_coding_and_a_second_one_are_refused() {
        for values in [
            &["compress"][..],
            &["gzip, gzip"],
            &["gzip, br"],
            &["gzip", "zstd"],
            &["gzip;q=1"],
        ] {
            assert!(of(values).is_err(), "{values:?}");
        }
    }
}
