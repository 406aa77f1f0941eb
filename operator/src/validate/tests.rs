mod cluster;
mod deduplication;
mod redaction;
mod verification;
mod views;

use super::*;
use trunkline_model::verification::Coverage;

const CLUSTER: &str = "apiVersion: trunkline.dev/v1alpha1
kind: WebhookCluster
metadata: {name: main}
spec: {size: small, database: {secretRef: {name: warehouse}}}
---
apiVersion: v1
kind: Secret
metadata: {name: segment-webhook}
stringData: {secret: a-long-enough-shared-secret, newline: \"a-long-enough-shared-secret\\n\", empty: ''}
";

fn source(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: trunkline.dev/v1alpha1\nkind: WebhookSource\nmetadata: {{name: {name}}}\n\
         spec: {{{spec}}}\n"
    )
}

fn signed(rest: &str) -> String {
    format!(
        "clusterRef: {{name: main}}, {rest} verification: {{preset: segment, secrets: \
         [{{secretKeyRef: {{name: segment-webhook, key: secret}}}}]}}"
    )
}

fn validated(sources: &[String]) -> Validated {
    let text = format!("{CLUSTER}{}", sources.concat());
    validate(&Manifests::parse([("a.yaml", text.as_str())]).unwrap()).unwrap()
}

fn only(spec: &str) -> Result<Source, Problems> {
    validated(&[source("segment", spec)])
        .sources
        .into_values()
        .next()
        .unwrap()
}

#[test]
fn defaults_make_a_complete_source() {
    let source = only(&signed("")).unwrap();
    assert_eq!(source.path, "/webhooks/default/segment");
    assert_eq!(source.schema.as_str(), "segment");
    assert!(source.split_arrays && source.include_headers.is_empty());
    let Verification::Hmac(scheme) = source.verification else {
        panic!("no HMAC")
    };
    assert_eq!(scheme.coverage, [Coverage::Body, Coverage::FirstElement]);
    assert_eq!(
        scheme.secrets[0].value.expose(),
        b"a-long-enough-shared-secret"
    );
    assert_eq!(source.unavailable, None);
}

#[test]
fn partitions_are_as_wide_as_the_manifest_says_or_as_the_retention_asks_for() {
    for (spec, expected) in [
        ("", PartitionBy::Month),
        ("retention: 90d,", PartitionBy::Day),
        ("retention: 13w,", PartitionBy::Month),
        ("retention: 31d, partitionBy: Hour,", PartitionBy::Hour),
        ("retention: 1d, partitionBy: Month,", PartitionBy::Month),
        ("partitionBy: Day,", PartitionBy::Day),
    ] {
        assert_eq!(
            only(&signed(spec)).unwrap().partition_by,
            expected,
            "{spec}"
        );
    }
}

#[test]
fn header_names_are_kept_in_lower_case() {
    let source = only(&signed(
        "includeHeaders: {allow: [User-Agent], deny: [X-A]}, \
         headers: [{name: Event-Type, column: event_type}],",
    ))
    .unwrap();
    assert_eq!(source.include_headers.allow, ["user-agent"]);
    assert_eq!(source.include_headers.deny, ["x-a"]);
    assert_eq!(source.header_columns[0].name, "event-type");
}

