//! The manifests of `tests/invalid-manifests`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::admission::{Admission, children, schema};

struct Case {
    file: String,
    expect: String,
    by_schema: bool,
    documents: Vec<Value>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/invalid-manifests");
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines();
            let mut after = |prefix: &str| {
                let line = lines.next().and_then(|line| line.strip_prefix(prefix));
                line.unwrap_or_else(|| panic!("{file} does not say {prefix:?}"))
                    .to_owned()
            };
            Case {
                expect: after("# expect: "),
                by_schema: match after("# refused by: ").as_str() {
                    "schema" => true,
                    "operator" => false,
                    other => panic!("{file}: {other} refuses nothing"),
                },
                documents: serde_saphyr::from_multiple(&text).unwrap(),
                file,
            }
        })
        .collect();
    cases.sort_by(|one, other| one.file.cmp(&other.file));
    cases
}

/// Applies the documents of a case one after another; the refusals of each.
fn apply(admissions: &[Admission], case: &Case) -> Vec<Vec<String>> {
    let mut stored: BTreeMap<String, &Value> = BTreeMap::new();
    let documents = case.documents.iter();
    documents
        .map(|document| {
            let name = format!("{} {}", document["kind"], document["metadata"]["name"]);
            let old = stored.insert(name, document);
            Admission::of(admissions, document)
                .map(|admission| admission.refusals(document, old))
                .unwrap_or_default()
        })
        .collect()
}

#[test]
fn each_is_refused_where_it_says_and_in_its_words() {
    let admissions = Admission::all();
    let mut wrong = Vec::new();
    for case in cases() {
        let mut refusals = apply(&admissions, &case);
        let last = refusals.pop().unwrap();
        let as_expected = if case.by_schema {
            last.iter().any(|refusal| refusal.contains(&case.expect))
        } else {
            last.is_empty()
        };
        if !as_expected || refusals.iter().any(|earlier| !earlier.is_empty()) {
            wrong.push(format!("{}: {refusals:?}, then {last:?}", case.file));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A rule that refuses none of them is a rule that nobody has seen refuse.
#[test]
fn each_rule_refuses_one_of_them() {
    let mut messages = BTreeSet::new();
    fn collect(schema: &Value, messages: &mut BTreeSet<String>) {
        let rules = schema["x-kubernetes-validations"].as_array();
        for rule in rules.into_iter().flatten() {
            messages.insert(rule["message"].as_str().unwrap().to_owned());
        }
        for (_, child) in children(schema) {
            collect(child, messages);
        }
    }
    for definition in trunkline_crds::definitions() {
        collect(&schema(&definition), &mut messages);
    }
    let admissions = Admission::all();
    for case in cases() {
        for refusal in apply(&admissions, &case).concat() {
            messages.retain(|message| !refusal.ends_with(message.as_str()));
        }
    }
    assert_eq!(messages, BTreeSet::new());
}
