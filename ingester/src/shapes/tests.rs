//! What is noted of which events.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::known::Bound;
use super::noting::{News, Noting};
use super::shape::Shape;
use super::source::SourceShapes;
use super::{MAX_WAITING, Shapes};
use crate::json::{ArrayRows, Elements};

/// Looks at every element of a body.
fn look(source: &Arc<SourceShapes>, body: &str) -> Option<News> {
    let mut noting = Noting::new(source, &"a/shop".into());
    let mut elements = Elements::new(body.as_bytes(), ArrayRows::Elements)
        .unwrap()
        .outlined();
    while let Some(element) = elements.next() {
        let (outline, text) = elements.outline().unwrap();
        noting.element(&element.unwrap().envelope, outline, text);
    }
    noting.finish()
}

/// A shape in a line: call, event, path, kind.
fn line(shape: &Shape) -> String {
    let kind = shape
        .kind
        .map_or("Seen".to_owned(), |kind| format!("{kind:?}"));
    let event = shape.event.as_deref().unwrap_or("-");
    format!(
        "{} {event} {} {kind}",
        shape.call.name,
        shape.path.join(".")
    )
}

/// What is told of a body by a source that knows nothing.
fn noted(body: &str) -> Vec<String> {
    let source = Arc::default();
    let Some(mut news) = look(&source, body) else {
        return Vec::new();
    };
    let shapes = Shapes::default();
    shapes.take(&mut news);
    let mut lines: Vec<_> = shapes.waiting().iter().map(line).collect();
    lines.sort_unstable();
    let first = lines.len();
    lines.dedup();
    assert_eq!(lines.len(), first, "told twice");
    lines
}

fn count(news: Option<&News>, bound: Bound) -> u64 {
    news.map_or(0, |news| news.unnoted[bound as usize])
}

