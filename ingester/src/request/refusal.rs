//! Why a request is refused, and what its sender is told: the one table of statuses and texts.
//!
//! The texts are those that Materialize answers with. Invariants: what is our trouble, or may pass,
//! is 503 (or 429, or 408), because Segment drops an event for good on any other 4xx. A failed verification
//! tells nothing of its reason to the sender.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::budget::Exhausted;
use super::coding::ACCEPTED;
use super::form;
use crate::commit::CommitError;
use crate::json::InvalidJson;
use crate::verify::Unverified;

/// How much of an unknown path is said back.
const MAX_PATH_CHARS: usize = 200;

/// Why a request is not acknowledged. `Display` is for the owner's log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no configuration has been loaded yet")]
    NotConfigured,
    /// The path stays out of the log: it may hold a token.
    #[error("no source has the request's path")]
    UnknownPath(String),
    /// With the methods that the source takes.
    #[error("the source takes only {0}")]
    Method(String),
    #[error("the request has a Transfer-Encoding besides chunked")]
    TransferEncoding,
    #[error("the body has a Content-Encoding that is not supported, or more than one")]
    ContentEncoding(HeaderValue),
    /// With the coding.
    #[error("the body is not valid {0}")]
    NotDecompressible(&'static str),
    /// With the reason from the configuration.
    #[error("the source cannot be served: {0}")]
    SourceUnavailable(String),
    #[error("the bytes in flight are at their limit")]
    Overloaded,
    #[error("the source holds its share of the bytes in flight")]
    SourceOverloaded,
    /// With the time after which a request would be taken.
    #[error("the source is posted to more often than its limits allow")]
    RateLimited { wait: Duration },
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body decodes to more than {limit} bytes of rows")]
    RowsTooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the body ended before its end")]
    BodyAborted,
    #[error(transparent)]
    Unverified(#[from] Unverified),
    #[error("the body is not JSON: {0}")]
    NotJson(#[from] InvalidJson),
    #[error("the body is not UTF-8 at byte {offset}")]
    NotText { offset: usize },
    #[error("the form has more than {} fields", form::MAX_FIELDS)]
    TooManyFields,
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the commit did not end in time")]
    CommitTimeout,
    #[error("a defect of the ingester ended the request; please report it")]
    Defect,
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Pod => Self::Overloaded,
            Exhausted::Source => Self::SourceOverloaded,
        }
    }
}

