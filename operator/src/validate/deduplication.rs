//! Validates `spec.deduplicate`.

use trunkline_crds::{Deduplicate, DeduplicateBy, MAX_DEDUPLICATE_KEYS};
use trunkline_model::deduplication::{
    Deduplication, Identity, MAX_WINDOW_SECONDS, MIN_WINDOW_SECONDS,
};
use trunkline_model::redaction::ANY;
use trunkline_model::request::BodyFormat;

use super::redaction::key_fault;
use super::source::{is_header_name, parse_duration};
use crate::problem::Collector;

pub(super) fn deduplication(
    spec: Option<&Deduplicate>,
    format: BodyFormat,
    collector: &mut Collector<'_>,
) -> Option<Deduplication> {
    let spec = spec?;
    let window_seconds = window(&spec.window, collector);
    let needs_json = matches!(spec.by, DeduplicateBy::MessageId | DeduplicateBy::Path);
    if needs_json && !matches!(format, BodyFormat::Json | BodyFormat::Form) {
        collector.add(
            "spec.deduplicate.by",
            "needs bodies of JSON; set spec.body.format to Json, JsonArray or Form, or by to Header \
             or BodyHash",
        );
    }
    if spec.header.is_some() && spec.by != DeduplicateBy::Header {
        collector.add(
            "spec.deduplicate.header",
            "goes with by: Header alone; remove it",
        );
    }
    if spec.path.is_some() && spec.by != DeduplicateBy::Path {
        collector.add(
            "spec.deduplicate.path",
            "goes with by: Path alone; remove it",
        );
    }
    let by = match spec.by {
        DeduplicateBy::MessageId => Identity::MessageId,
        DeduplicateBy::Header => Identity::Header {
            name: header(spec.header.as_deref(), collector),
        },
        DeduplicateBy::Path => Identity::Path {
            keys: path(spec.path.as_deref(), collector),
        },
        DeduplicateBy::BodyHash => Identity::BodyHash,
    };
    Some(Deduplication {
        by,
        window_seconds: window_seconds?,
    })
}

fn window(text: &str, collector: &mut Collector<'_>) -> Option<u32> {
    let within = MIN_WINDOW_SECONDS..=MAX_WINDOW_SECONDS;
    let seconds = parse_duration(text).and_then(|seconds| u32::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| within.contains(seconds));
    if seconds.is_none() {
        collector.add(
            "spec.deduplicate.window",
            format!("{text:?} is not a duration from 1m to 168h; write one like 24h or 90m"),
        );
    }
    seconds
}

fn header(name: Option<&str>, collector: &mut Collector<'_>) -> String {
    let field = "spec.deduplicate.header";
    match name {
        None => collector.add(
            field,
            "is not set, and by: Header needs it; write one like X-GitHub-Delivery",
        ),
        Some(name) if !is_header_name(name) => {
            collector.add(field, format!("{name:?} is not a header name"));
        }
        Some(_) => {}
    }
    name.unwrap_or_default().to_ascii_lowercase()
}

fn path(keys: Option<&[String]>, collector: &mut Collector<'_>) -> Vec<String> {
    let field = "spec.deduplicate.path";
    let Some(keys) = keys else {
        collector.add(
            field,
            "is not set, and by: Path needs it; write one like [data, id]",
        );
        return Vec::new();
    };
    if keys.is_empty() || keys.len() > MAX_DEDUPLICATE_KEYS {
        let count = keys.len();
        collector.add(
            field,
            format!("has {count} keys; list 1 to {MAX_DEDUPLICATE_KEYS}, from the outside in"),
        );
    }
    for (place, key) in keys.iter().enumerate() {
        let fault = if key == ANY {
            Some(format!(
                "{ANY:?} would be many values; write the key of one"
            ))
        } else {
            key_fault(
                key,
                "which is not looked at; write a key, or a place from 0",
            )
        };
        if let Some(fault) = fault {
            collector.add(format!("{field}[{place}]"), fault);
        }
    }
    keys.to_vec()
}
