//! Which of an element's fields get columns, and with what value.

use std::borrow::Cow;

use crate::json::{ArrayRows, Envelope, Timestamp, decode};

fn envelope(body: &str) -> Envelope<'_> {
    decode(body.as_bytes(), ArrayRows::Whole)
        .unwrap()
        .remove(0)
        .envelope
}

fn message_id(value: &str) -> Option<String> {
    let body = format!("{{\"messageId\":{value}}}");
    envelope(&body).message_id.map(Cow::into_owned)
}

#[test]
fn every_field_of_an_event_is_found() {
    let event = r#"{"anonymousId":"anon","context":{"type":"no","messageId":"no"},"event":"Order Completed",
        "messageId":"m-1","originalTimestamp":"2015-02-23T22:28:55.387Z","properties":{"userId":"no"},
        "sentAt":"2015-02-23T22:28:56Z","timestamp":"2015-02-23T22:28:55.111Z","type":"track",
        "userId":"user", "traits":[{"event":"no"}]}"#;
    let text = |text| Some(Cow::Borrowed(text));
    let time = |text| Some(Timestamp::parse(text).unwrap());
    let expected = Envelope {
        message_id: text("m-1"),
        r#type: text("track"),
        event: text("Order Completed"),
        user_id: text("user"),
        anonymous_id: text("anon"),
        timestamp: time("2015-02-23T22:28:55.111Z"),
        original_timestamp: time("2015-02-23T22:28:55.387Z"),
        sent_at: time("2015-02-23T22:28:56Z"),
    };
    let found = envelope(event);
    assert_eq!(found, expected);
    assert!(matches!(found.event, Some(Cow::Borrowed(_))));
}

#[test]
fn what_is_no_object_has_no_envelope() {
    for body in [
        "[{\"messageId\":\"a\"}]",
        "\"messageId\"",
        "1",
        "null",
        "{}",
        "[\"messageId\",\"a\"]",
        "{\"a\":{\"messageId\":\"a\"}}",
        "{\"MessageId\":\"a\",\"message_id\":\"b\",\"messageIds\":\"c\"}",
    ] {
        assert_eq!(envelope(body), Envelope::default(), "{body}");
    }
}

#[test]
fn a_text_field_is_a_string_or_the_literal_as_sent() {
    for (value, expected) in [
        ("\"a\"", Some("a")),
        ("\"\"", Some("")),
        ("\"a\\n\\u00e9\\ud83e\\udd80\"", Some("a\né🦀")),
        ("\"a\\u0000\\ud800b\"", Some("a\u{fffd}\u{fffd}b")),
        ("42", Some("42")),
        ("-1.50e+3", Some("-1.50e+3")),
        ("1e400000", Some("1e400000")),
        ("true", Some("true")),
        ("false", Some("false")),
        ("null", None),
        ("{}", None),
        ("{\"a\":\"b\"}", None),
        ("[]", None),
        ("[\"a\"]", None),
    ] {
        assert_eq!(message_id(value).as_deref(), expected, "{value}");
    }
}

#[test]
fn the_last_of_equal_keys_counts_as_in_jsonb() {
    for (body, expected) in [
        ("{\"event\":\"a\",\"event\":\"b\"}", Some("b")),
        ("{\"event\":\"a\",\"\\u0065vent\":\"b\"}", Some("b")),
        ("{\"\\u0065vent\":\"a\"}", Some("a")),
        ("{\"event\":\"a\",\"event\":null}", None),
        ("{\"event\":\"a\",\"event\":{\"event\":\"b\"}}", None),
        ("{\"event\":\"a\",\"event\":[]}", None),
        ("{\"event\":null,\"event\":1}", Some("1")),
        ("{\"event\":\"a\",\"other\":{\"event\":\"b\"}}", Some("a")),
    ] {
        assert_eq!(envelope(body).event.as_deref(), expected, "{body}");
    }
}

#[test]
fn a_time_is_a_string_that_can_be_read_as_one() {
    let expected = Timestamp::parse("2015-02-23T22:28:55Z");
    for (value, is_time) in [
        ("\"2015-02-23T22:28:55Z\"", true),
        ("\"2015-02-23\\u005422:28:55Z\"", true),
        ("\"2015-02-23 22:28:55\"", true),
        ("\"soon\"", false),
        ("\"\"", false),
        ("1424730535", false),
        ("true", false),
        ("null", false),
        ("[\"2015-02-23T22:28:55Z\"]", false),
    ] {
        let body =
            format!("{{\"timestamp\":{value},\"sentAt\":{value},\"originalTimestamp\":{value}}}");
        let found = envelope(&body);
        let expected = expected.filter(|_| is_time);
        assert_eq!(
            [found.timestamp, found.sent_at, found.original_timestamp],
            [expected; 3],
            "{value}"
        );
    }
}

#[test]
fn rows_do_not_inherit_fields() {
    let body = b"[{\"messageId\":\"a\",\"event\":\"e\"},{\"messageId\":\"b\"},1]";
    let elements = decode(body, ArrayRows::Elements).unwrap();
    assert_eq!(elements[1].envelope.message_id.as_deref(), Some("b"));
    assert_eq!(elements[1].envelope.event, None);
    assert_eq!(elements[2].envelope, Envelope::default());
}
