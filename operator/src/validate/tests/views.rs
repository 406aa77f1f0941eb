//! Views that a WebhookSource declares.

use super::*;
use trunkline_warehouse::{CastType, OwnColumn, OwnValue};

const BEFORE: &str =
    "headers: [{name: X-Shop, column: shop}, {name: X-Sum, column: sum, bytes: true}],";

fn declared(views: &str) -> Source {
    only(&signed(&format!("{BEFORE} views: [{views}],"))).unwrap()
}

/// A view of one column and whatever else is said.
fn view(column: &str, rest: &str) -> String {
    format!("{{name: v, columns: [{{name: a, {column}}}], {rest}}}")
}

#[test]
fn a_declaration_becomes_columns_with_places_and_types() {
    let source = declared(
        "{name: parsed, columns: [
            {name: email, firstOf: [{path: [traits, email]}, {from: user_id}]},
            {name: total, path: [properties, total], type: numeric},
            {name: label, path: [properties, label]},
            {name: ts, from: timestamp},
            {name: shop, from: shop, type: bigint}],
          where: {types: [track], events: [Order Completed]},
          distinctOn: [message_id, email],
          orderBy: [{column: received_at, direction: Descending}, {column: email}]}",
    );
    assert_eq!(source.view_problems, []);
    assert_eq!(source.views.untouched, [""; 0]);
    let [view] = &source.views.views[..] else {
        panic!("{:?}", source.views)
    };
    let path = |keys: &[&str]| OwnValue::Path(keys.iter().map(|&key| key.to_owned()).collect());
    let from = |name: &str| OwnValue::Column(name.to_owned());
    let column = |name: &str, values: Vec<OwnValue>, cast| OwnColumn {
        name: name.to_owned(),
        values,
        cast,
    };
    assert_eq!(
        view.columns,
        [
            column(
                "email",
                vec![path(&["traits", "email"]), from("user_id")],
                Some(CastType::Text)
            ),
            column(
                "total",
                vec![path(&["properties", "total"])],
                Some(CastType::Numeric)
            ),
            column(
                "label",
                vec![path(&["properties", "label"])],
                Some(CastType::Text)
            ),
            column("ts", vec![from("timestamp")], None),
            column("shop", vec![from("shop")], Some(CastType::Bigint)),
        ]
    );
    assert_eq!(
        (&view.types[..], &view.events[..]),
        (
            &["track".to_owned()][..],
            &["Order Completed".to_owned()][..]
        )
    );
    assert_eq!(view.distinct_on, ["message_id", "email"]);
    let order: Vec<_> = view
        .order_by
        .iter()
        .map(|key| (key.column.as_str(), key.is_descending))
        .collect();
    assert_eq!(order, [("received_at", true), ("email", false)]);
}

