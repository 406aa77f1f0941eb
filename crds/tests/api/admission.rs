//! What the API server does to a manifest before it stores it: drops nulls, refuses unknown fields
//! (as `kubectl` asks by default), checks bounds, sets defaults and runs rules, in that order.

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Value, json};

/// The admission of one kind.
pub(crate) struct Admission {
    kind: String,
    bounds: jsonschema::Validator,
    pub(crate) rules: CompiledSchema,
}

impl Admission {
    /// That of both kinds.
    pub(crate) fn all() -> Vec<Self> {
        trunkline_crds::definitions()
            .iter()
            .map(|definition| {
                let schema = schema(definition);
                let mut strict = schema.clone();
                refuse_unknown_fields(&mut strict);
                // What every object has beside its kind's own fields.
                for (field, kind) in [
                    ("apiVersion", "string"),
                    ("kind", "string"),
                    ("metadata", "object"),
                ] {
                    strict["properties"][field] = json!({"type": kind});
                }
                Self {
                    kind: definition.spec.names.kind.clone(),
                    bounds: jsonschema::validator_for(&strict).unwrap(),
                    rules: compile_schema(&schema),
                }
            })
            .collect()
    }

    /// The first that is for `manifest`; none for other kinds.
    pub(crate) fn of<'a>(all: &'a [Self], manifest: &Value) -> Option<&'a Self> {
        all.iter().find(|one| manifest["kind"] == *one.kind)
    }

    /// Everything that is wrong with a manifest, each as `FIELD: MESSAGE`; `old` is what it
    /// replaces.
    pub(crate) fn refusals(&self, manifest: &Value, old: Option<&Value>) -> Vec<String> {
        let (mut manifest, mut old) = (manifest.clone(), old.cloned());
        drop_nulls(&mut manifest);
        old.iter_mut().for_each(drop_nulls);
        let out_of_bounds: Vec<_> = self
            .bounds
            .iter_errors(&manifest)
            .map(|error| format!("{}: {error}", dotted(error.instance_path().as_str())))
            .collect();
        if !out_of_bounds.is_empty() {
            return out_of_bounds;
        }
        match Validator::new().validate_compiled(&self.rules, &manifest, old.as_ref()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.as_slice().iter().map(ToString::to_string).collect(),
        }
    }
}

/// The OpenAPI schema of a definition's only version.
pub(crate) fn schema(
    definition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
) -> Value {
    let version = serde_json::to_value(&definition.spec.versions[0]).unwrap();
    version["schema"]["openAPIV3Schema"].clone()
}

/// The schema's own nodes below a schema, each with its name.
pub(crate) fn children(schema: &Value) -> Vec<(String, &Value)> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, property)| (format!(".{name}"), property))
        .chain([
            ("[]".to_owned(), &schema["items"]),
            ("{}".to_owned(), &schema["additionalProperties"]),
        ])
        .filter(|(_, child)| child.is_object())
        .collect()
}

fn refuse_unknown_fields(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else {
        return;
    };
    if node.contains_key("properties") {
        node.insert("additionalProperties".to_owned(), false.into());
    }
    if node.contains_key("x-kubernetes-int-or-string") {
        node.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(refuse_unknown_fields);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key) {
            refuse_unknown_fields(child);
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// `/spec/headers/0/name` as Kubernetes writes it: `spec.headers[0].name`.
fn dotted(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            field.push_str(&format!("[{part}]"));
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(part);
        }
    }
    field
}
