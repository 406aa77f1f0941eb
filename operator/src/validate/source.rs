//! Validates a WebhookSource.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_crds::{HeaderColumn, IncludeHeaders, WebhookSource, WebhookSourceSpec};
use trunkline_model::columns;
use trunkline_model::headers::{self, HeaderSelection};
use trunkline_model::names::{ClusterName, MAX_IDENTIFIER_BYTES, SchemaName, SourceName};
use trunkline_model::request::BodyFormat;

use super::deduplication::deduplication;
use super::redaction::redaction;
use super::request::{body, http, rate_limit};
use super::storage;
use super::verification::verification;
use super::views::{Shown, views};
use super::warehouse;
use super::{Source, Unavailable, UnavailableReason};
use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem, Problems};

/// Bound on `spec.path`, far above what senders' forms take.
const MAX_PATH_BYTES: usize = 1024;
/// Bound on `spec.rotationGrace`: a replaced secret that stays for longer is no longer rotated out.
const MAX_GRACE_SECONDS: i64 = 30 * 24 * 3600;

/// What earlier sources hold: a path or a schema has one owner.
#[derive(Debug, Default)]
pub(super) struct Claims {
    paths: BTreeMap<String, SourceName>,
    schemas: BTreeMap<SchemaName, SourceName>,
}

pub(super) fn name(object: &WebhookSource) -> Option<SourceName> {
    let metadata = &object.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    SourceName::new(namespace, metadata.name.as_deref()?).ok()
}

pub(super) fn validate(
    name: &SourceName,
    located: &Located<WebhookSource>,
    cluster: &ClusterName,
    manifests: &Manifests,
    claims: &mut Claims,
) -> Result<Source, Problems> {
    let spec = &located.object.spec;
    let mut collector = Collector::new(located.file.as_deref(), format!("WebhookSource {name}"));
    if spec.cluster_ref.name != cluster.name() || name.namespace() != cluster.namespace() {
        collector.add(
            "spec.clusterRef.name",
            format!(
                "there is no WebhookCluster {}/{} (there is {cluster}); create it, or correct the name",
                name.namespace(),
                spec.cluster_ref.name
            ),
        );
    }
    let path = path(name, spec, claims, &mut collector);
    let schema = schema(name, spec, cluster, claims, &mut collector);
    let include_headers = include_headers(spec.include_headers.as_ref(), &mut collector);
    let header_columns = header_columns(&spec.headers, &mut collector);
    let (format, splits_arrays) = body(&spec.body);
    let http = http(&spec.methods, spec.cors.as_ref(), &mut collector);
    let rate_limit = rate_limit(spec.limits.as_ref(), &mut collector);
    let grace_seconds = rotation_grace(&spec.rotation_grace, &mut collector);
    readers(&spec.readers, &mut collector);
    let retention_days = storage::retention_days(spec.retention.as_deref(), &mut collector);
    let partition_by = storage::partition_by(spec.partition_by, retention_days, &mut collector);
    let indexes = storage::indexes(
        &spec.indexes,
        spec.storage,
        spec.body.format,
        &mut collector,
    );
    let layout = warehouse::layout(spec.warehouse.as_ref(), spec.body.format, &mut collector);
    let storage = storage::storage(spec.storage);
    warehouse::materialized(spec.warehouse.as_ref(), storage, &mut collector);
    let shown = Shown::new(format, &header_columns);
    let object = format!("WebhookSource {name}");
    let (views, view_problems) = views(&spec.views, &shown, located.file.as_deref(), &object);
    let deduplication = deduplication(spec.deduplicate.as_ref(), format, &mut collector);
    let redacted = redaction(name, located, format, manifests, &mut collector);
    let (shaping, warehouse_problems) = warehouse::shaping(
        spec.warehouse.as_ref(),
        layout,
        located.file.as_deref(),
        &object,
    );
    let verified = verification(name, located, manifests, &mut collector);
    let source = match (schema, verified) {
        (Some(schema), Some(verified)) => Some(Source {
            name: name.clone(),
            generation: located.object.metadata.generation.unwrap_or(0),
            path,
            schema,
            body: format,
            split_arrays: format == BodyFormat::Json && (verified.splits_arrays || splits_arrays),
            http,
            rate_limit,
            include_headers,
            header_columns,
            redaction: redacted.redaction,
            deduplication,
            verification: verified.verification,
            rotation_grace_seconds: grace_seconds,
            readers: spec.readers.clone(),
            retention_days,
            partition_by,
            storage,
            indexes,
            layout,
            shaping,
            deletion_policy: spec.deletion_policy,
            unavailable: if spec.suspend {
                Some(suspended(name, located))
            } else {
                verified.unavailable.or(redacted.unavailable)
            },
            warnings: [verified.warnings, redacted.warnings].concat(),
            views,
            view_problems,
            warehouse_problems,
        }),
        _ => None,
    };
    let source = collector.finish(source)?;
    // Only a source that is valid claims anything, so that a broken one takes nothing away.
    claims.paths.insert(source.path.clone(), name.clone());
    claims.schemas.insert(source.schema.clone(), name.clone());
    Ok(source)
}