#[test]
fn calls_names_and_fields_are_noted_with_their_kinds() {
    let cases: &[(&str, &[&str])] = &[
        (
            r#"{"type":"track","event":"Order Completed","messageId":"m","userId":"u",
                "timestamp":"2026-01-02T03:04:05Z","properties":{"total":9.5,"paid":true,
                "coupon":"none","at":"2026-01-02T03:04:05.678Z","items":[{"sku":1}],"tax":null},
                "context":{"ip":"1.2.3.4","page":{"path":"/"}}}"#,
            &[
                "track - context.ip Text",
                "track - context.page.path Text",
                "track Order Completed  Seen",
                "track Order Completed properties.at Timestamp",
                "track Order Completed properties.coupon Text",
                "track Order Completed properties.items Array",
                "track Order Completed properties.paid Boolean",
                "track Order Completed properties.total Number",
            ],
        ),
        // Type and name may come last, and a root may be found twice.
        (
            r#"{"properties":{"a":1},"context":{"b":"x"},"properties":{"c":2},"event":"E","type":"track"}"#,
            &[
                "track - context.b Text",
                "track E  Seen",
                "track E properties.a Number",
                "track E properties.c Number",
            ],
        ),
        (
            r#"{"type":"identify","traits":{"plan":"a"},"properties":{"no":1},"event":"no"}"#,
            &["identify -  Seen", "identify - traits.plan Text"],
        ),
        (
            r#"{"type":"group","groupId":"g","traits":{"plan":"a"}}"#,
            &["group -  Seen", "group - traits.plan Text"],
        ),
        (
            r#"{"type":"page","name":"Home","category":"c","properties":{"url":"u"},"traits":{"no":1}}"#,
            &["page -  Seen", "page - properties.url Text"],
        ),
        (
            r#"{"type":"screen","event":"no","properties":{"url":"u"}}"#,
            &["screen -  Seen", "screen - properties.url Text"],
        ),
        (
            r#"{"type":"alias","previousId":"p","context":{"a":1},"traits":{"no":1}}"#,
            &["alias -  Seen", "alias - context.a Number"],
        ),
        (
            r#"{"type":"delete","properties":{"no":1}}"#,
            &["delete -  Seen"],
        ),
        // A name is what the column `event` has.
        (
            r#"{"type":"\u0074rack","event":"It’s\u0020\u0000","\u0070roperties":{"a":1}}"#,
            &[
                "track It’s \u{fffd}  Seen",
                "track It’s \u{fffd} properties.a Number",
            ],
        ),
        (
            r#"{"type":"track","event":7,"properties":{"a":1}}"#,
            &["track 7  Seen", "track 7 properties.a Number"],
        ),
        (
            r#"{"type":"track","event":"","properties":{"a":1}}"#,
            &["track   Seen", "track  properties.a Number"],
        ),
        // Without a name, its fields belong to no relation.
        (
            r#"{"type":"track","properties":{"a":1},"context":{"b":1}}"#,
            &["track -  Seen", "track - context.b Number"],
        ),
        // What is no event of the Spec.
        (r#"{"type":"Track","event":"E","properties":{"a":1}}"#, &[]),
        (r#"{"event":"E","properties":{"a":1}}"#, &[]),
        (r#"{"a":{"type":"track","event":"E"}}"#, &[]),
        (
            r#"["track",{"b":[{"type":"track","event":"E"}]},"type",1,null]"#,
            &[],
        ),
        ("[]", &[]),
        ("", &[]),
    ];
    for (body, expected) in cases {
        assert_eq!(noted(body), *expected, "{body}");
    }
}

#[test]
fn objects_are_looked_into_and_arrays_are_not() {
    let cases: &[(&str, &[&str])] = &[
        (r#"{"a":{"b":{"c":1}}}"#, &["a.b.c Number"]),
        (r#"{"a":{"b":{"c":{"d":{"e":1}}}}}"#, &["a.b.c.d.e Number"]),
        (
            r#"{"a":{"b":{"c":{"d":{"e":{"f":1}}}}}}"#,
            &["a.b.c.d.e Object"],
        ),
        (r#"{"a":{"b":{"c":{"d":{"e":{ }}}}},"z":1}"#, &["z Number"]),
        (
            r#"{"a":{"b":{"c":{"d":{"e":{"f":{"g":[{}]}},"h":1}}}},"z":1}"#,
            &["a.b.c.d.e Object", "a.b.c.d.h Number", "z Number"],
        ),
        (
            r#"{"a":[],"b":[[{"c":1}],{"d":{"e":1}}],"f":1}"#,
            &["a Array", "b Array", "f Number"],
        ),
        (
            r#"{"a":{"b":[{"c":[1]}],"d":1},"e":1}"#,
            &["a.b Array", "a.d Number", "e Number"],
        ),
        (r#"{"a":{},"b":null,"c":{"d":null,"e":{}}}"#, &[]),
        (
            r#"{"":1,"a.b":1,"c\"d":1,"e\u0041":1,"f\u0000":1}"#,
            &[
                " Number",
                "a.b Number",
                "c\"d Number",
                "eA Number",
                "f\u{fffd} Number",
            ],
        ),
        (
            r#"{"a":{"properties":{"b":1},"traits":2},"context":{"c":1}}"#,
            &[
                "a.properties.b Number",
                "a.traits Number",
                "context.c Number",
            ],
        ),
        // The kinds that it has in `body`, which are strings.
        (
            r#"{"a":1e400000,"b":-1.5e3,"c":"1","d":"true","e":""}"#,
            &["a Text", "b Number", "c Text", "d Text", "e Text"],
        ),
        // jsonb keeps the last of two, and shows the others nowhere.
        (r#"{"a":1,"a":"x"}"#, &["a Number", "a Text"]),
        ("[{\"a\":1}]", &[]),
        ("\"a\"", &[]),
        ("null", &[]),
        ("{}", &[]),
    ];
    for (properties, expected) in cases {
        let body = format!(r#"{{"type":"page","properties":{properties},"x":{{"y":1}}}}"#);
        let prefix = "page - properties.";
        let mut expected: Vec<_> = expected
            .iter()
            .map(|line| format!("{prefix}{line}"))
            .collect();
        expected.push("page -  Seen".to_owned());
        expected.sort_unstable();
        assert_eq!(noted(&body), expected, "{body}");
    }
}

#[test]
fn a_timestamp_is_a_date_and_a_time_with_an_offset() {
    for (text, is_timestamp) in [
        ("2026-01-02T03:04:05Z", true),
        ("2026-01-02T03:04:05.123456789Z", true),
        ("2026-01-02T03:04:05+01:00", true),
        ("2026-01-02T03:04:05.1-0330", true),
        ("2026-01-02T03:04:05+01", true),
        ("2026-01-02T03:04Z", true),
        ("2026-01-02T03:04+01:00", true),
        (r"2026-01-02\u005403:04:05Z", true),
        (r"\u0032026-01-02T03:04:05Z", true),
        ("2026-01-02T03:04:05", false),
        ("2026-01-02 03:04:05Z", false),
        ("2026-01-02t03:04:05Z", false),
        ("2026-01-02T03:04:05z", false),
        ("2026-01-02T03:04:05[UTC]", false),
        ("2026-01-02T03:04:05Z[UTC]", false),
        ("2026-01-02T03:04:05,5Z", false),
        ("2026-02-30T03:04:05Z", false),
        ("2026-01-02T25:04:05Z", false),
        ("2026-01-02", false),
        ("20260102T030405Z", false),
        ("2026-01-02Tomorrow-Z", false),
        (" 2026-01-02T03:04:05Z", false),
        ("2026-01-02T03:04:05Z ", false),
        ("2026-01-02T03:04:05.0000000000000000000000Z", false),
        (r"2026-01-02T03:04:05Z\u0000", false),
        ("+002026-01-02T03:04:05Z", false),
        ("12", false),
        ("é", false),
    ] {
        let body = format!(r#"{{"type":"page","properties":{{"a":"{text}"}}}}"#);
        let kind = if is_timestamp { "Timestamp" } else { "Text" };
        assert_eq!(
            noted(&body)[1],
            format!("page - properties.a {kind}"),
            "{text}"
        );
    }
}

#[test]
fn a_shape_is_news_once() {
    let source = Arc::default();
    let shapes = Shapes::default();
    let body =
        r#"[{"type":"page","properties":{"a":1}},{"type":"page","properties":{"a":2,"b":"x"}}]"#;
    let mut news = look(&source, body).unwrap();
    // Another request before this one is committed.
    assert!(look(&source, body).is_none());
    shapes.take(&mut news);
    drop(news);
    assert_eq!(shapes.waiting().len(), 3);
    assert!(look(&source, body).is_none());
    let mut news = look(&source, r#"{"type":"page","properties":{"a":"x","b":"y"}}"#).unwrap();
    shapes.take(&mut news);
    assert_eq!(
        line(shapes.waiting().back().unwrap()),
        "page - properties.a Text"
    );
    assert_eq!(shapes.waiting().len(), 4);
}

#[test]
fn what_is_not_committed_is_news_again() {
    let source = Arc::default();
    let body = r#"{"type":"page","properties":{"a":1}}"#;
    for _ in 0..3 {
        let news = look(&source, body).unwrap();
        assert_eq!(news.shapes.len(), 2);
    }
}

#[test]
fn what_finds_no_room_is_news_again() {
    let shapes = Shapes::default();
    let source: Arc<SourceShapes> = Arc::default();
    let body = r#"{"type":"page","properties":{"a":1}}"#;
    let mut news = look(&source, body).unwrap();
    let one = news.shapes[0].1.clone();
    shapes.waiting().extend(vec![one; MAX_WAITING - 1]);
    shapes.take(&mut news);
    assert_eq!(count(Some(&news), Bound::Rate), 1);
    drop(news);
    assert_eq!(shapes.waiting().len(), MAX_WAITING);
    assert_eq!(look(&source, body).unwrap().shapes.len(), 1);
}

#[test]
fn what_is_too_long_is_left_out_and_counted() {
    let source = Arc::default();
    let key = |length| "k".repeat(length);
    let body = format!(
        r#"[{{"type":"page","properties":{{"{}":{{"a":1}},"{}":[1],"{}":{{"b":1}},"c":1}}}},
            {{"type":"track","event":"{}","properties":{{"a":1}}}},
            {{"type":"track","event":"{}","properties":{{"a":1}},"context":{{"d":1}}}}]"#,
        key(256),
        key(300),
        key(255),
        key(1_000),
        key(1_001),
    );
    let news = look(&source, &body).unwrap();
    assert_eq!(count(Some(&news), Bound::Length), 3);
    let lines: Vec<_> = news.shapes.iter().map(|(_, shape)| line(shape)).collect();
    let (long_key, long_name) = (key(255), key(1_000));
    assert_eq!(
        lines,
        [
            "page -  Seen".to_owned(),
            format!("page - properties.{long_key}.b Number"),
            "page - properties.c Number".to_owned(),
            format!("track {long_name}  Seen"),
            format!("track {long_name} properties.a Number"),
            "track - context.d Number".to_owned(),
        ]
    );
    // Escapes count as what they stand for.
    let escaped = format!(
        r#"{{"type":"page","properties":{{"{}":1}}}}"#,
        "\\u0061".repeat(255)
    );
    assert_eq!(look(&source, &escaped).unwrap().shapes.len(), 1);
}

#[test]
fn very_many_fields_take_little_room() {
    let source = Arc::default();
    let many = |count| {
        let fields: Vec<_> = (0..count)
            .map(|number| format!("\"f{number}\":1"))
            .collect();
        fields.join(",")
    };
    let body = format!(
        r#"{{"properties":{{{}}},"properties":{{"x":1}},"context":{{"a":1}},"type":"page"}}"#,
        many(10_000)
    );
    let news = look(&source, &body).unwrap();
    assert_eq!(count(Some(&news), Bound::Paths), 10_001 - 1_024);
    // A burst, and what a slow machine takes longer for.
    let told = news.shapes.len();
    assert!((500..=501).contains(&told), "{told}");
    let unnoted = news.unnoted.iter().sum::<u64>();
    assert_eq!(unnoted, 10_001 + 2 - told as u64);
    let mut elements = Elements::new(body.as_bytes(), ArrayRows::Whole)
        .unwrap()
        .outlined();
    elements.next();
    assert_eq!(elements.outline().unwrap().0.fields().count(), 1_025);
}

/// A field's value of some depth; keys that meet those of the envelope and of the roots among them.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("2026-01-02T03:04:05Z")),
    ];
    leaf.prop_recursive(8, 64, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            object(inner),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["a", "b", "type", "event", "properties", "context", ""])
            .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(key(), value, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// What is to be found below a root, by a walk through serde_json's tree.
fn walk(value: &Value, path: &mut Vec<String>, found: &mut BTreeSet<(Vec<String>, &str)>) {
    let kind = match value {
        Value::Null => return,
        Value::Object(members) if members.is_empty() => return,
        Value::Object(members) if path.len() <= 5 => {
            for (key, value) in members {
                // As `body` has it.
                path.push(key.replace('\0', "\u{fffd}"));
                walk(value, path, found);
                path.pop();
            }
            return;
        }
        Value::Object(_) => "Object",
        Value::Array(_) => "Array",
        Value::Bool(_) => "Boolean",
        Value::Number(_) => "Number",
        Value::String(text) if text == "2026-01-02T03:04:05Z" => "Timestamp",
        Value::String(_) => "Text",
    };
    found.insert((path.clone(), kind));
}

proptest! {
    #[test]
    fn what_is_noted_is_what_a_walk_finds(
        properties in object(value()),
        context in value(),
        others in prop::collection::btree_map(key(), value(), 0..3),
        pretty in any::<bool>(),
    ) {
        let mut event: Map<String, Value> = others.into_iter().collect();
        event.insert("properties".to_owned(), properties.clone());
        event.insert("context".to_owned(), context.clone());
        event.insert("event".to_owned(), json!("E"));
        event.insert("type".to_owned(), json!("track"));
        let mut expected = BTreeSet::new();
        for (root, value) in [("properties", &properties), ("context", &context)] {
            if value.is_object() {
                walk(value, &mut vec![root.to_owned()], &mut expected);
            }
        }
        let event = Value::Object(event);
        let body = if pretty {
            serde_json::to_string_pretty(&event).unwrap()
        } else {
            event.to_string()
        };
        let source = Arc::default();
        let news = look(&source, &body).unwrap();
        let kinds: Vec<_> = news
            .shapes
            .iter()
            .map(|(_, shape)| shape.kind.map(|kind| format!("{kind:?}")))
            .collect();
        let mut noted = BTreeSet::new();
        for ((_, shape), kind) in news.shapes.iter().zip(&kinds) {
            match kind {
                None => prop_assert_eq!(&shape.path, &Vec::<String>::new()),
                Some(kind) => {
                    let is_own = shape.path.first().is_some_and(|root| root == "properties");
                    prop_assert_eq!(shape.event.as_deref(), is_own.then_some("E"));
                    noted.insert((shape.path.clone(), kind.as_str()));
                }
            }
        }
        prop_assert_eq!(noted, expected);
    }
}
