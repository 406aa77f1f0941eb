//! What requests a source takes, beside how they prove themselves: methods, origins, body formats.

use serde::{Deserialize, Serialize};

use crate::columns::Column;
use crate::document::SourceSettings;

/// Body formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyFormat {
    /// A stream of whitespace-separated JSON values.
    Json,
    /// UTF-8 text, one row.
    Text,
    /// Any bytes, one row.
    Bytes,
    /// `application/x-www-form-urlencoded`, one row: a JSON object of its fields.
    Form,
}

impl BodyFormat {
    /// The physical column that the view shows as `body`.
    #[must_use]
    pub fn column(self) -> Column {
        match self {
            Self::Json | Self::Form => Column::BodyJson,
            Self::Text => Column::BodyText,
            Self::Bytes => Column::Raw,
        }
    }

    /// What [`crate::document::SourceEntry::requires`] names for it; none for what every version
    /// knows.
    fn construct(self) -> Option<&'static str> {
        match self {
            Self::Json => None,
            Self::Text => Some("body.text"),
            Self::Bytes => Some("body.bytes"),
            Self::Form => Some("body.form"),
        }
    }
}

/// Methods that may carry an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RequestMethod {
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
}

impl RequestMethod {
    /// Every method that a source can take.
    pub const ALL: [Self; 3] = [Self::Post, Self::Put, Self::Patch];

    /// The method as a request spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// Which requests are for a source at all. It is known also while the source cannot be served, so
/// that a browser reads the 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPolicy {
    /// Methods that carry events.
    pub methods: Vec<RequestMethod>,
    /// Which pages of browsers may post and read the answer; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
}

/// The policy of a document that says nothing: POST, from no page.
impl Default for HttpPolicy {
    fn default() -> Self {
        Self {
            methods: vec![RequestMethod::Post],
            cors: None,
        }
    }
}

impl HttpPolicy {
    /// The policy of a source whose own cannot be read: every method that a source can take, so that
    /// it is answered with 503 and not lost with 405.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            methods: RequestMethod::ALL.to_vec(),
            cors: None,
        }
    }

    /// Whether it is the default, which a document leaves out.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.cors.is_none() && self.methods == [RequestMethod::Post]
    }

    /// Whether a request with this method may carry events.
    #[must_use]
    pub fn takes(&self, method: &str) -> bool {
        self.methods.iter().any(|taken| taken.as_str() == method)
    }

    /// The methods as the header `Allow` lists them.
    #[must_use]
    pub fn allow(&self) -> String {
        let names: Vec<_> = self.methods.iter().map(|method| method.as_str()).collect();
        names.join(", ")
    }
}

/// Cross-origin resource sharing, as the Fetch standard defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins as a browser serialises them, in lower case: `https://app.example.com`. `*` is any.
    pub origins: Vec<String>,
}

impl Cors {
    /// Whether pages of this origin, the value of a header `Origin`, may post.
    #[must_use]
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin))
    }
}

/// Every construct that [`constructs`] can name.
pub(crate) const CONSTRUCTS: &[&str] = &[
    "body.text",
    "body.bytes",
    "body.form",
    "headers.bytes",
    "http.methods",
    "http.cors",
];

/// What an ingester must know to take the requests of a source as it is meant, for
/// [`crate::document::SourceEntry::requires`]. One that ignored a method would answer 405 and lose
/// the event.
pub(crate) fn constructs(settings: &SourceSettings) -> impl Iterator<Item = &'static str> {
    let has_bytes = settings.header_columns.iter().any(|header| header.bytes);
    let has_methods = settings.http.methods != [RequestMethod::Post];
    [
        settings.body.construct(),
        has_bytes.then_some("headers.bytes"),
        has_methods.then_some("http.methods"),
        settings.http.cors.is_some().then_some("http.cors"),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_whole_and_without_regard_to_case() {
        let listed = Cors {
            origins: vec!["https://app.example.com".to_owned()],
        };
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("HTTPS://App.Example.com", true),
            ("https://app.example.com.evil.example", false),
            ("https://app.example.com:8443", false),
            ("http://app.example.com", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(listed.allows(origin.as_bytes()), allowed, "{origin}");
        }
        let any = Cors {
            origins: vec!["*".to_owned()],
        };
        assert!(any.allows(b"https://anyone.example"));
        assert!(!Cors { origins: vec![] }.allows(b"https://anyone.example"));
    }

    #[test]
    fn the_default_takes_post_alone() {
        let policy = HttpPolicy::default();
        assert!(policy.is_default() && policy.takes("POST") && !policy.takes("PUT"));
        assert_eq!(policy.allow(), "POST");
        let more = HttpPolicy {
            methods: vec![RequestMethod::Post, RequestMethod::Patch],
            cors: None,
        };
        assert!(!more.is_default() && more.takes("PATCH") && !more.takes("patch"));
        assert_eq!(more.allow(), "POST, PATCH");
    }
}
