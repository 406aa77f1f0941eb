//! Which bodies are JSON: by hand, after the categories of the JSON Parsing Test Suite
//! (<https://github.com/nst/JSONTestSuite>): `y_` must be taken, `n_` must be refused.

use crate::json::{ArrayRows, Fault, decode};

const TAKEN: &[&str] = &[
    // arrays
    "[]",
    "[ ]",
    "[[]]",
    "[\"\"]",
    "[1\n]",
    " [1]",
    "[1] ",
    "[null,1,\"2\",{},true,false]",
    "[null, 1]",
    "[1,\t2\r\n,3]",
    // objects
    "{}",
    "{ }",
    "{\"\":0}",
    "{\"a\":[]}",
    "{\"a\":\"b\",\"a\":\"c\"}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"min\":-1.0e+28,\"max\":1.0e+28}",
    "{\n\"a\" : \"b\"\n}",
    "{\"foo\\u0000bar\":42}",
    // numbers
    "0",
    "-0",
    "[-0.0]",
    "[123e65]",
    "[0e+1]",
    "[0e1]",
    "[ 4]",
    "[20e1]",
    "[1E22]",
    "[1E-2]",
    "[1E+2]",
    "[123.456e78]",
    "[-123]",
    "[0.00000000000000000000000000000000000000000000000001]",
    "[123456789012345678901234567890]",
    "[1e400000]",
    "[-1e-400000]",
    // strings
    "\"\"",
    "\" \"",
    "\"asd\"",
    "[\"\\u0060\\u012a\\u12AB\"]",
    "[\"\\ud801\\udc37\"]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\\\\u0000\"]",
    "[\"a/*b*/c/*d//e\"]",
    "[\"\u{7f}\"]",
    "[\"\\u0000\"]",
    "[\"\\ud800\"]",
    "[\"\\udc00\"]",
    "[\"\\uD800\\uD800\\n\"]",
    "[\"\u{ffff}\"]",
    "[\"\u{2028}\u{2029}\"]",
    "[\"€𝄞\"]",
    "[\"\\u200B\\u2064\\uFDD0\\uFFFE\"]",
    "\"\u{feff}\"",
    // literals and structure
    "true",
    "false",
    "null",
    "[true]",
    " null ",
    "\t\r\n true \t\r\n",
    "[\"a\"]\n",
];

const REFUSED: &[&[u8]] = &[
    // arrays
    b"[",
    b"[1",
    b"[1,",
    b"[,]",
    b"[,1]",
    b"[1,]",
    b"[1,,2]",
    b"[1,,]",
    b"[\"a\",",
    b"[1 true]",
    b"[\"\": 1]",
    b"[1:2]",
    b"[3[4]]",
    b"[-]",
    b"[*]",
    b"[1]]",
    b"]",
    b"[}",
    b"[1}",
    b"[\x0b]",
    b"[\x0c]",
    b"[\xa0]",
    b"[a",
    b"[1\n,1\n,",
    b"[\"x\"\"y\"]",
    b"[][",
    b"[\"\xe2\x81\xa0\"",
    // objects
    b"{",
    b"{]",
    b"{\"a\"",
    b"{\"a\":",
    b"{\"a\":1",
    b"{\"a\":1,",
    b"{\"a\":1,}",
    b"{\"a\":1,,}",
    b"{,}",
    b"{1:1}",
    b"{a:1}",
    b"{'a':1}",
    b"{\"a\" 1}",
    b"{\"a\"::1}",
    b"{\"a\":}",
    b"{\"a\",1}",
    b"{\"a\":1 \"b\":2}",
    b"{null:1}",
    b"{\"a\":1}}",
    b"{\"a\":1]",
    b"{\"a\":/*c*/1}",
    b"{\"a\":1}#",
    b"{\"a\":1,\"b\"}",
    b"{[]:1}",
    b"{\"a\":\"a",
    b"}",
    // numbers
    b"+1",
    b"-",
    b"--1",
    b"-01",
    b"012",
    b"00",
    b"1.",
    b"[1.]",
    b".5",
    b"-.5",
    b"1.e1",
    b"1e",
    b"1e+",
    b"1eE2",
    b"1.2.3",
    b"1+2",
    b"0x1",
    b"0x",
    b"1_000",
    b"1a",
    b"-1x",
    b"1e1.5",
    b"NaN",
    b"-NaN",
    b"nan",
    b"Infinity",
    b"-Infinity",
    b"Inf",
    b"[1 000.0]",
    b"1,2",
    b"\xef\xbc\x91",
    b"[0e]",
    b"[0.3e+]",
    // strings
    b"\"",
    b"\"a",
    b"\"\\\"",
    b"'a'",
    b"a",
    b"\"\\x00\"",
    b"\"\\a\"",
    b"\"\\\"\"\"",
    b"\"\\u\"",
    b"\"\\u00A\"",
    b"\"\\u00G0\"",
    b"\"\\uD834\\uDd\"",
    b"\"\\u{41}\"",
    b"\"\\UA66D\"",
    b"\"\n\"",
    b"\"\t\"",
    b"\"\x00\"",
    b"\"\x1f\"",
    b"\"a\x00a\"",
    b"\"\\\x00\"",
    b"\"\\",
    b"\\u0020\"a\"",
    b"\"\\ \"",
    b"\"\\\xc3\xa9\"",
    // encoding
    b"\xff",
    b"\"\xff\"",
    b"\"\xc3\"",
    b"\"\xc0\x80\"",
    b"\"\xc0\xaf\"",
    b"\"\xe0\x80\xaf\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xed\xa0\xbd\xed\xb8\x80\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xf8\x88\x80\x80\x80\"",
    b"\"\x80\"",
    b"{\"\xb9\":1}",
    b"[1] \xff",
    b"\xef\xbb\xbf{}",
    b"\xef\xbb\xbf",
    b"\xff\xfe[\0]\0",
    b"\0[\0]",
    b"\xe2\x80\x8b1",
    b"[1]\xc2\x85",
    b"\xe2\x80\xa81",
    // literals and structure
    b"tru",
    b"True",
    b"TRUE",
    b"nul",
    b"nulll",
    b"fals",
    b"truefalse",
    b"undefined",
    b"<null>",
    b"[\\u000A]",
    b"/* c */ 1",
    b"// c\n1",
    b"#",
    b"*",
    b"1\0",
    b"\x00",
    b"{}\x00",
    b",",
    b":",
    b"1,",
    b"[1],",
    b"{\"a\":tru}",
    b"[true false]",
    b"[nu]",
    b"1 2,",
    b"\x0c1",
    b"1\x0b",
];

