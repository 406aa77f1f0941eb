//! The definitions themselves.

use std::path::Path;

use kube_cel::{CompiledSchema, estimate_rule_cost};
use serde_json::{Value, json};
use trunkline_crds::{GENERATED_FOLDERS, definitions, definitions_yaml};

use crate::admission::{Admission, children, schema};

#[test]
fn the_generated_yaml_is_current() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, text) in definitions_yaml().unwrap() {
        for folder in GENERATED_FOLDERS {
            let path = workspace.join(folder).join(&file);
            assert!(
                std::fs::read_to_string(&path).unwrap_or_default() == text,
                "{} is not what the types say: cargo run -p trunkline-crds --bin generate-crds",
                path.display()
            );
        }
    }
}

/// Calls `see` for every schema below one, with its path.
fn walk(path: &str, schema: &Value, see: &mut impl FnMut(&str, &Value)) {
    see(path, schema);
    for (name, child) in children(schema) {
        walk(&format!("{path}{name}"), child, see);
    }
}

fn walk_all(mut see: impl FnMut(&str, &Value)) {
    for definition in definitions() {
        walk(&definition.spec.names.kind, &schema(&definition), &mut see);
    }
}

#[test]
fn every_field_is_explained() {
    let mut silent = Vec::new();
    walk_all(|path, schema| {
        let text = schema["description"].as_str().unwrap_or_default();
        // The elements of a list or a map of texts are explained by it.
        if text.len() < 10 && !path.ends_with([']', '}']) {
            silent.push(path.to_owned());
        }
        if text.contains("Auto-generated") {
            silent.push(path.to_owned());
        }
    });
    assert_eq!(silent, [""; 0]);
}

/// The API server warns of others, and of `uint32` at each `kubectl apply` of the definition.
#[test]
fn number_formats_are_those_that_kubernetes_knows() {
    walk_all(|path, schema| {
        if let Some(format) = schema["format"].as_str() {
            assert!(
                ["int32", "int64", "date-time"].contains(&format),
                "{path}: {format}"
            );
        }
    });
}

/// A null that is kept would be present for a rule and absent for the types.
#[test]
fn no_field_keeps_a_null() {
    walk_all(|path, schema| assert_eq!(schema["nullable"], Value::Null, "{path}"));
}

#[test]
fn conditions_are_merged_by_their_type() {
    for definition in definitions() {
        let conditions = &schema(&definition)["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    }
}

#[test]
fn kubectl_finds_and_shows_both_kinds() {
    let expected = [
        (
            "WebhookCluster",
            "whc",
            "Ready Status URL Size Replicas Sources Image Age",
        ),
        (
            "WebhookSource",
            "whs",
            "Ready Status Cluster URL Relation Age",
        ),
    ];
    for (definition, (kind, short_name, columns)) in definitions().iter().zip(expected) {
        let spec = serde_json::to_value(&definition.spec).unwrap();
        assert_eq!(spec["scope"], "Namespaced");
        assert_eq!(spec["names"]["kind"], kind);
        assert_eq!(spec["names"]["shortNames"], json!([short_name]));
        assert_eq!(spec["names"]["categories"], json!(["trunkline"]));
        let version = &spec["versions"][0];
        let names: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        assert_eq!(names.join(" "), columns, "{kind}");
        assert_eq!(version["subresources"]["status"], json!({}));
    }
}

/// A path that leads to no field would show an empty column, and scale nothing.
#[test]
fn columns_and_scale_lead_to_fields() {
    let scaled = json!({
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    });
    for (definition, scale) in definitions().iter().zip([scaled, Value::Null]) {
        let version = serde_json::to_value(&definition.spec.versions[0]).unwrap();
        assert_eq!(version["subresources"]["scale"], scale);
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        let paths = columns.iter().map(|column| &column["jsonPath"]);
        for path in paths.chain(scale.as_object().into_iter().flatten().map(|(_, v)| v)) {
            let path = path.as_str().unwrap();
            let plain = path.split('[').next().unwrap();
            let mut node = schema(definition);
            for field in plain.split('.').filter(|field| !field.is_empty()) {
                if field == "metadata" {
                    break;
                }
                node = node["properties"][field].clone();
                assert!(node.is_object(), "{path}: there is no {field}");
            }
        }
    }
}

fn rules<'a>(schema: &'a CompiledSchema, see: &mut impl FnMut(&'a CompiledSchema)) {
    see(schema);
    let below = schema.properties.values();
    for child in below
        .chain(schema.items.as_deref())
        .chain(schema.additional_properties.as_deref())
    {
        rules(child, see);
    }
}

#[test]
fn every_rule_compiles_within_the_budget_and_says_what_to_do() {
    for admission in Admission::all() {
        let mut seen = 0;
        rules(&admission.rules, &mut |node| {
            for compiled in &node.validations {
                seen += 1;
                let rule = &compiled.as_ref().unwrap().rule;
                let warnings = estimate_rule_cost(&rule.rule, node);
                assert!(warnings.is_empty(), "{warnings:?}");
                let message = rule.message.as_deref().unwrap_or_default();
                let (problem, remedy) = message.split_once("; ").unwrap_or_default();
                assert!(
                    !problem.is_empty() && !remedy.is_empty(),
                    "a rule without a remedy: {} says {message:?}",
                    rule.rule
                );
            }
        });
        assert!(seen >= 5, "only {seen} rules");
    }
}