#[test]
fn a_wrong_source_is_refused_with_field_and_fix() {
    let none = "clusterRef: {name: main}, verification: {none: {}}";
    let secrets = |reference: &str| {
        format!(
            "clusterRef: {{name: main}}, verification: {{preset: segment, secrets: [{{secretKeyRef: {reference}}}]}}"
        )
    };
    let cases = [
        (
            none.replace("name: main", "name: other"),
            "spec.clusterRef.name: there is no WebhookCluster default/other",
        ),
        (
            format!("{none}, path: webhooks"),
            "spec.path: \"webhooks\" is not a path",
        ),
        (format!("{none}, path: /a/../b"), "spec.path"),
        (format!("{none}, path: '/a?b'"), "spec.path"),
        (format!("{none}, path: '/a//b'"), "spec.path"),
        (
            format!("{none}, schema: public"),
            "spec.schema: schema \"public\" is reserved",
        ),
        (format!("{none}, schema: My-Schema"), "spec.schema"),
        (
            format!("{none}, partitionBy: Hour"),
            "spec.partitionBy: Hour makes 8,760 partitions a year and needs spec.retention of at \
             most 31d",
        ),
        (
            format!("{none}, partitionBy: Hour, retention: 5w"),
            "spec.partitionBy: Hour",
        ),
        (
            format!("{none}, body: {{format: Form}}, warehouse: {{layout: segment}}"),
            "spec.warehouse.layout: needs bodies of JSON; set spec.body.format to Json or JsonArray, \
             or layout to none",
        ),
        (
            format!("{none}, includeHeaders: {{allow: ['a b']}}"),
            "spec.includeHeaders.allow[0]",
        ),
        (
            format!("{none}, headers: [{{name: 'a:', column: a}}]"),
            "spec.headers[0].name",
        ),
        (
            format!("{none}, headers: [{{name: a, column: body}}]"),
            "spec.headers[0].column: the view has a column \"body\" already",
        ),
        (
            format!("{none}, headers: [{{name: a, column: 'A B'}}]"),
            "spec.headers[0].column",
        ),
        (
            format!("{none}, headers: [{{name: a, column: a}}, {{name: b, column: a}}]"),
            "spec.headers[1].column",
        ),
        (
            "clusterRef: {name: main}, verification: {}".to_owned(),
            "write preset: segment, or none: {}",
        ),
        (
            "clusterRef: {name: main}, verification: {none: {}, preset: segment}".to_owned(),
            "keep one of them",
        ),
        (
            "clusterRef: {name: main}, verification: {none: {}, strict: true}".to_owned(),
            "spec.verification.none",
        ),
        (
            "clusterRef: {name: main}, verification: {preset: segment, sharedSecret: {header: a}}"
                .to_owned(),
            "keep one of them",
        ),
        (
            "clusterRef: {name: main}, verification: {preset: segmnt}".to_owned(),
            "use one of: segment",
        ),
        (
            "clusterRef: {name: main}, verification: {preset: segment}".to_owned(),
            "spec.verification.secrets: has 0 entries",
        ),
        (
            secrets("{name: segment-webhook, key: empty}"),
            "spec.verification.secrets[0].secretKeyRef.key: the secret is empty",
        ),
    ];
    for (spec, expected) in cases {
        let problems = only(&spec).unwrap_err().to_string();
        assert!(problems.contains(expected), "{spec}: {problems}");
        assert!(
            problems.starts_with("a.yaml: WebhookSource default/segment: "),
            "{problems}"
        );
    }
}