#[test]
fn what_is_wrong_with_a_view_is_said_with_field_and_fix_and_the_source_is_valid() {
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("k{n}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let cases = [
        (
            "{name: Orders, columns: [{name: a, path: [a]}]}".to_owned(),
            ".name: \"Orders\" is not a name of a view; use",
        ),
        (
            "{name: events, columns: [{name: a, path: [a]}]}".to_owned(),
            ".name: \"events\" is the view of all events; choose",
        ),
        (
            "{name: v, columns: []}".to_owned(),
            ".columns: has 0 entries; list 1 to 400",
        ),
        (
            format!(
                "{{name: v, columns: [{}]}}",
                (0..401)
                    .map(|n| format!("{{name: c{n}, path: [a]}}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            ".columns: has 401 entries; list 1 to 400",
        ),
        (
            "{name: v, columns: [{name: 1a, path: [a]}]}".to_owned(),
            ".columns[0].name: \"1a\" is not a name of a column; use",
        ),
        (
            "{name: v, columns: [{name: a, path: [a]}, {name: a, path: [b]}]}".to_owned(),
            ".columns[1].name: there is a column \"a\" already; choose",
        ),
        (
            "{name: v, columns: [{name: a}]}".to_owned(),
            ".columns[0]: needs exactly one of path, firstOf and from; write",
        ),
        (
            view("path: [a], from: type", ""),
            ".columns[0]: needs exactly one",
        ),
        (
            view("path: []", ""),
            ".columns[0].path: has 0 keys; list 1 to 10",
        ),
        (
            view(&format!("path: [{}]", many(11)), ""),
            ".columns[0].path: has 11 keys; list",
        ),
        (
            view("path: [a, '']", ""),
            ".columns[0].path[1]: is not a key; write 1 to 255",
        ),
        (
            view("path: [\"a\\0b\"]", ""),
            ".columns[0].path[0]: is not a key",
        ),
        (
            view(&format!("path: [{}]", "é".repeat(256)), ""),
            ".columns[0].path[0]: is not a key",
        ),
        (
            view("firstOf: []", ""),
            ".columns[0].firstOf: has 0 entries; list 1 to 10",
        ),
        (
            view("firstOf: [{}]", ""),
            ".columns[0].firstOf[0]: needs either path or from; write",
        ),
        (
            view("firstOf: [{path: [a], from: type}]", ""),
            ".columns[0].firstOf[0]: needs either",
        ),
        (
            view("firstOf: [{from: received_at}]", ""),
            ".columns[0].firstOf[0].from: column \"received_at\" of events is timestamptz and cannot be shown as text; set",
        ),
        (
            view("from: bucket", ""),
            ".columns[0].from: events has no column \"bucket\"; use one of: source, received_at",
        ),
        (
            view("from: delivery_id, type: text", ""),
            ".columns[0].from: column \"delivery_id\" of events is uuid and cannot be shown as text; set type",
        ),
        (
            view("from: shop, type: jsonb", ""),
            ".columns[0].from: column \"shop\" of events is text and cannot be shown as jsonb",
        ),
        (
            view("from: sum, type: text", ""),
            ".columns[0].from: column \"sum\" of events is bytea",
        ),
        (
            view("path: [a]", "where: {}"),
            ".where: has neither types nor events; list",
        ),
        (
            view("path: [a]", "where: {types: ['']}"),
            ".where.types[0]: is not a value; write",
        ),
        (
            view("path: [a]", &format!("where: {{events: [{}]}}", many(101))),
            ".where.events: has 101 entries; list at most 100",
        ),
        (
            view("path: [a]", "distinctOn: [b]"),
            ".distinctOn[0]: \"b\" is a column neither of the view nor of events; use",
        ),
        (
            view("path: [a]", "distinctOn: [a, type, a]"),
            ".distinctOn[2]: \"a\" is there twice; remove",
        ),
        (
            view("path: [a]", &format!("distinctOn: [{}]", many(11))),
            ".distinctOn: has 11 entries; list at most 10",
        ),
        (
            view("path: [a]", "orderBy: [{column: dup}]"),
            ".orderBy[0].column: \"dup\" is a column neither",
        ),
        (
            view(
                "path: [a]",
                "orderBy: [{column: a}, {column: a, direction: Descending}]",
            ),
            ".orderBy[1].column: \"a\" is there twice",
        ),
    ];
    for (views, expected) in cases {
        let source = declared(&views);
        let problems = Problems(source.view_problems).to_string();
        let expected = format!("a.yaml: WebhookSource default/segment: spec.views[0]{expected}");
        assert!(problems.contains(&expected), "{views}: {problems}");
        assert!(source.views.views.is_empty(), "{views}");
        assert_eq!(source.views.untouched.len(), 1);
    }
}

#[test]
fn one_wrong_view_leaves_the_others() {
    let good = "{name: good, columns: [{name: a, path: [a]}]}";
    let source = declared(&format!("{good}, {}, {good}", view("from: nowhere", "")));
    let names: Vec<_> = source
        .views
        .views
        .iter()
        .map(|view| view.name.as_str())
        .collect();
    assert_eq!(names, ["good"]);
    assert_eq!(source.views.untouched, ["v", "good"]);
    let fields: Vec<_> = source
        .view_problems
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(
        fields,
        ["spec.views[1].columns[0].from", "spec.views[2].name"]
    );

    let many: Vec<_> = (0..51)
        .map(|n| format!("{{name: v{n}, columns: [{{name: a, path: [a]}}]}}"))
        .collect();
    let source = declared(&many.join(", "));
    assert_eq!(source.views.views.len(), 50);
    assert_eq!(source.view_problems[0].field, "spec.views[50]");
    assert!(
        source.view_problems[0]
            .message
            .contains("list at most 50 views")
    );
}

#[test]
fn a_body_that_is_no_json_has_no_paths_and_no_types() {
    for (format, is_json) in [
        ("Json", true),
        ("JsonArray", true),
        ("Form", true),
        ("Text", false),
        ("Bytes", false),
    ] {
        for (view, needs_json) in [
            (view("path: [a]", ""), true),
            (view("firstOf: [{path: [a]}]", ""), true),
            (view("from: message_id", "where: {types: [track]}"), true),
            (view("from: body", ""), false),
        ] {
            let spec = format!("body: {{format: {format}}}, views: [{view}],");
            let source = only(&signed(&spec)).unwrap();
            assert_eq!(
                source.view_problems.is_empty(),
                is_json || !needs_json,
                "{format} {view}"
            );
            let said = Problems(source.view_problems).to_string();
            assert!(
                said.is_empty() || said.contains("needs a JSON body, and spec.body.format"),
                "{said}"
            );
        }
    }
}