fn path(
    name: &SourceName,
    spec: &WebhookSourceSpec,
    claims: &Claims,
    collector: &mut Collector<'_>,
) -> String {
    let path = spec.path.clone().unwrap_or_else(|| name.default_path());
    let plain = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
    let segments_fit = path
        .split('/')
        .skip(1)
        .all(|segment| !segment.is_empty() && segment != "." && segment != "..");
    if !path.starts_with('/') || !plain || !segments_fit || path.len() > MAX_PATH_BYTES {
        collector.add(
            "spec.path",
            format!(
                "{path:?} is not a path; write one like \"{}\": ASCII, starting with /, without \
                 empty segments, ? or #",
                name.default_path()
            ),
        );
    }
    if let Some(owner) = claims.paths.get(&path) {
        collector.add(
            "spec.path",
            format!("{path:?} belongs to {owner}; choose another path"),
        );
    }
    path
}

fn schema(
    name: &SourceName,
    spec: &WebhookSourceSpec,
    cluster: &ClusterName,
    claims: &Claims,
    collector: &mut Collector<'_>,
) -> Option<SchemaName> {
    let parsed = match &spec.schema {
        Some(schema) => schema.parse(),
        None => name.default_schema(cluster),
    };
    match parsed {
        Err(error) => {
            collector.add("spec.schema", error.to_string());
            None
        }
        Ok(schema) => match claims.schemas.get(&schema) {
            Some(owner) => {
                collector.add(
                    "spec.schema",
                    format!(
                        "{:?} belongs to {owner}; choose another schema",
                        schema.as_str()
                    ),
                );
                None
            }
            None => Some(schema),
        },
    }
}

pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn include_headers(
    spec: Option<&IncludeHeaders>,
    collector: &mut Collector<'_>,
) -> HeaderSelection {
    let Some(spec) = spec else {
        return HeaderSelection::default();
    };
    let mut lower = |names: &[String], field: &str| -> Vec<String> {
        for (index, name) in names.iter().enumerate() {
            if !is_header_name(name) {
                collector.add(
                    format!("spec.includeHeaders.{field}[{index}]"),
                    format!("{name:?} is not a header name"),
                );
            }
        }
        names.iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    HeaderSelection {
        all: spec.all,
        allow: lower(&spec.allow, "allow"),
        deny: lower(&spec.deny, "deny"),
    }
}

fn header_columns(
    spec: &[HeaderColumn],
    collector: &mut Collector<'_>,
) -> Vec<headers::HeaderColumn> {
    let mut taken: BTreeSet<&str> = columns::viewed().map(|(_, name)| name).collect();
    for (index, HeaderColumn { name, column, .. }) in spec.iter().enumerate() {
        if !is_header_name(name) {
            collector.add(
                format!("spec.headers[{index}].name"),
                format!("{name:?} is not a header name"),
            );
        }
        let field = format!("spec.headers[{index}].column");
        let plain = column
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let starts_well = !column.starts_with(|first: char| first.is_ascii_digit());
        if column.is_empty() || column.len() > MAX_IDENTIFIER_BYTES || !plain || !starts_well {
            collector.add(
                field,
                format!(
                    "{column:?} is not a column name; use 1 to {MAX_IDENTIFIER_BYTES} lower-case \
                     letters, digits and underscores, not starting with a digit"
                ),
            );
        } else if !taken.insert(column) {
            collector.add(
                field,
                format!("the view has a column {column:?} already; choose another name"),
            );
        }
    }
    spec.iter()
        .map(|header| headers::HeaderColumn {
            name: header.name.to_ascii_lowercase(),
            column: header.column.clone(),
            bytes: header.bytes,
        })
        .collect()
}

fn suspended(name: &SourceName, located: &Located<WebhookSource>) -> Unavailable {
    Unavailable {
        reason: UnavailableReason::Suspended,
        problem: Problem {
            file: located.file.clone(),
            object: format!("WebhookSource {name}"),
            field: "spec.suspend".to_owned(),
            message: "is true, so every request is answered with 503; set it to false to go on"
                .to_owned(),
        },
    }
}

/// Seconds of `24h`, `1h30m`, `0s`.
fn rotation_grace(text: &str, collector: &mut Collector<'_>) -> i64 {
    let seconds = parse_duration(text);
    match seconds {
        Some(seconds) if seconds <= MAX_GRACE_SECONDS => seconds,
        _ => {
            collector.add(
                "spec.rotationGrace",
                format!(
                    "{text:?} is not a duration of at most 720h; write one like 24h, 90m or 0s"
                ),
            );
            0
        }
    }
}

pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let (mut total, mut rest) = (0_i64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

fn readers(readers: &[String], collector: &mut Collector<'_>) {
    for (index, reader) in readers.iter().enumerate() {
        if reader.is_empty() || reader.len() > MAX_IDENTIFIER_BYTES || reader.contains('\0') {
            collector.add(
                format!("spec.readers[{index}]"),
                format!("is not the name of a PostgreSQL role: 1 to {MAX_IDENTIFIER_BYTES} bytes"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        let cases = [
            ("24h", Some(86_400)),
            ("1h30m5s", Some(5405)),
            ("0s", Some(0)),
            ("", None),
            ("24", None),
            ("1 day", None),
            ("é", None),
            ("99999999999999999999h", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_duration(text), seconds, "{text:?}");
        }
    }
}
