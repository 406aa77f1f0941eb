//! Decides whether an object has to be written.
//!
//! Pure. What was applied last is remembered as a hash in an annotation, which tells when the wish
//! has changed; what the object holds now is compared with the wish, which tells when someone else
//! has changed a field that is ours. Fields of others, and defaults that the API server fills in,
//! are not looked at.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::quantity::quantity;

/// Annotation with the hash of what was applied.
pub(super) const APPLIED_ANNOTATION: &str = "trunkline.dev/applied";

/// The wish with its own hash in it, and the hash.
pub(super) fn stamped(mut desired: Value) -> (Value, String) {
    let hash = hex::encode(&Sha256::digest(desired.to_string().as_bytes())[..8]);
    if let Some(metadata) = desired.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(APPLIED_ANNOTATION.to_owned(), Value::String(hash.clone()));
        }
    }
    (desired, hash)
}

/// Whether `live` already is what `desired` (stamped) asks for.
pub(super) fn is_satisfied(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().all(|(key, wanted)| {
            is_empty(wanted)
                || match live.get(key) {
                    Some(found) => is_satisfied(wanted, found),
                    // Of a field, it leaves out an empty text too; in a map it keeps it.
                    None => wanted == "",
                }
        }),
        (Value::Array(desired), Value::Array(live)) => match names(desired) {
            // A list with names is a map to the API server: others may have entries of their own.
            Some(names) => desired.iter().zip(names).all(|(wanted, name)| {
                live.iter()
                    .find(|found| found.get("name").and_then(Value::as_str) == Some(name))
                    .is_some_and(|found| is_satisfied(wanted, found))
            }),
            None => {
                desired.len() == live.len()
                    && desired
                        .iter()
                        .zip(live)
                        .all(|(wanted, found)| is_satisfied(wanted, found))
            }
        },
        (Value::String(wanted), Value::String(found)) => {
            wanted == found || is_same_quantity(wanted, found)
        }
        (wanted, found) => wanted == found,
    }
}

/// The API server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn names(list: &[Value]) -> Option<Vec<&str>> {
    list.iter()
        .map(|item| item.get("name").and_then(Value::as_str))
        .collect()
}

/// The API server writes quantities in its own way: `0.5` comes back as `500m`.
fn is_same_quantity(one: &str, other: &str) -> bool {
    match (quantity(one), quantity(other)) {
        (Some(one), Some(other)) => (one - other).abs() <= one.abs() * 1e-9,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_no_difference() {
        let (desired, _) = stamped(json!({
            "metadata": {"name": "a", "labels": {"ours": "1"}},
            "spec": {"containers": [{"name": "ingester", "image": "x", "resources": {"limits":
                {"cpu": "0.5", "memory": "1Gi"}}, "emptyDir": {}}], "list": [1, 2]},
        }));
        let mut live = desired.clone();
        live["metadata"]["labels"]["theirs"] = json!("2");
        live["metadata"]["resourceVersion"] = json!("7");
        live["spec"]["strategy"] = json!("default");
        live["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("500m");
        live["spec"]["containers"][0]
            .as_object_mut()
            .unwrap()
            .remove("emptyDir");
        live["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .insert(0, json!({"name": "sidecar"}));
        assert!(is_satisfied(&desired, &live));
    }

    #[test]
    fn what_is_ours_and_changed_is_a_difference() {
        let (desired, _) = stamped(json!({
            "metadata": {"name": "a"},
            "spec": {"replicas": 2, "containers": [{"name": "c", "image": "x"}], "list": ["a", "b"]},
        }));
        let changes: [(&str, Value); 5] = [
            ("/spec/replicas", json!(3)),
            ("/spec/containers/0/image", json!("y")),
            ("/spec/containers", json!([])),
            ("/spec/list", json!(["a", "b", "c"])),
            ("/metadata/annotations", json!({})),
        ];
        for (pointer, value) in changes {
            let mut live = desired.clone();
            *live.pointer_mut(pointer).unwrap() = value;
            assert!(!is_satisfied(&desired, &live), "{pointer}");
        }
    }

    #[test]
    fn a_field_that_is_no_longer_wished_is_a_difference() {
        let (before, _) = stamped(json!({"metadata": {"name": "a"}, "spec": {"a": 1, "b": 2}}));
        let (after, _) = stamped(json!({"metadata": {"name": "a"}, "spec": {"a": 1}}));
        assert!(!is_satisfied(&after, &before));
    }

    #[test]
    fn an_empty_text_is_as_good_as_none_and_not_as_another() {
        let (desired, _) = stamped(json!({
            "metadata": {"name": "a"},
            "spec": {"env": [{"name": "A", "value": ""}]},
        }));
        let mut live = desired.clone();
        live["spec"]["env"] = json!([{"name": "A"}]);
        assert!(is_satisfied(&desired, &live));
        live["spec"]["env"] = json!([{"name": "A", "value": "a"}]);
        assert!(!is_satisfied(&desired, &live));
    }

    #[test]
    fn quantities_are_compared_as_numbers() {
        for (one, other, same) in [
            ("0.5", "500m", true),
            ("1024Mi", "1Gi", true),
            ("1000k", "1M", true),
            ("1", "1m", false),
            ("main", "mai", false),
            ("1Gi", "1G", false),
        ] {
            assert_eq!(is_same_quantity(one, other), same, "{one} {other}");
        }
    }
}
