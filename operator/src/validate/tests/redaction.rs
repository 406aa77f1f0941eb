use super::*;
use trunkline_model::redaction::RedactAction;

const NONE: &str = "clusterRef: {name: main}, verification: {none: {}},";

fn hashing(reference: &str) -> String {
    format!(
        "{NONE} redact: [{{path: [userId], action: Hash}}], redactKey: {{secretKeyRef: {reference}}}"
    )
}

#[test]
fn a_redaction_reaches_the_document_with_its_key() {
    let spec = hashing("{name: segment-webhook, key: secret}");
    let spec = spec.replace(
        "redact: [",
        "redact: [{path: [a, '*', '0'], action: Drop}, ",
    );
    let redaction = only(&spec).unwrap().redaction.unwrap();
    let paths: Vec<_> = redaction
        .paths
        .iter()
        .map(|it| (it.path.join("."), it.action))
        .collect();
    assert_eq!(
        paths,
        [
            ("a.*.0".to_owned(), RedactAction::Drop),
            ("userId".to_owned(), RedactAction::Hash)
        ]
    );
    assert_eq!(
        redaction.key.unwrap().expose(),
        b"a-long-enough-shared-secret"
    );
    assert_eq!(only(NONE).unwrap().redaction, None);
    // What nobody needs does not travel.
    let unneeded = spec.replace("Hash", "Drop");
    let redaction = only(&unneeded).unwrap().redaction.unwrap();
    assert_eq!((redaction.paths.len(), redaction.key), (2, None));
}

#[test]
fn a_wrong_redaction_is_refused_with_field_and_fix() {
    let eleven = "a, ".repeat(11);
    let hundred_and_one: String = (0..101)
        .map(|number| format!("{{path: [a{number}], action: Drop}}, "))
        .collect();
    for (spec, expected) in [
        (
            "redact: [{path: [userId], action: Hash}]".to_owned(),
            "spec.redactKey: is not set, and the action Hash needs it; write secretKeyRef: {name, key}",
        ),
        (
            "body: {format: Text}, redact: [{path: [a], action: Drop}]".to_owned(),
            "spec.redact: needs bodies of JSON; set spec.body.format to Json, JsonArray or Form",
        ),
        (
            "redact: [{path: [], action: Drop}]".to_owned(),
            "spec.redact[0].path: has 0 keys; list 1 to 10",
        ),
        (
            format!("redact: [{{path: [{eleven}], action: Drop}}]"),
            "spec.redact[0].path: has 11 keys; list 1 to 10",
        ),
        (
            "redact: [{path: [a, ''], action: Drop}]".to_owned(),
            "spec.redact[0].path[1]: is not a key; write 1 to 255 characters",
        ),
        (
            "redact: [{path: [a, '-1'], action: Drop}]".to_owned(),
            "spec.redact[0].path[1]: \"-1\" would be a place from the end",
        ),
        (
            "redact: [{path: [a], action: Drop}, {path: [a], action: Drop}]".to_owned(),
            "spec.redact[1].path: is there twice; remove one",
        ),
        (
            format!("redact: [{hundred_and_one}]"),
            "spec.redact: has 101 entries; list at most 100",
        ),
    ] {
        let problems = only(&format!("{NONE} {spec}")).unwrap_err().to_string();
        assert!(problems.contains(expected), "{spec}: {problems}");
    }
    let empty = only(&hashing("{name: segment-webhook, key: empty}")).unwrap_err();
    assert_eq!(empty.0[0].field, "spec.redactKey.secretKeyRef.key");
}

#[test]
fn an_absent_key_makes_a_valid_source_unavailable_and_a_poor_one_is_pointed_out() {
    for (reference, expected) in [
        (
            "{name: nowhere, key: secret}",
            "spec.redactKey.secretKeyRef.name: there is no Secret \"nowhere\"",
        ),
        (
            "{name: segment-webhook, key: k}",
            "spec.redactKey.secretKeyRef.key: the Secret \"segment-webhook\" has no key \"k\"",
        ),
    ] {
        let source = only(&hashing(reference)).unwrap();
        let problem = source.unavailable.unwrap().problem.to_string();
        assert!(problem.contains(expected), "{problem}");
    }
    let newline = only(&hashing("{name: segment-webhook, key: newline}")).unwrap();
    assert_eq!(newline.unavailable, None);
    assert!(newline.warnings[0].to_string().contains("trailing newline"));
}
