//! Validates a WebhookSource.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_crds::{BodyFormat, HeaderColumn, IncludeHeaders, WebhookSource, WebhookSourceSpec};
use trunkline_model::columns;
use trunkline_model::headers::{self, HeaderSelection};
use trunkline_model::names::{ClusterName, MAX_IDENTIFIER_BYTES, SchemaName, SourceName};
use trunkline_model::presets::{PRESETS, Preset};
use trunkline_model::verification::{NamedSecret, Verification};

use super::Source;
use crate::manifests::{Located, Manifests};
use crate::problem::{Collector, Problem, Problems};

/// Bound on `spec.verification.secrets`: each is one more HMAC for every forged request.
const MAX_SECRETS: usize = 10;
/// Bound on `spec.path`, far above what senders' forms take.
const MAX_PATH_BYTES: usize = 1024;
/// Below this a signing secret can be guessed from a captured request.
const SHORT_SECRET_BYTES: usize = 16;

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
    let mut collector = Collector::new(&located.file, format!("WebhookSource {name}"));
    if spec.cluster_ref.name != cluster.name() || name.namespace() != cluster.namespace() {
        collector.add(
            "spec.clusterRef.name",
            format!(
                "there is no WebhookCluster {}/{}; the files have {cluster}",
                name.namespace(),
                spec.cluster_ref.name
            ),
        );
    }
    let path = path(name, spec, claims, &mut collector);
    let schema = schema(name, spec, cluster, claims, &mut collector);
    let include_headers = include_headers(spec.include_headers.as_ref(), &mut collector);
    let header_columns = header_columns(&spec.headers, &mut collector);
    let verified = verification(name, located, manifests, &mut collector);
    let source = match (schema, verified) {
        (Some(schema), Some(verified)) => Some(Source {
            name: name.clone(),
            generation: located.object.metadata.generation.unwrap_or(0),
            path,
            schema,
            split_arrays: verified.splits_arrays || spec.body.format == BodyFormat::JsonArray,
            include_headers,
            header_columns,
            verification: verified.verification,
            unavailable: verified.unavailable,
            warnings: verified.warnings,
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

fn is_header_name(name: &str) -> bool {
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
    for (index, HeaderColumn { name, column }) in spec.iter().enumerate() {
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
        .map(|HeaderColumn { name, column }| headers::HeaderColumn {
            name: name.to_ascii_lowercase(),
            column: column.clone(),
        })
        .collect()
}

struct Verified {
    verification: Verification,
    splits_arrays: bool,
    unavailable: Option<Problem>,
    warnings: Vec<Problem>,
}

fn verification(
    name: &SourceName,
    located: &Located<WebhookSource>,
    manifests: &Manifests,
    collector: &mut Collector<'_>,
) -> Option<Verified> {
    let spec = &located.object.spec.verification;
    let preset = match (&spec.preset, &spec.none) {
        (Some(_), Some(_)) => {
            collector.add(
                "spec.verification",
                "has both preset and none; keep one of them",
            );
            return None;
        }
        (None, None) => {
            collector.add(
                "spec.verification",
                "says nothing; write preset: segment, or none: {} to accept every request",
            );
            return None;
        }
        (None, Some(_)) => {
            if spec.strict || !spec.secrets.is_empty() {
                collector.add(
                    "spec.verification.none",
                    "strict and secrets have no meaning beside it; remove them or name a preset",
                );
            }
            return Some(Verified {
                verification: Verification::None,
                splits_arrays: false,
                unavailable: None,
                warnings: Vec::new(),
            });
        }
        (Some(preset), None) => preset,
    };
    let Some(preset) = Preset::by_name(preset) else {
        let known: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        collector.add(
            "spec.verification.preset",
            format!("{preset:?} is not known; use one of: {}", known.join(", ")),
        );
        return None;
    };
    if spec.secrets.is_empty() || spec.secrets.len() > MAX_SECRETS {
        collector.add(
            "spec.verification.secrets",
            format!(
                "has {} entries; list 1 to {MAX_SECRETS}, each secretKeyRef: {{name, key}}",
                spec.secrets.len()
            ),
        );
        return None;
    }
    let mut secrets = Vec::new();
    let mut absent = None;
    let mut warnings = Vec::new();
    let problem = |field: String, message: String| Problem {
        file: Some(located.file.clone()),
        object: format!("WebhookSource {name}"),
        field,
        message,
    };
    for (index, secret) in spec.secrets.iter().enumerate() {
        let reference = &secret.secret_key_ref;
        let field = |last: &str| format!("spec.verification.secrets[{index}].secretKeyRef.{last}");
        let object = (name.namespace().to_owned(), reference.name.clone());
        let value = match manifests.secrets.get(&object) {
            None => Err(problem(
                field("name"),
                format!(
                    "there is no Secret {:?} in namespace {:?}; create it, or correct the name",
                    reference.name,
                    name.namespace()
                ),
            )),
            Some(data) => data.get(&reference.key).ok_or_else(|| {
                let keys: Vec<_> = data.keys().map(String::as_str).collect();
                problem(
                    field("key"),
                    format!(
                        "the Secret {:?} has no key {:?}; its keys are: {}",
                        reference.name,
                        reference.key,
                        keys.join(", ")
                    ),
                )
            }),
        };
        match value {
            Err(problem) => absent = absent.or(Some(problem)),
            Ok(value) if value.expose().is_empty() => {
                collector.add(
                    field("key"),
                    "the secret is empty; enter the one of the sender",
                );
            }
            Ok(value) => {
                if value.expose().iter().any(u8::is_ascii_whitespace) {
                    warnings.push(problem(
                        field("key"),
                        "the secret holds white space, which the sender's hardly does; a trailing \
                         newline comes from `echo` without -n"
                            .to_owned(),
                    ));
                } else if value.expose().len() < SHORT_SECRET_BYTES {
                    warnings.push(problem(
                        field("key"),
                        format!("the secret is shorter than {SHORT_SECRET_BYTES} bytes and can be guessed"),
                    ));
                }
                secrets.push(NamedSecret {
                    name: format!("{}/{}", reference.name, reference.key),
                    value: value.clone(),
                });
            }
        }
    }
    // One secret that is there is enough to serve: a rotation adds the second before it exists.
    let unavailable = if secrets.is_empty() {
        absent
    } else {
        warnings.extend(absent);
        None
    };
    Some(Verified {
        verification: Verification::Hmac(preset.scheme(spec.strict, secrets)),
        splits_arrays: preset.splits_arrays,
        unavailable,
        warnings,
    })
}
