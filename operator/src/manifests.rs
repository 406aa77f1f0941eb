//! Reads manifests: YAML text to typed objects, with errors that name file, object and field.
//!
//! Objects of other API groups are left alone, because people keep everything in one folder; an
//! unknown kind of our own group is an error.
//!
//! Invariant: no error quotes a line of the file, since Secrets are among them.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use trunkline_crds::{GROUP, VERSION, WebhookCluster, WebhookSource};
use trunkline_model::secret::SecretBytes;

use crate::problem::{Problem, Problems};

/// A Secret's keys and values.
pub type SecretData = BTreeMap<String, SecretBytes>;

/// An object and the file it came from.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The file's name as given; none for an object that a Kubernetes API server gave.
    pub file: Option<String>,
    /// The object, its namespace filled in.
    pub object: T,
}

/// Every object that concerns Trunkline.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    /// WebhookClusters, in the order of the files.
    pub clusters: Vec<Located<WebhookCluster>>,
    /// WebhookSources, in the order of the files.
    pub sources: Vec<Located<WebhookSource>>,
    /// Secrets by namespace and name.
    pub secrets: BTreeMap<(String, String), SecretData>,
    /// Secrets that are there and cannot be read, with the reason. What refers to one is left as it
    /// was, since it may have been revoked or not.
    pub unreadable_secrets: BTreeMap<(String, String), String>,
}

impl Manifests {
    /// Reads files, given as pairs of name and text.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Problems> {
        let mut manifests = Self::default();
        let mut problems = Vec::new();
        for (file, text) in files {
            match documents(file, text) {
                Ok(documents) => {
                    for document in documents {
                        if let Err(problem) = manifests.add(file, document) {
                            problems.push(problem);
                        }
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(manifests)
        } else {
            Err(Problems(problems))
        }
    }

    fn add(&mut self, file: &str, document: Value) -> Result<(), Problem> {
        let Value::Object(mut object) = document else {
            return Err(problem(
                file,
                "document",
                "",
                "is not a Kubernetes object; write apiVersion, kind, metadata",
            ));
        };
        let api_version = text(&object, "apiVersion");
        let kind = text(&object, "kind");
        let label = label(&object, &kind);
        let Some((group, version)) = api_version.split_once('/') else {
            return match (api_version.as_str(), kind.as_str()) {
                ("v1", "Secret") => self.add_secret(file, &label, &object),
                ("v1", "List") => self.add_list(file, &label, object),
                ("", _) => Err(problem(file, &label, "apiVersion", "is missing")),
                _ => Ok(()),
            };
        };
        if group != GROUP {
            return Ok(());
        }
        if version != VERSION {
            return Err(problem(
                file,
                &label,
                "apiVersion",
                &format!("version {version:?} is not known; write {GROUP}/{VERSION}"),
            ));
        }
        let namespace = namespaced(file, &label, &mut object)?;
        match kind.as_str() {
            "WebhookCluster" => {
                let object: WebhookCluster = typed(file, &label, object)?;
                let same = |other: &Located<WebhookCluster>| {
                    other.object.metadata.name == object.metadata.name
                        && other.object.metadata.namespace == object.metadata.namespace
                };
                if let Some(other) = self.clusters.iter().find(|&other| same(other)) {
                    return Err(twice(file, &label, other.file.as_deref()));
                }
                self.clusters.push(Located {
                    file: Some(file.to_owned()),
                    object,
                });
            }
            "WebhookSource" => {
                let object: WebhookSource = typed(file, &label, object)?;
                let same = |other: &Located<WebhookSource>| {
                    other.object.metadata.name == object.metadata.name
                        && other.object.metadata.namespace.as_deref() == Some(namespace.as_str())
                };
                if let Some(other) = self.sources.iter().find(|&other| same(other)) {
                    return Err(twice(file, &label, other.file.as_deref()));
                }
                self.sources.push(Located {
                    file: Some(file.to_owned()),
                    object,
                });
            }
            _ => {
                return Err(problem(
                    file,
                    &label,
                    "kind",
                    &format!("{kind:?} is not known; {GROUP} has WebhookCluster and WebhookSource"),
                ));
            }
        }
        Ok(())
    }

    fn add_list(
        &mut self,
        file: &str,
        label: &str,
        mut list: Map<String, Value>,
    ) -> Result<(), Problem> {
        let Some(Value::Array(items)) = list.remove("items") else {
            return Err(problem(file, label, "items", "is not a list of objects"));
        };
        items.into_iter().try_for_each(|item| self.add(file, item))
    }

    fn add_secret(
        &mut self,
        file: &str,
        label: &str,
        object: &Map<String, Value>,
    ) -> Result<(), Problem> {
        let mut object = object.clone();
        let namespace = namespaced(file, label, &mut object)?;
        let name = metadata_text(&object, "name").unwrap_or_default();
        let mut values = SecretData::new();
        for (key, value) in entries(file, label, &object, "data")? {
            let bytes = BASE64_STANDARD.decode(&value).map_err(|_| {
                problem(
                    file,
                    label,
                    &format!("data.{key}"),
                    "is not base64; write plain text under stringData instead",
                )
            })?;
            values.insert(key, SecretBytes::new(bytes));
        }
        // The API server too lets stringData win.
        for (key, value) in entries(file, label, &object, "stringData")? {
            values.insert(key, SecretBytes::new(value.into_bytes()));
        }
        if self.secrets.insert((namespace, name), values).is_some() {
            return Err(problem(
                file,
                label,
                "metadata.name",
                "stands in the files twice; remove one",
            ));
        }
        Ok(())
    }
}

fn documents(file: &str, text: &str) -> Result<Vec<Value>, Problem> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let place = error.location().map_or_else(String::new, |location| {
            format!(" at line {} column {}", location.line(), location.column())
        });
        problem(file, "document", "", &format!("is not YAML{place}"))
    })?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// Fills in the namespace, as kubectl does, and sees that there is a name.
