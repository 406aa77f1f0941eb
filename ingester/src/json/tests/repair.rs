//! What jsonb refuses is repaired, its neighbours are not touched, and `exact` tells.

use std::borrow::Cow;

use crate::json::{ArrayRows, Element, MAX_DEPTH, decode};

fn one(body: &str) -> Element<'_> {
    let mut elements = decode(body.as_bytes(), ArrayRows::Whole).unwrap();
    assert_eq!(elements.len(), 1, "{body:.80}");
    elements.remove(0)
}

fn nested(depth: usize, inner: &str) -> String {
    format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn escapes_and_numbers_that_jsonb_refuses_are_replaced() {
    let digits = "7".repeat(131_073);
    let quoted_digits = format!("[\"{digits}\"]");
    let digits = format!("[{digits}]");
    for (sent, stored) in [
        ("\"\\u0000\"", "\"\\ufffd\""),
        (
            "{\"a\\u0000\":\"b\\u0000c\"}",
            "{\"a\\ufffd\":\"b\\ufffdc\"}",
        ),
        (
            "[\"\\ud800\",\"\\uDC00\",\"ok\"]",
            "[\"\\ufffd\",\"\\ufffd\",\"ok\"]",
        ),
        ("{\"\\udfff\":1}", "{\"\\ufffd\":1}"),
        (
            "\"\\ud800\\ud83e\\udd80\\udd80\"",
            "\"\\ufffd\\ud83e\\udd80\\ufffd\"",
        ),
        ("\"\\\\u0000\\u0000\\\\\"", "\"\\\\u0000\\ufffd\\\\\""),
        ("[1e400000, 1]", "[\"1e400000\", 1]"),
        ("{\"n\":-1E-16384}", "{\"n\":\"-1E-16384\"}"),
        ("1e1001", "\"1e1001\""),
        (
            "[1e1001,\"\\u0000\",1e-1001]",
            "[\"1e1001\",\"\\ufffd\",\"1e-1001\"]",
        ),
        (&digits, &quoted_digits),
    ] {
        let element = one(sent);
        assert_eq!(element.body, stored, "{sent:.80}");
        assert_eq!(element.text, sent.as_bytes());
        assert!(!element.exact, "{sent:.80}");
    }
}

#[test]
fn what_jsonb_takes_is_borrowed_and_exact() {
    for body in [
        "-0",
        "1E3",
        "1.10",
        "1e999",
        "[\"\\ud83e\\udd80\"]",
        "\"\\uFFFD\"",
        "\"\\\\u0000\"",
        "\"\\\\ud800\"",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":1}]}",
        "{\"A\":1,\"a\":2}",
        "{\"a\":1,\"a \":2}",
        "{ \"a\" : [ 1 , 2 ] }",
        "{\"\\u00e9\":1,\"e\":2}",
        "{\"\":1,\"a\":{\"\":1}}",
    ] {
        let element = one(body);
        assert!(
            matches!(element.body, Cow::Borrowed(text) if text == body),
            "{body}"
        );
        assert!(element.exact, "{body}");
    }
}

#[test]
fn a_key_that_occurs_twice_is_not_exact_but_borrowed() {
    for body in [
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"\\u00e9\":1,\"é\":2}",
        "{\"\":1,\"\":2}",
        "{\"x\":{\"a\":1,\"b\":2,\"a\":3}}",
        "[[{\"a\":1,\"b\":{\"c\":1},\"a\":2}]]",
        "{\"\\/\":1,\"/\":2}",
        "{\"\\ud83e\\udd80\":1,\"🦀\":2}",
        "{\"a\":{},\"a\":[]}",
    ] {
        let element = one(body);
        assert!(
            matches!(element.body, Cow::Borrowed(text) if text == body),
            "{body}"
        );
        assert!(!element.exact, "{body}");
    }
}

#[test]
fn a_huge_object_with_one_key_twice_is_not_exact() {
    let members: Vec<_> = (0..200_000)
        .map(|key| format!("\"{key}\":{{\"a\":1}}"))
        .collect();
    let body = format!("{{{}}}", members.join(","));
    assert!(one(&body).exact);
    let body = format!("{{{},\"77\":0}}", members.join(","));
    assert!(!one(&body).exact);
}

#[test]
fn a_subtree_past_the_depth_becomes_a_string_of_its_text() {
    let body = nested(MAX_DEPTH, "1");
    assert!(matches!(one(&body).body, Cow::Borrowed(_)));
    assert!(one(&body).exact);

    let deep = "{ \"a\\n\" :\t[\"\\u0000\\ud800\",\r\n1e400000], \"a\\n\":\"é\" }";
    let body = nested(MAX_DEPTH, &format!("{deep}, {{}}, 1, \"\\u0000\""));
    let quoted = "{ \\\"a\\\\n\\\" :\\t[\\\"\\\\u0000\\\\ud800\\\",\\r\\n1e400000], \\\"a\\\\n\\\":\\\"é\\\" }";
    let stored = nested(
        MAX_DEPTH,
        &format!("\"{quoted}\", \"{{}}\", 1, \"\\ufffd\""),
    );
    let element = one(&body);
    assert_eq!(element.body, stored);
    assert!(!element.exact);

    // The string holds the subtree as it was sent.
    let mut value =
        &serde_json::from_str::<serde_json::Value>(&quoted_value(&element.body)).unwrap();
    while let Some(inner) = value.get(0) {
        value = inner;
    }
    assert_eq!(value.as_str(), Some(deep));
}

/// The innermost array of a repaired text, within the 128 levels that serde_json parses.
fn quoted_value(body: &str) -> String {
    let kept = MAX_DEPTH - 10;
    body[kept..body.len() - kept].to_owned()
}

#[test]
fn objects_count_as_levels_too_and_depth_is_counted_per_row() {
    let member = "{\"k\":".repeat(MAX_DEPTH);
    let close = "}".repeat(MAX_DEPTH);
    assert!(one(&format!("{member}1{close}")).exact);
    let element_body = format!("{member}[]{close}");
    let element = one(&element_body);
    assert_eq!(element.body, format!("{member}\"[]\"{close}"));

    let batch = format!("[{0},{0}]", nested(MAX_DEPTH, ""));
    let elements = decode(batch.as_bytes(), ArrayRows::Elements).unwrap();
    assert!(elements.iter().all(|element| element.exact));
}

#[test]
fn depth_is_without_limit_and_the_string_holds_it_all() {
    let deep = nested(1_000_000, "");
    let element = one(&deep);
    assert_eq!(
        element.body,
        nested(
            MAX_DEPTH,
            &format!("\"{}\"", nested(1_000_000 - MAX_DEPTH, ""))
        )
    );
    let alternating = format!("{}1{}", "[{\"a\":".repeat(100_000), "}]".repeat(100_000));
    assert!(!one(&alternating).exact);
    let crossed = alternating.replacen("}]", "]}", 1);
    assert!(decode(crossed.as_bytes(), ArrayRows::Whole).is_err());
}

#[test]
fn neighbours_of_a_repaired_row_are_untouched() {
    let body = "[{\"a\":1},{\"a\":\"\\u0000\"},{\"b\":1,\"b\":2},{\"a\":1e9999},{\"a\":3}]";
    let elements = decode(body.as_bytes(), ArrayRows::Elements).unwrap();
    let exact: Vec<_> = elements.iter().map(|element| element.exact).collect();
    assert_eq!(exact, [true, false, false, false, true]);
    let bodies: Vec<_> = elements.iter().map(|element| &*element.body).collect();
    assert_eq!(
        bodies,
        [
            "{\"a\":1}",
            "{\"a\":\"\\ufffd\"}",
            "{\"b\":1,\"b\":2}",
            "{\"a\":\"1e9999\"}",
            "{\"a\":3}"
        ]
    );
}
