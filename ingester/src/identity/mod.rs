//! What an event of a source is told apart from others by, where repeats are not stored.
//!
//! Pure: a request or an element of it in, a key out. It happens behind verification. What an element
//! is told by is taken from its text behind the redaction; of the body as it was received only a hash
//! goes further.
//!
//! Invariants:
//! - Keys of two sources, or of one source that is told by something else now, never meet.
//! - What has nothing to be told by has no key, and so is stored.

mod place;

use std::borrow::Cow;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};
use trunkline_model::deduplication::{Deduplication, Identity};
use uuid::Uuid;

use crate::json::{Element, InvalidJson};
use crate::rows::Keys;
use place::Place;

/// Makes the keys of one source.
#[derive(Debug)]
pub(crate) struct Identifier {
    /// The source and the way are in it already.
    hash: Sha256,
    by: By,
    window_seconds: u32,
}

#[derive(Debug)]
enum By {
    MessageId,
    /// Its name in lower case.
    Header(String),
    Place(Place),
    Body,
}

impl Identifier {
    /// Makes one of what the configuration says.
    ///
    /// The bucket tells a source from one that was deleted with its rows and had its name.
    pub(crate) fn new(source: &str, bucket: i32, deduplication: &Deduplication) -> Self {
        let mut hash = Sha256::new();
        add(&mut hash, source.as_bytes());
        add(&mut hash, &bucket.to_be_bytes());
        let by = match &deduplication.by {
            Identity::MessageId => {
                add(&mut hash, b"messageId");
                By::MessageId
            }
            Identity::Header { name } => {
                add(&mut hash, b"header");
                add(&mut hash, name.as_bytes());
                By::Header(name.clone())
            }
            Identity::Path { keys } => {
                add(&mut hash, b"path");
                // With their number, so that a longer path and a value are not a shorter and another.
                hash.update((keys.len() as u64).to_be_bytes());
                keys.iter().for_each(|key| add(&mut hash, key.as_bytes()));
                By::Place(Place::new(keys))
            }
            Identity::BodyHash => {
                add(&mut hash, b"bodyHash");
                By::Body
            }
        };
        Self {
            hash,
            by,
            window_seconds: deduplication.window_seconds,
        }
    }

    /// What is known of a delivery before its rows are. `body` is what was received, decompressed.
    pub(crate) fn delivery(&self, headers: &HeaderMap, body: &[u8]) -> Keys {
        let value = match &self.by {
            By::MessageId | By::Place(_) => return Keys::of_rows(self.window_seconds),
            By::Header(name) => Cow::Owned(joined(name, headers)),
            By::Body => Cow::Borrowed(body),
        };
        self.key(&value).map_or(Keys::None, |key| Keys::Delivery {
            key,
            window_seconds: self.window_seconds,
        })
    }

    /// The key of an element, where elements have some.
    ///
    /// # Errors
    /// [`InvalidJson`] of what is not one JSON value.
    pub(crate) fn element(&self, element: &Element<'_>) -> Result<Option<Uuid>, InvalidJson> {
        Ok(match &self.by {
            By::MessageId => {
                let id = element.envelope.message_id.as_deref();
                id.and_then(|id| self.key(id.as_bytes()))
            }
            By::Place(place) => {
                let value = place.value(element.text)?;
                value.and_then(|value| self.key(value.as_bytes()))
            }
            By::Header(_) | By::Body => None,
        })
    }

    /// The key of a value. None of an empty one: a sender that always leaves a field empty does not
    /// always send the same.
    fn key(&self, value: &[u8]) -> Option<Uuid> {
        if value.is_empty() {
            return None;
        }
        let mut hash = self.hash.clone();
        add(&mut hash, value);
        Uuid::from_slice(hash.finalize().get(..16)?).ok()
    }
}

