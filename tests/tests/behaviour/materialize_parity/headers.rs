//! What is kept of the request's headers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline_model::headers::{HeaderColumn, HeaderSelection};
use trunkline_operator::manifests::Manifests;
use trunkline_operator::validate::validate;
use trunkline_tests::SourceDraft;

use super::harness::Source;

fn column(name: &str, column: &str, bytes: bool) -> HeaderColumn {
    HeaderColumn {
        name: name.to_owned(),
        column: column.to_owned(),
        bytes,
    }
}

fn draft(allow: &[&str], deny: &[&str], columns: Vec<HeaderColumn>) -> SourceDraft {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let mut draft = SourceDraft::unverified("source");
    draft.settings.include_headers = HeaderSelection {
        all: false,
        allow: owned(allow),
        deny: owned(deny),
    };
    draft.settings.header_columns = columns;
    draft
}

#[tokio::test]
async fn names_are_lower_case_and_an_empty_value_is_kept() {
    let columns = vec![
        column("x-empty", "empty", false),
        column("x-absent", "absent", false),
    ];
    let mut source = Source::from(draft(&["x-upper", "x-empty"], &[], columns)).await;
    source
        .accept(&[("X-UPPER", "A b"), ("X-Empty", "")], "1")
        .await;
    let headers = "{\"x-empty\": \"\", \"x-upper\": \"A b\"}";
    assert_eq!(source.column("headers").await, [headers]);
    assert_eq!(source.column("empty").await, [""]);
    assert_eq!(source.column("absent").await, ["-"]);
}

/// Materialize answers 401. Proxies repeat headers; here they are joined, as HTTP has it.
#[tokio::test]
async fn a_repeated_header_is_joined_and_not_401() {
    let mut source = Source::from(draft(&["x-twice"], &[], vec![])).await;
    source
        .accept(&[("x-twice", "a"), ("X-Twice", "b")], "1")
        .await;
    assert_eq!(source.column("headers").await, ["{\"x-twice\": \"a, b\"}"]);
}

/// Materialize drops values that are not visible ASCII. Here nothing is dropped.
#[tokio::test]
async fn a_value_that_is_not_ascii_is_kept() {
    let source = Source::from(draft(&["x-odd"], &[], vec![])).await;
    post_with(&source, "x-odd", "café".as_bytes()).await;
    assert_eq!(source.column("headers").await, ["{\"x-odd\": \"café\"}"]);
}

#[tokio::test]
async fn block_overrides_allow() {
    let mut source = Source::from(draft(&["x-a", "x-b"], &["x-a"], vec![])).await;
    source
        .accept(&[("x-a", "1"), ("x-b", "2"), ("x-c", "3")], "1")
        .await;
    assert_eq!(source.column("headers").await, ["{\"x-b\": \"2\"}"]);
}

#[tokio::test]
async fn the_deny_list_removes_and_then_the_allow_list_keeps() {
    for (allow, deny, stored) in [
        (&["x-a", "x-b"][..], &[][..], "x-a,x-b"),
        (&[], &["x-a"], "host,content-length,x-b,x-c"),
        (&["x-a", "x-b", "x-c"], &["x-b", "x-d"], "x-a,x-c"),
    ] {
        let mut source = Source::from(draft(allow, deny, vec![])).await;
        source
            .accept(&[("x-a", "1"), ("x-b", "2"), ("x-c", "3")], "1")
            .await;
        let mut stored: Vec<_> = stored.split(',').collect();
        stored.sort_unstable();
        let names = "SELECT string_agg(name, ',' ORDER BY name COLLATE \"C\") \
                     FROM jsonb_object_keys(headers) name";
        assert_eq!(source.column(names).await, [stored.join(",")]);
    }
}

/// Materialize stores them all. Here a header that carries a credential is stored only when it is
/// named, since a secret lives in its Secret alone.
#[tokio::test]
async fn all_headers_are_stored_but_for_credentials() {
    let mut all = draft(&[], &[], vec![]);
    all.settings.include_headers.all = true;
    let sent = [
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("x-a", "1"),
    ];
    let mut source = Source::from(all.clone()).await;
    source.accept(&sent, "1").await;
    let kept = "headers - 'host' - 'content-length'";
    assert_eq!(source.column(kept).await, ["{\"x-a\": \"1\"}"]);
    all.settings.include_headers.allow = vec!["cookie".to_owned()];
    let mut named = Source::from(all).await;
    named.accept(&sent, "1").await;
    let both = "{\"x-a\": \"1\", \"cookie\": \"a=b\"}";
    assert_eq!(named.column(kept).await, [both]);
}

/// In Materialize a name in upper case matches nothing: a column is always NULL, and a header that
/// was to be left out is stored.
#[tokio::test]
async fn names_in_upper_case_match_and_not_nothing() {
    let manifests = "\
apiVersion: trunkline.dev/v1alpha1
kind: WebhookCluster
metadata: {name: main, namespace: default}
spec: {database: {secretRef: {name: warehouse}}}
---
apiVersion: trunkline.dev/v1alpha1
kind: WebhookSource
metadata: {name: source, namespace: default}
spec:
  clusterRef: {name: main}
  includeHeaders: {all: true, allow: [Cookie], deny: [X-Secret, HOST, Content-Length]}
  headers: [{name: X-Foo, column: foo}]
  verification: {none: {}}
";
    let manifests = Manifests::parse([("manifests", manifests)]).unwrap();
    let validated = validate(&manifests).unwrap();
    let valid = validated.valid().next().unwrap();
    let mut draft = SourceDraft::unverified("source");
    draft.settings.include_headers = valid.include_headers.clone();
    draft.settings.header_columns = valid.header_columns.clone();
    let mut source = Source::from(draft).await;
    source
        .accept(&[("X-Foo", "1"), ("X-Secret", "2"), ("COOKIE", "3")], "1")
        .await;
    assert_eq!(source.column("foo").await, ["1"]);
    let stored = "{\"x-foo\": \"1\", \"cookie\": \"3\"}";
    assert_eq!(source.column("headers").await, [stored]);
}

#[tokio::test]
async fn headers_are_on_every_row_of_a_batch() {
    let mut draft = draft(&["x-a"], &[], vec![column("x-a", "a", false)]);
    draft.settings.split_arrays = true;
    let mut source = Source::from(draft).await;
    source.accept(&[("x-a", "1")], "[1,2,3]").await;
    assert_eq!(source.column("headers ->> 'x-a' || a").await, ["11"; 3]);
}

#[tokio::test]
async fn a_header_as_bytes_keeps_what_is_not_text() {
    let columns = vec![column("x-sum", "sum", true), column("x-sum", "text", false)];
    let mut source = Source::from(draft(&[], &[], columns)).await;
    source.accept(&[], "1").await;
    post_with(&source, "x-sum", "café".as_bytes()).await;
    post_with(&source, "x-sum", b"a\xff\xfe").await;
    assert_eq!(
        source.column("encode(sum, 'hex')").await,
        ["-", "636166c3a9", "61fffe"]
    );
    assert_eq!(
        source.column("text").await,
        ["-", "café", "a\u{fffd}\u{fffd}"]
    );
    assert_eq!(source.column("pg_typeof(sum)").await, ["bytea"; 3]);
}

/// Posts `1` with a header whose value no HTTP library of ours would send.
async fn post_with(source: &Source, name: &str, value: &[u8]) {
    let (path, address) = (source.station.path(), source.station.ingester.address());
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n{name}: ");
    let request = [head.as_bytes(), value, b"\r\n\r\n1"].concat();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 200");
}
