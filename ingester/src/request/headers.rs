//! The request's headers, as they are stored.
//!
//! Pure. Values of a header that is repeated are joined with `, `, as RFC 9110 §5.3 allows; bytes
//! that are not UTF-8 become U+FFFD.

use hyper::HeaderMap;
use serde_json::{Map, Value};
use trunkline_model::headers::{HeaderColumn, HeaderSelection};

/// The selected headers as a JSON object; `None` when the source stores none.
pub(super) fn selected(selection: &HeaderSelection, headers: &HeaderMap) -> Option<String> {
    if selection.is_empty() {
        return None;
    }
    let names = headers
        .keys()
        .map(|name| name.as_str())
        .filter(|name| selection.selects(name));
    Some(object(names, headers).to_string())
}

/// The headers with columns of their own as a JSON object; `None` when the request has none. Bytes
/// are hex digits: JSON has no bytes, and the view makes a `bytea` of them.
pub(super) fn columns(columns: &[HeaderColumn], headers: &HeaderMap) -> Option<String> {
    let present = columns
        .iter()
        .filter(|column| headers.contains_key(&column.name));
    let members: Map<_, _> = present
        .map(|column| {
            let value = if column.bytes {
                hex::encode(joined_bytes(&column.name, headers))
            } else {
                joined(&column.name, headers)
            };
            (column.key().into_owned(), Value::from(value))
        })
        .collect();
    (!members.is_empty()).then(|| Value::Object(members).to_string())
}

fn object<'a>(names: impl Iterator<Item = &'a str>, headers: &HeaderMap) -> Value {
    let member = |name: &str| (name.to_owned(), Value::from(joined(name, headers)));
    Value::Object(names.map(member).collect::<Map<_, _>>())
}

fn joined(name: &str, headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

fn joined_bytes(name: &str, headers: &HeaderMap) -> Vec<u8> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(hyper::header::HeaderValue::as_bytes)
        .collect();
    values.join(b", ".as_slice())
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        let all: [(&str, &[u8]); 5] = [
            ("User-Agent", b"Segment (Actions)"),
            ("X-Twice", b"a"),
            ("x-twice", b"b\"c"),
            ("x-odd", b"caf\xc3\xa9 \xff"),
            ("authorization", b"Bearer x"),
        ];
        for (name, value) in all {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn selected_headers_have_lower_case_names_and_joined_values() {
        let all = HeaderSelection {
            all: true,
            ..HeaderSelection::default()
        };
        let stored: Value = serde_json::from_str(&selected(&all, &headers()).unwrap()).unwrap();
        assert_eq!(
            stored,
            serde_json::json!({
                "user-agent": "Segment (Actions)", "x-twice": "a, b\"c", "x-odd": "café \u{fffd}",
            })
        );
        assert_eq!(selected(&HeaderSelection::default(), &headers()), None);
        let other = HeaderSelection {
            allow: vec!["x-no".to_owned()],
            ..all
        };
        let none = HeaderSelection {
            all: false,
            ..other
        };
        assert_eq!(selected(&none, &headers()).as_deref(), Some("{}"));
    }

    #[test]
    fn only_headers_that_are_there_have_values() {
        let column = |name: &str| HeaderColumn {
            name: name.to_owned(),
            column: "c".to_owned(),
            bytes: false,
        };
        let both = [column("user-agent"), column("event-type")];
        assert_eq!(
            columns(&both, &headers()).as_deref(),
            Some("{\"user-agent\":\"Segment (Actions)\"}")
        );
        assert_eq!(columns(&both[1..], &headers()), None);
        let bytes = |name| HeaderColumn {
            bytes: true,
            ..column(name)
        };
        let all = [
            bytes("x-odd"),
            bytes("x-twice"),
            column("x-odd"),
            bytes("x-no"),
        ];
        assert_eq!(
            columns(&all, &headers()).as_deref(),
            Some(
                "{\"x-odd\":\"café \u{fffd}\",\"x-odd:hex\":\"636166c3a920ff\",\"x-twice:hex\":\"612c20622263\"}"
            )
        );
        assert_eq!(columns(&[], &headers()), None);
    }
}