/// Adds a part, with its length before it, so that no two lists of parts have one hash.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// The values of a header, which may be there several times; nothing where it is not there.
fn joined(name: &str, headers: &HeaderMap) -> Vec<u8> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    values.join(b", ".as_slice())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;
    use crate::json::{ArrayRows, decode};

    fn identifier(source: &str, by: Identity) -> Identifier {
        let deduplication = Deduplication {
            by,
            window_seconds: 60,
        };
        Identifier::new(source, 7, &deduplication)
    }

    fn header(name: &str) -> Identity {
        Identity::Header {
            name: name.to_owned(),
        }
    }

    fn path(keys: &[&str]) -> Identity {
        Identity::Path {
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
        }
    }

    fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn of_delivery(identifier: &Identifier, headers: &HeaderMap, body: &[u8]) -> Option<Uuid> {
        match identifier.delivery(headers, body) {
            Keys::Delivery {
                key,
                window_seconds: 60,
            } => Some(key),
            Keys::None => None,
            other => panic!("{other:?}"),
        }
    }

    fn of_element(identifier: &Identifier, body: &str) -> Option<Uuid> {
        let elements = decode(body.as_bytes(), ArrayRows::Whole).unwrap();
        assert_eq!(
            identifier.delivery(&HeaderMap::new(), b"x"),
            Keys::of_rows(60)
        );
        identifier.element(&elements[0]).unwrap()
    }

    /// `printf '\0\0\0\0\0\0\0\3a/b\0\0\0\0\0\0\0\4\0\0\0\7\0\0\0\0\0\0\0\11messageId\0\0\0\0\0\0\0\2m1' |
    /// sha256sum | cut -c 1-32`
    #[test]
    fn a_key_is_the_beginning_of_sha_256_over_source_bucket_way_and_value() {
        let identifier = identifier("a/b", Identity::MessageId);
        let key = of_element(&identifier, r#"{"messageId":"m1"}"#).unwrap();
        assert_eq!(key.simple().to_string(), "f5e71eb262fda574c52db004fa0fa55d");
    }

    #[test]
    fn what_is_told_by_other_things_has_other_keys() {
        let with_header = headers(&[("x-id", "m1")]);
        let keys = [
            of_element(
                &identifier("a/b", Identity::MessageId),
                r#"{"messageId":"m1"}"#,
            ),
            of_element(
                &identifier("a/c", Identity::MessageId),
                r#"{"messageId":"m1"}"#,
            ),
            of_element(
                &identifier("a/b", path(&["messageId"])),
                r#"{"messageId":"m1"}"#,
            ),
            of_element(&identifier("a/b", path(&["a", "b"])), r#"{"a":{"b":"m1"}}"#),
            of_element(&identifier("a/b", path(&["a"])), r#"{"a":"m1"}"#),
            of_delivery(&identifier("a/b", header("x-id")), &with_header, b""),
            of_delivery(
                &identifier("a/b", header("x-other")),
                &headers(&[("x-other", "m1")]),
                b"",
            ),
            of_delivery(&identifier("a/b", Identity::BodyHash), &with_header, b"m1"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(key.is_some(), "{index}");
            assert!(!keys[..index].contains(key), "{index}");
        }
    }

    #[test]
    fn what_has_nothing_to_be_told_by_has_no_key() {
        let by_id = identifier("a/b", Identity::MessageId);
        for body in [
            "{}",
            "5",
            r#"{"messageId":null}"#,
            r#"{"messageId":""}"#,
            r#"{"messageId":{}}"#,
        ] {
            assert_eq!(of_element(&by_id, body), None, "{body}");
        }
        let by_path = identifier("a/b", path(&["a"]));
        for body in ["{}", "5", "[]", r#"{"a":null}"#, r#"{"a":""}"#] {
            assert_eq!(of_element(&by_path, body), None, "{body}");
        }
        let by_header = identifier("a/b", header("x-id"));
        assert_eq!(of_delivery(&by_header, &HeaderMap::new(), b"{}"), None);
        assert_eq!(
            of_delivery(&by_header, &headers(&[("x-id", "")]), b"{}"),
            None
        );
    }

    #[test]
    fn a_header_that_is_there_twice_is_one_value() {
        let by_header = identifier("a/b", header("x-id"));
        let twice = headers(&[("x-id", "a"), ("x-id", "b")]);
        let once = headers(&[("x-id", "a, b")]);
        assert_eq!(
            of_delivery(&by_header, &twice, b""),
            of_delivery(&by_header, &once, b"")
        );
        let first = of_delivery(&by_header, &headers(&[("x-id", "a")]), b"");
        assert_ne!(of_delivery(&by_header, &twice, b""), first);
    }

    #[test]
    fn the_body_counts_byte_for_byte() {
        let by_body = identifier("a/b", Identity::BodyHash);
        let key = |body: &[u8]| of_delivery(&by_body, &HeaderMap::new(), body).unwrap();
        assert_eq!(key(b"{}"), key(b"{}"));
        assert_ne!(key(b"{}"), key(b"{ }"));
        let elements = decode(b"{}", ArrayRows::Whole).unwrap();
        assert_eq!(by_body.element(&elements[0]), Ok(None));
    }
}
