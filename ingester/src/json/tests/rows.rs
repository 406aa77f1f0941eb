//! How a body is cut into rows.

use std::borrow::Cow;

use crate::json::{ArrayRows, Elements, decode, first_element};

fn rows(body: &str, rows: ArrayRows) -> Vec<&str> {
    let elements = decode(body.as_bytes(), rows).unwrap();
    for element in &elements {
        assert!(matches!(element.body, Cow::Borrowed(text) if text.as_bytes() == element.text));
        assert!(element.exact);
    }
    elements
        .iter()
        .map(|element| std::str::from_utf8(element.text).unwrap())
        .collect()
}

#[test]
fn values_of_a_stream_are_rows() {
    for (body, expected) in [
        ("", &[][..]),
        (" \n\t\r ", &[]),
        ("{\"a\":1}", &["{\"a\":1}"]),
        ("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"]),
        ("\r\n{}\r\n\r\n{ }\r\n", &["{}", "{ }"]),
        ("1 2\t3", &["1", "2", "3"]),
        (
            "{}{}[][]\"a\"\"b\"",
            &["{}", "{}", "[]", "[]", "\"a\"", "\"b\""],
        ),
        (
            "1\"a\"true[]null{}",
            &["1", "\"a\"", "true", "[]", "null", "{}"],
        ),
        (
            "\"a\"1 []true {}null",
            &["\"a\"", "1", "[]", "true", "{}", "null"],
        ),
        (" [1, 2] ", &["[1, 2]"]),
    ] {
        assert_eq!(rows(body, ArrayRows::Whole), expected, "{body}");
    }
}

#[test]
fn elements_of_a_top_level_array_are_rows_if_asked_for() {
    for (body, expected) in [
        ("[]", &[][..]),
        (" [ ] ", &[]),
        ("[][]\n[]", &[]),
        ("[1]", &["1"]),
        (" [ {\"a\":1} ,\n\"b\" , 3 ] ", &["{\"a\":1}", "\"b\"", "3"]),
        ("[[1,2],[[3]],[]]", &["[1,2]", "[[3]]", "[]"]),
        ("{\"a\":[1,2]}", &["{\"a\":[1,2]}"]),
        (
            "[1,2]\n{\"a\":[3]}\n[4]5",
            &["1", "2", "{\"a\":[3]}", "4", "5"],
        ),
        ("1[2]3", &["1", "2", "3"]),
        ("[true][false]", &["true", "false"]),
    ] {
        assert_eq!(rows(body, ArrayRows::Elements), expected, "{body}");
    }
}

#[test]
fn one_bad_value_anywhere_refuses_the_body() {
    for body in [
        "{}\n{}\n{",
        "[1,2,x]",
        "[1,2]x",
        "[1,2",
        "[1,]",
        "[,]",
        "[1][,]",
        "{} x",
        "[1]]",
        "1]",
        "1}",
        "1,2",
        "1:2",
        "1true",
        "12-3",
        "truefalse",
        "[1],[2]",
    ] {
        assert!(
            decode(body.as_bytes(), ArrayRows::Elements).is_err(),
            "{body}"
        );
        assert!(decode(body.as_bytes(), ArrayRows::Whole).is_err(), "{body}");
    }
}

#[test]
fn nothing_follows_an_error() {
    let mut elements = Elements::new(b"1 x 2", ArrayRows::Whole).unwrap();
    assert!(matches!(elements.next(), Some(Ok(_))));
    assert!(matches!(elements.next(), Some(Err(_))));
    assert!(elements.next().is_none());
    assert!(elements.next().is_none());
}

#[test]
fn the_first_element_of_an_array_is_its_bytes_as_sent() {
    for (body, expected) in [
        (&b"[{\"a\": 1},{\"b\":2}]"[..], &b"{\"a\": 1}"[..]),
        (b" \n[\t{\"a\":1} , 2]\r\n", b"{\"a\":1}"),
        (b"[1]", b"1"),
        (b"[ \"x\\u0000\" ]", b"\"x\\u0000\""),
        (b"[[1],[2]]", b"[1]"),
        ("[\"é\"]".as_bytes(), "\"é\"".as_bytes()),
        // What follows is not looked at.
        (b"[1,oops]", b"1"),
        (b"[1,\xff]", b"1"),
        (b"[1,2][3]", b"1"),
    ] {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(first_element(body), Some(expected), "{shown}");
    }
}

#[test]
fn a_body_that_is_not_one_array_has_no_first_element() {
    for body in [
        &b""[..],
        b" ",
        b"[",
        b"]",
        b"[]",
        b"[ ]",
        b"{\"a\":1}",
        b"1",
        b"[1",
        b"[1,",
        b"[1,2",
        b"[1 2]",
        b"[01]",
        b"[oops]",
        b"[\"\xff\"]",
        b"[{\"a\":}]",
        b"[1][2]",
        b"[1] [2]",
        b"[1]2]",
        b"[1]x",
        b"[1]\n{}",
        b"\x0c[1]",
        b"[1]\x0c",
        b"\xef\xbb\xbf[1]",
        b"{}[1]",
        b"[,1]",
        b"[1]]",
    ] {
        let shown = String::from_utf8_lossy(body);
        assert_eq!(first_element(body), None, "{shown}");
    }
}

#[test]
fn the_first_element_is_the_text_of_the_first_row() {
    let body = br#" [ {"messageId": "a"} , {"messageId":"b"} ] "#;
    let decoded = decode(body, ArrayRows::Elements).unwrap();
    assert_eq!(first_element(body), Some(decoded[0].text));
}
