//! Form bodies: `application/x-www-form-urlencoded`, by the rules of the URL standard.
//!
//! Pure: bytes in, the text of a JSON object out. Invariant: the object's keys are unique.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Bound on the fields of a form, a hundred times what real senders use. Each costs memory far
/// beyond its own bytes.
pub(super) const MAX_FIELDS: usize = 10_000;

/// What a field takes while its form is read: a node of the map, two strings and a list.
const HELD_PER_FIELD: usize = 256;

/// What a form takes for each of its bytes while it is read: its fields decoded, and a JSON text
/// in which a control character is an escape of six bytes, in a buffer that may have doubled.
const HELD_PER_BYTE: usize = 14;

/// A form that has been read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The fields as the text of a JSON object.
    pub(super) json: String,
    /// False when a field was not UTF-8 and has replacement characters.
    pub(super) exact: bool,
}

/// More fields than [`MAX_FIELDS`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyFields;

/// Bytes that [`read`] takes at most, besides the body itself.
pub(super) fn held(body: &[u8]) -> usize {
    let fields = fields(body).count().min(MAX_FIELDS);
    body.len() * HELD_PER_BYTE + fields * HELD_PER_FIELD
}

/// Reads a form. A name that is there several times has an array of its values, in their order.
pub(super) fn read(body: &[u8]) -> Result<Form, TooManyFields> {
    if fields(body).nth(MAX_FIELDS).is_some() {
        return Err(TooManyFields);
    }
    let mut form: BTreeMap<Cow<'_, str>, Field<'_>> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        form.entry(name).or_default().0.push(value);
    }
    let exact = fields(body).all(is_utf8);
    // Strings and arrays of them always serialise.
    let json = serde_json::to_string(&form).unwrap_or_default();
    Ok(Form { json, exact })
}

/// Names and values as sent. Empty pieces between two `&` are none, as the standard has it.
fn fields(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&byte| byte == b'&')
        .filter(|field| !field.is_empty())
}

/// Whether the name and the value of a field are UTF-8 once they are decoded.
fn is_utf8(field: &[u8]) -> bool {
    field.splitn(2, |&byte| byte == b'=').all(|part| {
        let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode(part).into();
        std::str::from_utf8(&decoded).is_ok()
    })
}

/// The values of one name.
#[derive(Default)]
struct Field<'a>(Vec<Cow<'a, str>>);

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [only] => serializer.serialize_str(only),
            all => serializer.collect_seq(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &[u8]) -> String {
        let form = read(body).unwrap();
        assert!(form.exact, "{}", String::from_utf8_lossy(body));
        form.json
    }

    #[test]
    fn fields_are_decoded_and_repeated_ones_are_arrays() {
        for (body, expected) in [
            ("", "{}"),
            ("a=1", r#"{"a":"1"}"#),
            ("a=1&b=2&a=3&a=", r#"{"a":["1","3",""],"b":"2"}"#),
            ("a+b=c+d%20e%2Bf", r#"{"a b":"c d e+f"}"#),
            ("%61%5Bx%5D=caf%C3%A9", r#"{"a[x]":"café"}"#),
            ("a=1=2&b&=c&&", r#"{"":"c","a":"1=2","b":""}"#),
            ("a=%zz%4", r#"{"a":"%zz%4"}"#),
            ("a=%22%00%0A", r#"{"a":"\"\u0000\n"}"#),
            ("é=ü", r#"{"é":"ü"}"#),
        ] {
            assert_eq!(json(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_replaced_and_told() {
        for (body, expected) in [
            (&b"a=%ff"[..], "{\"a\":\"\u{fffd}\"}"),
            (b"a=x\xff", "{\"a\":\"x\u{fffd}\"}"),
            (b"%ff=1&b=2", "{\"b\":\"2\",\"\u{fffd}\":\"1\"}"),
            // Two halves of a character do not meet across a field's border.
            (b"%C3=%A9", "{\"\u{fffd}\":\"\u{fffd}\"}"),
        ] {
            let form = read(body).unwrap();
            assert_eq!((form.json.as_str(), form.exact), (expected, false));
        }
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let body = vec!["a="; MAX_FIELDS].join("&");
        assert!(read(body.as_bytes()).is_ok());
        let body = body + "&b";
        assert_eq!(read(body.as_bytes()), Err(TooManyFields));
        let nothing = "&".repeat(MAX_FIELDS * 2);
        assert_eq!(json(nothing.as_bytes()), "{}");
    }

    #[test]
    fn what_it_holds_covers_what_it_makes() {
        for body in ["", "a=1", &"\u{1}".repeat(1_000), &"a=%01&".repeat(500)] {
            let json = read(body.as_bytes()).unwrap().json;
            assert!(
                held(body.as_bytes()) >= 2 * json.len().saturating_sub(2),
                "{body:?}"
            );
        }
    }
}