fn namespaced(file: &str, label: &str, object: &mut Map<String, Value>) -> Result<String, Problem> {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return Err(problem(
            file,
            label,
            "metadata",
            "is missing; write metadata: {name: …}",
        ));
    };
    if !matches!(metadata.get("name"), Some(Value::String(name)) if !name.is_empty()) {
        return Err(problem(file, label, "metadata.name", "is missing"));
    }
    let namespace = metadata
        .entry("namespace")
        .or_insert_with(|| "default".into());
    namespace
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| problem(file, label, "metadata.namespace", "is not text"))
}

fn typed<T: DeserializeOwned>(
    file: &str,
    label: &str,
    object: Map<String, Value>,
) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { path };
        problem(file, label, &field, &error.into_inner().to_string())
    })
}

fn entries(
    file: &str,
    label: &str,
    object: &Map<String, Value>,
    field: &str,
) -> Result<Vec<(String, String)>, Problem> {
    let wrong = |field: &str| problem(file, label, field, "is not text; put the value in quotes");
    match object.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(key, value)| match value.as_str() {
                Some(text) => Ok((key.clone(), text.to_owned())),
                None => Err(wrong(&format!("{field}.{key}"))),
            })
            .collect(),
        Some(_) => Err(problem(
            file,
            label,
            field,
            "is not a map of keys to values",
        )),
    }
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    object
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn metadata_text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object
        .get("metadata")?
        .get(key)?
        .as_str()
        .map(ToOwned::to_owned)
}

fn label(object: &Map<String, Value>, kind: &str) -> String {
    let kind = if kind.is_empty() { "object" } else { kind };
    let name = metadata_text(object, "name").unwrap_or_else(|| "(no name)".to_owned());
    let namespace = metadata_text(object, "namespace").unwrap_or_else(|| "default".to_owned());
    format!("{kind} {namespace}/{name}")
}

fn problem(file: &str, object: &str, field: &str, message: &str) -> Problem {
    Problem {
        file: Some(file.to_owned()),
        object: object.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
    }
}

fn twice(file: &str, label: &str, other: Option<&str>) -> Problem {
    let other = other.unwrap_or("another file");
    problem(
        file,
        label,
        "metadata.name",
        &format!("also stands in {other}; remove one of them"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "apiVersion: trunkline.dev/v1alpha1
kind: WebhookSource
metadata: {name: segment}
spec:
  clusterRef: {name: main}
  verification: {none: {}}
";

    fn refusal(text: &str) -> String {
        Manifests::parse([("a.yaml", text)])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn objects_of_one_file_are_told_apart_and_others_left_alone() {
        let text = format!(
            "{SOURCE}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{a: aGk=}}\n\
             stringData: {{b: 'x'}}\n---\napiVersion: apps/v1\nkind: Deployment\n---\n"
        );
        let manifests = Manifests::parse([("a.yaml", text.as_str())]).unwrap();
        assert_eq!(manifests.sources.len(), 1);
        assert_eq!(
            manifests.sources[0].object.metadata.namespace.as_deref(),
            Some("default")
        );
        let secret = &manifests.secrets[&("default".to_owned(), "s".to_owned())];
        assert_eq!(secret["a"].expose(), b"hi");
        assert_eq!(secret["b"].expose(), b"x");
    }

    #[test]
    fn an_error_names_file_object_field_and_fix() {
        let cases = [
            (
                SOURCE.replace("clusterRef", "clusterref"),
                "spec.clusterref: unknown field `clusterref`",
            ),
            (
                SOURCE.replace("{none: {}}", "{none: {}, strict: 3}"),
                "spec.verification.strict",
            ),
            (
                SOURCE.replace("  verification: {none: {}}\n", ""),
                "missing field `verification`",
            ),
            (
                SOURCE.replace("v1alpha1", "v1"),
                "write trunkline.dev/v1alpha1",
            ),
            (
                SOURCE.replace("WebhookSource", "WebhookSauce"),
                "WebhookCluster and WebhookSource",
            ),
            (SOURCE.replace("{name: segment}", "{}"), "metadata.name"),
            (
                SOURCE.replace("  body", "body").replace("spec:", "spec: ["),
                "not YAML at line",
            ),
            (format!("{SOURCE}---\n{SOURCE}"), "also stands in a.yaml"),
            (
                format!("{SOURCE}  body: {{format: Xml}}\n"),
                "spec.body.format: unknown variant `Xml`, expected one of `Json`, `JsonArray`, `Text`, `Bytes`, `Form`",
            ),
        ];
        for (text, expected) in cases {
            let refusal = refusal(&text);
            assert!(refusal.contains(expected), "{refusal}");
            assert!(refusal.starts_with("a.yaml: "), "{refusal}");
        }
    }

    #[test]
    fn an_error_in_a_secret_does_not_quote_it() {
        let cases = [
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: 'hunter2!'}\n",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: {hunter2: 1}}\n",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  a: \"hunter2\n  b: [\n",
            "kind: Secret\nmetadata: {name: s}\nstringData: [hunter2]\n",
        ];
        for text in cases {
            let refusal = refusal(text);
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
