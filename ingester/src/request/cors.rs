//! Answers to browsers: cross-origin resource sharing, as the Fetch standard has it.
//!
//! Invariant: every answer to a page that may post says so, refusals too, since a browser hides the
//! status otherwise. Any other page learns nothing.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response};
use trunkline_model::request::HttpPolicy;

/// What an answer says to browsers. Empty for a source without such a policy.
#[derive(Debug, Default)]
pub(super) struct CorsHeaders(HeaderMap);

impl CorsHeaders {
    /// What every answer to this request carries.
    pub(super) fn of(policy: &HttpPolicy, request: &HeaderMap) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(cors) = &policy.cors {
            // Also where the origin is not allowed: a cache must not give it this answer's twin.
            headers.insert(VARY, HeaderValue::from_static("Origin"));
            if let Some(origin) = request.get(ORIGIN)
                && cors.allows(origin.as_bytes())
            {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
        Self(headers)
    }

    /// Puts them on an answer.
    pub(super) fn apply<B>(self, response: &mut Response<B>) {
        // Without a policy there is nothing, and nothing is copied.
        if !self.0.is_empty() {
            response.headers_mut().extend(self.0);
        }
    }

    fn allows(&self) -> bool {
        self.0.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
    }
}

/// The answer to a preflight: which methods and headers a page may use. `None` when the request is
/// none, or comes from a page that may not post.
pub(super) fn preflight(
    policy: &HttpPolicy,
    cors: &CorsHeaders,
    head: &Parts,
) -> Option<Response<Full<Bytes>>> {
    if head.method != Method::OPTIONS || !cors.allows() {
        return None;
    }
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    // Names of methods are always a valid value.
    if let Ok(methods) = HeaderValue::from_str(&policy.allow()) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    if let Some(asked) = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(response)
}