#[test]
fn json_is_taken() {
    for body in TAKEN {
        for rows in [ArrayRows::Whole, ArrayRows::Elements] {
            let decoded = decode(body.as_bytes(), rows);
            assert!(decoded.is_ok(), "{body}: {decoded:?}");
        }
    }
}

#[test]
fn anything_else_is_refused_whole_wherever_it_stands() {
    for body in REFUSED {
        for rows in [ArrayRows::Whole, ArrayRows::Elements] {
            let shown = String::from_utf8_lossy(body);
            assert!(decode(body, rows).is_err(), "{shown}");
            assert!(
                decode(&[b"{\"a\":1}\n", *body].concat(), rows).is_err(),
                "{shown}"
            );
            let within = [b"[{\"a\":1},", *body, b"]"].concat();
            // As the last of an array these close or continue it.
            if !matches!(*body, b"1,2" | b"1 2,") && !body.starts_with(b"]") {
                assert!(decode(&within, rows).is_err(), "{shown}");
            }
        }
    }
}

#[test]
fn every_prefix_of_an_object_is_refused() {
    let body = br#"{"a":[1.5e3,true,null,"x\u00e9\n",{"b":-0}],"c":{}}"#;
    for end in 1..body.len() {
        let error = decode(&body[..end], ArrayRows::Whole).unwrap_err();
        assert_eq!((error.fault, error.offset), (Fault::End, end));
    }
}

#[test]
fn an_error_says_where_and_what_but_not_the_content() {
    for (body, message) in [
        (
            "{\"a\":1,}",
            "expected a string as object key at line 1 column 8",
        ),
        ("[1,\n 2,\n x]", "expected a JSON value at line 3 column 2"),
        (
            "{\"a\" 1}",
            "expected `:` after an object key at line 1 column 6",
        ),
        (
            "{\"a\":1 2}",
            "expected `,` or `}` in an object at line 1 column 8",
        ),
        (
            "[1 2]",
            "expected `,` or `]` in an array at line 1 column 4",
        ),
        ("[1,", "unexpected end of JSON at line 1 column 4"),
        (
            "\"secret\n",
            "unescaped control character in a string at line 1 column 8",
        ),
        (
            "\"\\secret\"",
            "invalid escape in a string at line 1 column 3",
        ),
        ("{}\nnuts", "invalid literal at line 2 column 3"),
        ("007", "invalid number at line 1 column 2"),
        (
            "1secret",
            "expected whitespace between two values at line 1 column 2",
        ),
    ] {
        let error = decode(body.as_bytes(), ArrayRows::Whole).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let error = decode(b"[\"secret\xff\"]", ArrayRows::Whole).unwrap_err();
    assert_eq!(error.to_string(), "invalid UTF-8 at line 1 column 9");
    assert_eq!(error.offset, 8);
}

#[test]
fn megabytes_of_opening_brackets_are_refused_at_their_end() {
    for opening in ["[", "{\"\":", "[{\"\":"] {
        let body = opening.repeat((6 << 20) / opening.len());
        for rows in [ArrayRows::Whole, ArrayRows::Elements] {
            let error = decode(body.as_bytes(), rows).unwrap_err();
            assert_eq!((error.fault, error.offset), (Fault::End, body.len()));
        }
    }
}