impl Refusal {
    /// A short, fixed name for metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::UnknownPath(_) => "unknown_path",
            Self::Method(_) => "method",
            Self::TransferEncoding => "transfer_encoding",
            Self::ContentEncoding(_) => "content_encoding",
            Self::NotDecompressible(_) => "not_decompressible",
            Self::SourceUnavailable(_) => "source_unavailable",
            Self::Overloaded => "overloaded",
            Self::SourceOverloaded => "source_overloaded",
            Self::RateLimited { .. } => "rate_limited",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::RowsTooLarge { .. } => "rows_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::BodyAborted => "body_aborted",
            Self::Unverified(reason) => reason.label(),
            Self::NotJson(_) => "not_json",
            Self::NotText { .. } => "not_text",
            Self::TooManyFields => "too_many_fields",
            Self::Commit(error) => error.label(),
            Self::CommitTimeout => "commit_timeout",
            Self::Defect => "defect",
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge { .. } | Self::RowsTooLarge { .. } | Self::TooManyFields => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BodyTimeout | Self::BodyAborted => StatusCode::REQUEST_TIMEOUT,
            Self::SourceOverloaded | Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TransferEncoding
            | Self::Unverified(_)
            | Self::NotDecompressible(_)
            | Self::NotJson(_)
            | Self::NotText { .. } => StatusCode::BAD_REQUEST,
            Self::NotConfigured
            | Self::SourceUnavailable(_)
            | Self::Overloaded
            | Self::Commit(_)
            | Self::CommitTimeout
            | Self::Defect => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// After how many seconds the sender is told to come again.
    fn retry_after(&self) -> Option<u64> {
        match (self, self.status()) {
            // Rounded up, since a sender that comes too early is refused again.
            (Self::RateLimited { wait }, _) => Some(whole_seconds(*wait)),
            (_, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Some(1),
            _ => None,
        }
    }

    /// What the sender reads.
    fn text(&self) -> String {
        match self {
            Self::UnknownPath(path) => {
                let path: String = path.chars().take(MAX_PATH_CHARS).collect();
                format!("no object was found at the path {path:?}")
            }
            Self::Method(allowed) => format!("only {allowed} is allowed"),
            Self::TransferEncoding => {
                "the transfer encoding is not supported; send chunked alone".to_owned()
            }
            Self::ContentEncoding(encoding) => {
                let encoding = String::from_utf8_lossy(encoding.as_bytes());
                let encoding: String = encoding.chars().take(MAX_PATH_CHARS).collect();
                format!(
                    "the content encoding {encoding:?} is not supported; send one of {ACCEPTED}, or \
                     the body as it is"
                )
            }
            Self::NotDecompressible(coding) => {
                format!("failed to decompress body: it is not valid {coding}")
            }
            Self::BodyTooLarge { limit } => {
                format!("request body exceeds the maximum allowed size of {limit} bytes")
            }
            Self::RowsTooLarge { limit } => format!(
                "request body decodes to more than the maximum allowed {limit} bytes of rows"
            ),
            Self::BodyTimeout | Self::BodyAborted => {
                "the request body did not arrive in time".to_owned()
            }
            Self::SourceOverloaded | Self::RateLimited { .. } => {
                "too many requests, try again later".to_owned()
            }
            Self::Unverified(_) => "failed to validate the request".to_owned(),
            Self::NotJson(error) => format!("failed to deserialize body as Jsonb: {error}"),
            Self::NotText { offset } => {
                format!("failed to deserialize body as String: invalid UTF-8 at byte {offset}")
            }
            Self::TooManyFields => format!(
                "request body has more than the maximum allowed {} form fields",
                form::MAX_FIELDS
            ),
            Self::NotConfigured
            | Self::SourceUnavailable(_)
            | Self::Overloaded
            | Self::Commit(_)
            | Self::CommitTimeout
            | Self::Defect => "service unavailable".to_owned(),
        }
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.text()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        match self {
            // Names of methods are always a valid value.
            Self::Method(allowed) => {
                if let Ok(allowed) = HeaderValue::from_str(allowed) {
                    headers.insert(ALLOW, allowed);
                }
            }
            // Where such a body ends is a matter of opinion, and so is where the next request begins.
            Self::TransferEncoding => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::ContentEncoding(_) => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Rounded up, and at least one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_read_the_texts_that_guides_tell_them_to_look_for() {
        let not_json = crate::json::decode(b"{]", crate::json::ArrayRows::Whole).unwrap_err();
        let long = "/".repeat(1_000);
        let cases = [
            (
                Refusal::NotConfigured,
                503,
                "service unavailable".to_owned(),
            ),
            (
                Refusal::SourceUnavailable("secret".to_owned()),
                503,
                "service unavailable".to_owned(),
            ),
            (
                Refusal::Commit(CommitError::NoPartition),
                503,
                "service unavailable".to_owned(),
            ),
            (Refusal::Defect, 503, "service unavailable".to_owned()),
            (
                Refusal::SourceOverloaded,
                429,
                "too many requests, try again later".to_owned(),
            ),
            (
                Refusal::UnknownPath("/a\"b".to_owned()),
                404,
                "no object was found at the path \"/a\\\"b\"".to_owned(),
            ),
            (
                Refusal::UnknownPath(long),
                404,
                format!("no object was found at the path \"{}\"", "/".repeat(200)),
            ),
            (
                Refusal::Unverified(Unverified::Missing),
                400,
                "failed to validate the request".into(),
            ),
            (
                Refusal::NotJson(not_json),
                400,
                "failed to deserialize body as Jsonb: expected a string as object key at line 1 \
                 column 2"
                    .to_owned(),
            ),
            (
                Refusal::BodyTooLarge { limit: 6 },
                413,
                "request body exceeds the maximum allowed size of 6 bytes".to_owned(),
            ),
        ];
        for (refusal, status, text) in cases {
            assert_eq!(refusal.status().as_u16(), status, "{refusal}");
            assert_eq!(refusal.text(), text);
        }
    }

    #[test]
    fn our_trouble_names_a_time_to_come_again() {
        for refusal in [Refusal::Overloaded, Refusal::SourceOverloaded] {
            assert_eq!(refusal.response().headers()[RETRY_AFTER], "1");
        }
        for (millis, seconds) in [
            (0, "1"),
            (1, "1"),
            (1_000, "1"),
            (1_001, "2"),
            (59_500, "60"),
        ] {
            let wait = Duration::from_millis(millis);
            let response = Refusal::RateLimited { wait }.response();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
        let method = Refusal::Method("POST, PUT".to_owned());
        assert_eq!(method.text(), "only POST, PUT is allowed");
        let response = method.response();
        assert!(!response.headers().contains_key(RETRY_AFTER));
        assert_eq!(response.headers()[ALLOW], "POST, PUT");
        let coding = Refusal::ContentEncoding(HeaderValue::from_static("compress"));
        assert_eq!(coding.response().headers()[ACCEPT_ENCODING], ACCEPTED);
        let framing = Refusal::TransferEncoding.response();
        assert_eq!(framing.headers()[CONNECTION], "close");
    }

    /// Every refusal. What is not told apart by its reason is there once.
    fn every() -> Vec<Refusal> {
        let not_json = crate::json::decode(b"{]", crate::json::ArrayRows::Whole).unwrap_err();
        let why = || std::sync::Arc::from("why");
        let mut every = vec![
            Refusal::NotConfigured,
            Refusal::UnknownPath(String::new()),
            Refusal::Method(String::new()),
            Refusal::TransferEncoding,
            Refusal::ContentEncoding(HeaderValue::from_static("x")),
            Refusal::NotDecompressible("gzip"),
            Refusal::SourceUnavailable(String::new()),
            Refusal::Overloaded,
            Refusal::SourceOverloaded,
            Refusal::RateLimited {
                wait: Duration::ZERO,
            },
            Refusal::BodyTooLarge { limit: 1 },
            Refusal::RowsTooLarge { limit: 1 },
            Refusal::BodyTimeout,
            Refusal::BodyAborted,
            Refusal::NotJson(not_json),
            Refusal::NotText { offset: 1 },
            Refusal::TooManyFields,
            Refusal::CommitTimeout,
            Refusal::Defect,
        ];
        let unverified = [
            Unverified::Missing,
            Unverified::Repeated,
            Unverified::Malformed,
            Unverified::Mismatch,
            Unverified::SignedHeaderMissing,
            Unverified::TimestampMissing,
            Unverified::TimestampMalformed,
            Unverified::TimestampTooOld,
            Unverified::TimestampInFuture,
            Unverified::SecretMissing,
            Unverified::SecretMalformed,
            Unverified::SecretMismatch,
        ];
        every.extend(unverified.map(Refusal::Unverified));
        let commit = [
            CommitError::Unavailable(why()),
            CommitError::NotDurable(why()),
            CommitError::UnknownOutcome(why()),
            CommitError::Undecided(why()),
            CommitError::NoPartition,
            CommitError::Unacceptable(tokio_postgres::error::SqlState::INTERNAL_ERROR),
            CommitError::Stopping,
        ];
        every.extend(commit.map(Refusal::Commit));
        // A new one does not compile here; add it above and to the page.
        for refusal in &every {
            match refusal {
                Refusal::NotConfigured
                | Refusal::UnknownPath(_)
                | Refusal::Method(_)
                | Refusal::TransferEncoding
                | Refusal::ContentEncoding(_)
                | Refusal::NotDecompressible(_)
                | Refusal::SourceUnavailable(_)
                | Refusal::Overloaded
                | Refusal::SourceOverloaded
                | Refusal::RateLimited { .. }
                | Refusal::BodyTooLarge { .. }
                | Refusal::RowsTooLarge { .. }
                | Refusal::BodyTimeout
                | Refusal::BodyAborted
                | Refusal::Unverified(_)
                | Refusal::NotJson(_)
                | Refusal::NotText { .. }
                | Refusal::TooManyFields
                | Refusal::Commit(_)
                | Refusal::CommitTimeout
                | Refusal::Defect => {}
            }
        }
        every
    }

    #[test]
    fn the_page_has_every_reason_with_its_status() {
        let page = include_str!("../../../docs/rejections.md");
        let row = |line: &str| -> Option<String> {
            let (status, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
            let (reason, _) = rest.split_once("` |")?;
            let is_status = status.bytes().all(|byte| byte.is_ascii_digit());
            is_status.then(|| format!("{status} {reason}"))
        };
        let mut listed: Vec<_> = page.lines().filter_map(row).collect();
        let name =
            |refusal: &Refusal| format!("{} {}", refusal.status().as_u16(), refusal.reason());
        let mut known: Vec<_> = every().iter().map(name).collect();
        listed.sort();
        known.sort();
        assert_eq!(listed, known);
    }
}
