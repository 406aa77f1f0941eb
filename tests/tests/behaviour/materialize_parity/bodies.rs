//! How a body becomes rows.

use trunkline_model::request::BodyFormat;

use super::harness::Source;

#[tokio::test]
async fn bytes_are_stored_as_received_always_in_one_row() {
    let mut source = Source::of(BodyFormat::Bytes).await;
    let all: Vec<u8> = (0..=255).collect();
    for body in [&b""[..], b"{", b"1\n2", &all] {
        source.accept(&[], body).await;
    }
    let stored = ["", "7b", "310a32", &hex::encode(&all)].map(str::to_owned);
    assert_eq!(source.column("encode(body, 'hex')").await, stored);
    // The body is all of it, and nothing is taken out of it.
    assert_eq!(
        source.column("num_nonnulls(raw, type, message_id)").await,
        ["0"; 4]
    );
    assert_eq!(source.column("pg_typeof(body)").await, ["bytea"; 4]);
}

/// PostgreSQL's text holds no NUL, Materialize's does: here it is replaced, and `raw` has it.
#[tokio::test]
async fn text_is_the_whole_body_in_one_row_and_nul_bytes_are_fine() {
    let mut source = Source::of(BodyFormat::Text).await;
    for body in ["", "{\"type\":\"track\"}\n[2]", "café \u{1f642}\r\n"] {
        source.accept(&[], body).await;
    }
    assert_eq!(source.repaired().await, 0.0);
    source.accept(&[], "a\0b").await;
    let stored = [
        "",
        "{\"type\":\"track\"}\n[2]",
        "café \u{1f642}\r\n",
        "a\u{fffd}b",
    ];
    assert_eq!(source.column("body").await, stored);
    assert_eq!(
        source.column("encode(raw, 'hex')").await,
        ["-", "-", "-", "610062"]
    );
    assert_eq!(source.column("type").await, ["-"; 4]);
    assert_eq!(source.column("pg_typeof(body)").await, ["text"; 4]);
    assert_eq!(source.repaired().await, 1.0);
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_400() {
    let mut source = Source::of(BodyFormat::Text).await;
    let text = "failed to deserialize body as String: invalid UTF-8 at byte 9";
    source.refuse(b"of-a-name\xff", 400, text).await;
    assert!(source.column("body").await.is_empty());
}

#[tokio::test]
async fn json_is_a_stream_of_values_and_an_array_stays_one_row() {
    let mut source = Source::of(BodyFormat::Json).await;
    source
        .accept(&[], "{\"a\":1}\n{\"a\":2}\r\n\n {\"a\":3}")
        .await;
    source.accept(&[], "[1,[2]]\t\"s\" null true 4 -1.50").await;
    assert_eq!(
        source.column("body").await,
        [
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{\"a\": 3}",
            "[1, [2]]",
            "\"s\"",
            "null",
            "true",
            "4",
            "-1.50"
        ]
    );
    assert_eq!(
        source.column("position").await,
        ["0", "1", "2", "0", "1", "2", "3", "4", "5"]
    );
}

#[tokio::test]
async fn a_json_array_is_expanded_and_its_duplicates_are_kept() {
    let mut source = Source::of_json_arrays().await;
    source.accept(&[], "[{\"a\":1},{\"a\":1},[2]]").await;
    source.accept(&[], "{\"single\":1}").await;
    source.accept(&[], "[3]\n[4,5]").await;
    assert_eq!(
        source.column("body").await,
        [
            "{\"a\": 1}",
            "{\"a\": 1}",
            "[2]",
            "{\"single\": 1}",
            "3",
            "4",
            "5"
        ]
    );
}

#[tokio::test]
async fn one_bad_element_rejects_the_whole_request() {
    let mut arrays = Source::of_json_arrays().await;
    let bad = [
        "[1,2,]",
        "[1,nul]",
        "[1",
        "1\n2\n{]",
        "[1] ]",
        "{\"a\":1}\n{\"a\"}",
    ];
    for body in bad {
        let answer = arrays.post(&[], body).await;
        assert_eq!(answer.status, 400, "{body}");
        let prefix = "failed to deserialize body as Jsonb: ";
        assert!(answer.text.starts_with(prefix), "{}", answer.text);
    }
    assert!(arrays.column("body").await.is_empty());
}

#[tokio::test]
async fn the_content_type_is_ignored() {
    let mut source = Source::of(BodyFormat::Json).await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "nonsense",
    ] {
        source.accept(&[("content-type", kind)], "{\"a\":1}").await;
    }
    assert_eq!(source.column("body").await, ["{\"a\": 1}"; 3]);
}

#[tokio::test]
async fn an_empty_body_and_an_empty_array_are_200_without_a_row() {
    let mut arrays = Source::of_json_arrays().await;
    for body in ["", " \n\t", "[]", "[ ]\n[]"] {
        arrays.accept(&[], body).await;
    }
    assert!(arrays.column("body").await.is_empty());
    // Under `Json`, an array is a value like any other.
    let mut values = Source::of(BodyFormat::Json).await;
    for body in ["", "\n", "[]"] {
        values.accept(&[], body).await;
    }
    assert_eq!(values.column("body").await, ["[]"]);
}

/// Materialize refuses more than 128 levels. Here nothing valid is refused: what is deeper than 512
/// is kept as text, and `raw` has the bytes.
#[tokio::test]
async fn deep_nesting_is_stored_and_not_400() {
    let mut source = Source::of(BodyFormat::Json).await;
    for depth in [128, 129, 100_000] {
        source
            .accept(&[], "[".repeat(depth) + &"]".repeat(depth))
            .await;
    }
    let length = "octet_length(raw)";
    assert_eq!(source.column(length).await, ["-", "-", "200000"]);
}

/// A format that Materialize has not.
#[tokio::test]
async fn a_form_is_one_row_of_its_fields_and_raw_has_what_was_sent() {
    let mut source = Source::of(BodyFormat::Form).await;
    let sent = "type=sub+scribe&data%5Bemail%5D=a%40b.example&tag=x&tag=y&messageId=m1";
    source.accept(&[], sent).await;
    source.accept(&[], "").await;
    assert_eq!(source.repaired().await, 0.0);
    source.accept(&[], b"a=%00&b=x\xff").await;
    assert_eq!(
        source.column("body").await,
        [
            "{\"tag\": [\"x\", \"y\"], \"type\": \"sub scribe\", \"messageId\": \"m1\", \
             \"data[email]\": \"a@b.example\"}",
            "{}",
            "{\"a\": \"\u{fffd}\", \"b\": \"x\u{fffd}\"}",
        ]
    );
    let raw = [sent.as_bytes(), b"", b"a=%00&b=x\xff"].map(hex::encode);
    assert_eq!(source.column("encode(raw, 'hex')").await, raw);
    assert_eq!(source.column("type").await, ["sub scribe", "-", "-"]);
    assert_eq!(source.column("message_id").await, ["m1", "-", "-"]);
    assert_eq!(source.repaired().await, 1.0);

    let text = "request body has more than the maximum allowed 10000 form fields";
    source.refuse(vec!["a"; 10_001].join("&"), 413, text).await;
    source.accept(&[], vec!["a"; 10_000].join("&")).await;
}
