//! Validates what requests a WebhookSource takes: body, methods, origins, how many.

use std::num::NonZeroU32;

use trunkline_crds::{Body, BodyFormat, Cors, MAX_RATE, RequestMethod, SourceLimits};
use trunkline_model::limits::RateLimit;
use trunkline_model::request::{self, HttpPolicy};

use crate::problem::Collector;

/// The format, and whether it makes each element of an array a row.
pub(super) fn body(spec: &Body) -> (request::BodyFormat, bool) {
    match spec.format {
        BodyFormat::Json => (request::BodyFormat::Json, false),
        BodyFormat::JsonArray => (request::BodyFormat::Json, true),
        BodyFormat::Text => (request::BodyFormat::Text, false),
        BodyFormat::Bytes => (request::BodyFormat::Bytes, false),
        BodyFormat::Form => (request::BodyFormat::Form, false),
    }
}

pub(super) fn http(
    methods: &[RequestMethod],
    cors: Option<&Cors>,
    collector: &mut Collector<'_>,
) -> HttpPolicy {
    if methods.is_empty() {
        collector.add("spec.methods", "is empty; list POST, PUT or PATCH");
    }
    let known: Vec<_> = methods.iter().map(|method| model(*method)).collect();
    for (index, method) in known.iter().enumerate() {
        if known[..index].contains(method) {
            let name = method.as_str();
            collector.add(
                format!("spec.methods[{index}]"),
                format!("{name} is there twice; remove one"),
            );
        }
    }
    HttpPolicy {
        methods: known,
        cors: cors.map(|cors| origins(cors, collector)),
    }
}

fn model(method: RequestMethod) -> request::RequestMethod {
    match method {
        RequestMethod::Post => request::RequestMethod::Post,
        RequestMethod::Put => request::RequestMethod::Put,
        RequestMethod::Patch => request::RequestMethod::Patch,
    }
}

fn origins(cors: &Cors, collector: &mut Collector<'_>) -> request::Cors {
    if cors.origins.is_empty() {
        collector.add(
            "spec.cors.origins",
            "is empty; list origins, or remove cors to allow none",
        );
    }
    for (index, origin) in cors.origins.iter().enumerate() {
        if !is_origin(origin) {
            collector.add(
                format!("spec.cors.origins[{index}]"),
                format!(
                    "{origin:?} is no origin; write * or one like https://app.example.com: lower \
                     case, without a path"
                ),
            );
        }
    }
    request::Cors {
        origins: cors.origins.clone(),
    }
}

/// The limit, of which an absent burst is one second's requests.
pub(super) fn rate_limit(
    spec: Option<&SourceLimits>,
    collector: &mut Collector<'_>,
) -> Option<RateLimit> {
    let spec = spec?;
    let mut number = |field: &str, number: i64| {
        let found = u32::try_from(number)
            .ok()
            .filter(|&number| number <= MAX_RATE)
            .and_then(NonZeroU32::new);
        if found.is_none() {
            collector.add(
                format!("spec.limits.{field}"),
                format!("is {number}; write a whole number from 1 to {MAX_RATE}"),
            );
        }
        found
    };
    let requests_per_second = number("requestsPerSecond", spec.requests_per_second);
    let burst = match spec.burst {
        Some(burst) => number("burst", burst),
        None => requests_per_second,
    };
    Some(RateLimit {
        requests_per_second: requests_per_second?,
        burst: burst?,
    })
}

/// As the schema's rule has it, for those who have no API server.
fn is_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = port.is_none_or(|port| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_host = match address {
        Some(address) => {
            !address.is_empty()
                && address
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b':')
        }
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        }
    };
    is_scheme && is_port && is_host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_second_unless_it_is_given() {
        let limit = |requests_per_second, burst| {
            let limits = SourceLimits {
                requests_per_second,
                burst,
            };
            let mut collector = Collector::new(None, "WebhookSource a/b".to_owned());
            let limit = rate_limit(Some(&limits), &mut collector);
            let limit = limit.map(|limit| (limit.requests_per_second.get(), limit.burst.get()));
            collector
                .finish(limit)
                .map_err(|problems| problems.to_string())
        };
        assert_eq!(limit(100, None), Ok((100, 100)));
        assert_eq!(limit(100, Some(5)), Ok((100, 5)));
        for (rate, burst, field) in [
            (0, None, "spec.limits.requestsPerSecond: is 0; write"),
            (-1, Some(1), "spec.limits.requestsPerSecond"),
            (1_000_001, None, "spec.limits.requestsPerSecond"),
            (1, Some(0), "spec.limits.burst: is 0; write"),
        ] {
            let error = limit(rate, burst).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, expected) in [
            ("*", true),
            ("https://app.example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:8080", true),
            ("http://[::1]", true),
            ("chrome-extension://abcdef", true),
            ("https://app.example.com/", false),
            ("https://App.example.com", false),
            ("https://*.example.com", false),
            ("app.example.com", false),
            ("https://", false),
            ("https://a:port", false),
            ("https://a:123456", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(is_origin(text), expected, "{text}");
        }
    }
}
