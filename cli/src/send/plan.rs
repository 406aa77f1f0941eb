//! What to send, where to, and how fast.

use std::fmt;
use std::num::NonZeroUsize;

use hyper::Uri;
use trunkline_model::secret::SecretBytes;

/// Everything that a run of [`super::Sender`] needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to post.
    pub target: Target,
    /// The shared secret of Segment's; none: no signature is sent.
    pub secret: Option<SecretBytes>,
    /// How many events.
    pub count: u64,
    /// Events per second over all connections, above 0; none: as fast as they are answered.
    pub rate: Option<f64>,
    /// How many requests may be under way at once, each on a connection of its own.
    pub concurrency: NonZeroUsize,
    /// Events per request, as a JSON array; none: one event per request, as an object.
    pub batch: Option<NonZeroUsize>,
    /// Which events; see [`crate::segment::EventGenerator`].
    pub seed: u64,
}

/// An `http` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The header `Host`: the URL's authority as it was written.
    pub(crate) authority: String,
    /// What the request line names: path and query.
    pub(crate) path: Uri,
}

/// Why a URL cannot be posted to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// It is no URL, or one without a scheme or a host.
    #[error(
        "url {0:?} is not complete; give one such as http://127.0.0.1:8080/webhooks/default/segment"
    )]
    NotAUrl(String),
    /// Only plain HTTP is spoken.
    #[error("url {url:?} has the scheme {scheme}; give an http:// URL of the receiver itself")]
    Scheme {
        /// The URL.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// `http://user:password@host/`.
    #[error("the url carries a user name; give it without the part before the @")]
    UserInfo,
}

impl Target {
    /// Takes an `http` URL apart.
    ///
    /// # Errors
    /// [`PlanError`] with the URL and what to write instead.
    pub fn parse(url: &str) -> Result<Self, PlanError> {
        let incomplete = || PlanError::NotAUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| incomplete())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(incomplete());
        };
        if authority.as_str().contains('@') {
            return Err(PlanError::UserInfo);
        }
        if scheme != "http" {
            return Err(PlanError::Scheme {
                url: url.to_owned(),
                scheme: scheme.to_owned(),
            });
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            path: path.parse().map_err(|_| incomplete())?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, path) in [
            (
                "http://127.0.0.1:8080/webhooks/a/b?t=1",
                "127.0.0.1",
                8080,
                "/webhooks/a/b?t=1",
            ),
            ("http://[::1]:9/x", "::1", 9, "/x"),
            ("http://hooks.example", "hooks.example", 80, "/"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
            assert_eq!(target.path, path, "{url}");
        }
    }

    #[test]
    fn https_and_half_urls_are_refused_with_what_to_write() {
        let https = Target::parse("https://hooks.example/x")
            .unwrap_err()
            .to_string();
        assert!(
            https.contains("https") && https.contains("http://"),
            "{https}"
        );
        for half in [
            "/webhooks/a/b",
            "127.0.0.1:8080",
            "",
            "http://",
            "not a url",
        ] {
            let error = Target::parse(half).unwrap_err();
            assert!(error.to_string().contains("http://"), "{half}: {error}");
        }
        let error = Target::parse("http://me:hunter2@h/").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