#[test]
fn an_absent_secret_makes_a_valid_source_unavailable() {
    let spec = |reference: &str| {
        format!(
            "clusterRef: {{name: main}}, verification: {{preset: segment, secrets: [{{secretKeyRef: {reference}}}]}}"
        )
    };
    let cases = [
        (
            "{name: nowhere, key: secret}",
            "secrets[0].secretKeyRef.name: there is no Secret \"nowhere\"",
        ),
        (
            "{name: segment-webhook, key: k}",
            "secrets[0].secretKeyRef.key: the Secret \"segment-webhook\" has no key \"k\"",
        ),
    ];
    for (reference, expected) in cases {
        let source = only(&spec(reference)).unwrap();
        let problem = source.unavailable.unwrap().problem.to_string();
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn a_rotation_that_is_half_there_is_served_with_a_warning() {
    let source = only(
        "clusterRef: {name: main}, verification: {preset: segment, secrets: [\
         {secretKeyRef: {name: segment-webhook, key: secret}}, \
         {secretKeyRef: {name: segment-webhook, key: next}}]}",
    )
    .unwrap();
    assert_eq!(source.unavailable, None);
    assert!(source.warnings[0].to_string().contains("no key \"next\""));
}

#[test]
fn white_space_in_a_secret_is_pointed_out() {
    let source = only(
        "clusterRef: {name: main}, verification: {preset: segment, secrets: [\
         {secretKeyRef: {name: segment-webhook, key: newline}}]}",
    )
    .unwrap();
    assert!(source.warnings[0].to_string().contains("trailing newline"));
}

#[test]
fn a_path_and_a_schema_have_one_owner_and_a_broken_source_owns_nothing() {
    let none = "clusterRef: {name: main}, verification: {none: {}}";
    let outcome = validated(&[
        source("broken", &format!("{none}, path: /a, schema: public")),
        source("one", &format!("{none}, path: /a, schema: s")),
        source("two", &format!("{none}, path: /a, schema: s")),
    ]);
    assert_eq!(
        outcome
            .valid()
            .map(|source| source.name.name())
            .collect::<Vec<_>>(),
        ["one"]
    );
    let problems = outcome.problems().to_string();
    assert!(
        problems.contains("spec.path: \"/a\" belongs to default/one"),
        "{problems}"
    );
    assert!(
        problems.contains("spec.schema: \"s\" belongs to default/one"),
        "{problems}"
    );
}

#[test]
fn there_is_exactly_one_cluster() {
    let none = validate(&Manifests::default()).unwrap_err().to_string();
    assert!(none.contains("there is none among the files"), "{none}");
    let second = CLUSTER.replace("name: main", "name: other");
    let text = format!("{CLUSTER}---\n{}", second.split("---").next().unwrap());
    let manifests = Manifests::parse([("a.yaml", text.as_str())]).unwrap();
    let two = validate(&manifests).unwrap_err().to_string();
    assert!(
        two.contains("WebhookCluster default/other: is a second"),
        "{two}"
    );
}

#[test]
fn a_format_says_what_a_row_is_whatever_the_preset() {
    for (format, body, splits) in [
        ("Json", BodyFormat::Json, true),
        ("JsonArray", BodyFormat::Json, true),
        ("Text", BodyFormat::Text, false),
        ("Bytes", BodyFormat::Bytes, false),
        ("Form", BodyFormat::Form, false),
    ] {
        let source = only(&signed(&format!("body: {{format: {format}}},"))).unwrap();
        assert_eq!(
            (source.body, source.split_arrays),
            (body, splits),
            "{format}"
        );
    }
}

#[test]
fn a_source_is_pinned_where_its_manifest_says_so() {
    for (spec, is_pinned) in [
        ("warehouse: {layout: segment},", false),
        ("warehouse: {layout: segment, pinned: true},", true),
        // It keeps nothing from being served where there is nothing to pin.
        ("body: {format: Text}, warehouse: {pinned: true},", true),
        ("", false),
    ] {
        let source = only(&signed(spec)).unwrap();
        assert_eq!(source.shaping.is_pinned, is_pinned, "{spec}");
    }
}

#[test]
fn rows_are_materialised_of_a_source_with_partitions_of_its_own() {
    for (spec, is_materialized) in [
        ("warehouse: {layout: segment, materialized: true},", true),
        ("warehouse: {layout: segment},", false),
        ("", false),
    ] {
        let source = only(&signed(spec)).unwrap();
        assert_eq!(source.shaping.is_materialized, is_materialized, "{spec}");
    }
    let shared = "storage: Shared, warehouse: {layout: segment, materialized: true},";
    let said = only(&signed(shared)).unwrap_err().to_string();
    let expected =
        "spec.warehouse.materialized: needs partitions of the source's own; set it to false";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn an_override_that_is_wrong_is_named_with_its_field_and_leaves_the_source_valid() {
    let declared = |overrides: &str| {
        let warehouse = format!("warehouse: {{layout: segment, overrides: [{overrides}]}},");
        only(&signed(&warehouse)).unwrap()
    };
    let good = "{relation: product_viewed, column: price, type: numeric, name: unit_price}";
    let source = declared(&format!(
        "{good}, {{relation: pages, column: title, name: headline}}"
    ));
    assert_eq!(source.warehouse_problems, []);
    assert_eq!(source.shaping.overrides.map(|list| list.len()), Some(2));
    for (wrong, expected) in [
        (
            "{relation: events, column: a, type: text}",
            ".relation: \"events\" is not a relation",
        ),
        (
            "{relation: 'Product Viewed', column: a, type: text}",
            ".relation: \"Product Viewed\" is",
        ),
        (
            "{relation: a, column: properties.a, type: text}",
            ".column: \"properties.a\" is not a column",
        ),
        (
            "{relation: pages, column: name, type: text}",
            ".column: \"name\" is a column that pages has",
        ),
        (
            "{relation: a, column: received_at, name: b}",
            ".column: \"received_at\" is a column",
        ),
        (
            "{relation: a, column: b}",
            ": needs type, name or both; write type: numeric",
        ),
        (
            "{relation: a, column: b, name: unitPrice}",
            ".name: \"unitPrice\" is not a name",
        ),
        (
            "{relation: a, column: b, name: 2fa}",
            ".name: \"2fa\" is not a name",
        ),
        (
            "{relation: users, column: b, name: id}",
            ".name: users has a column \"id\" whatever is sent",
        ),
        (
            good,
            ".column: product_viewed.price has an override already",
        ),
        (
            "{relation: product_viewed, column: cost, name: unit_price}",
            ".name: another column is called \"unit_price\"",
        ),
    ] {
        let source = declared(&format!("{good}, {wrong}"));
        let said = Problems(source.warehouse_problems).to_string();
        let expected =
            format!("WebhookSource default/segment: spec.warehouse.overrides[1]{expected}");
        assert!(said.contains(&expected), "{wrong}: {said}");
        // Those that are known stay in force.
        assert_eq!(source.shaping.overrides, None, "{wrong}");
    }
    let many: Vec<_> = (0..201)
        .map(|n| format!("{{relation: a, column: c{n}, type: text}}"))
        .collect();
    let said = Problems(declared(&many.join(", ")).warehouse_problems).to_string();
    assert!(said.contains("has 201 entries; list at most 200"), "{said}");
    // A user has no user_id of its own, since that is its id.
    let source = declared("{relation: users, column: plan, name: user_id}");
    assert_eq!(source.warehouse_problems, []);
}

#[test]
fn shapes_are_noted_where_relations_are_made_of_them() {
    for (spec, layout) in [
        ("", WarehouseLayout::None),
        (
            "body: {format: Text}, warehouse: {layout: none},",
            WarehouseLayout::None,
        ),
        ("warehouse: {layout: segment},", WarehouseLayout::Segment),
        (
            "body: {format: JsonArray}, warehouse: {layout: rudderstack},",
            WarehouseLayout::Rudderstack,
        ),
    ] {
        let source = only(&signed(spec)).unwrap();
        assert_eq!(source.layout, layout, "{spec}");
        let inputs = crate::build::EntryInputs {
            bucket: Ok(1),
            previous: None,
            now: 0,
            hash_key: &trunkline_model::secret::SecretBytes::new("key"),
        };
        let entry = crate::build::entry(&source, inputs).unwrap();
        let notes = entry.settings.get().contains("\"notesShapes\":true");
        assert_eq!(notes, layout != WarehouseLayout::None, "{spec}");
    }
}

#[test]
fn indexes_are_of_json_in_partitions_of_its_own_or_are_refused_with_what_to_do() {
    use trunkline_warehouse::LeafIndex;

    let source = only(&signed("indexes: [Body, UserId],")).unwrap();
    let asked: Vec<_> = source.indexes.iter().collect();
    assert_eq!(asked, [LeafIndex::UserId, LeafIndex::Body]);
    assert!(only(&signed("")).unwrap().indexes.is_empty());
    for (rest, field, fix) in [
        (
            "indexes: [Event], storage: Shared,",
            "spec.indexes",
            "create another source with storage: Dedicated",
        ),
        (
            "indexes: [Event, Body, Event],",
            "spec.indexes[2]",
            "Event is there twice",
        ),
    ] {
        let problems = only(&signed(rest)).unwrap_err();
        assert_eq!(problems.0[0].field, field, "{rest}");
        assert!(problems.0[0].message.contains(fix), "{problems:?}");
    }
    let text = "clusterRef: {name: main}, body: {format: Text}, indexes: [UserId], \
                verification: {none: {}}";
    let problems = only(text).unwrap_err();
    assert!(
        problems.0[0].message.contains("set spec.body.format"),
        "{problems:?}"
    );
}

#[test]
fn methods_and_origins_reach_the_document_or_are_refused_with_the_field() {
    let spec = signed("methods: [POST, PUT], cors: {origins: ['*']},");
    let http = only(&spec).unwrap().http;
    assert_eq!(http.allow(), "POST, PUT");
    assert!(http.cors.unwrap().allows(b"https://a.example"));
    assert!(only(&signed("")).unwrap().http.is_default());
    for (rest, field) in [
        ("methods: [],", "spec.methods"),
        ("methods: [PUT, PUT],", "spec.methods[1]"),
        ("cors: {origins: []},", "spec.cors.origins"),
        (
            "cors: {origins: ['*', 'https://a/b']},",
            "spec.cors.origins[1]",
        ),
    ] {
        let problems = only(&signed(rest)).unwrap_err();
        assert_eq!(problems.0[0].field, field, "{rest}");
    }
}
