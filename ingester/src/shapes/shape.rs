//! What a shape says, and its row.

use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use trunkline_model::names::quote_literal;
use uuid::Uuid;

use crate::json::{Kind, Root};

/// A kind of event of Segment's Spec.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Tells calls apart.
    pub(super) number: u64,
    /// What an event says in `type`.
    pub(super) name: &'static str,
    /// Where its own fields are; those in `context` belong to every call.
    pub(super) root: Option<Root>,
    /// Whether its fields are noted for each `event`.
    pub(super) has_event: bool,
}

/// Every call: <https://www.twilio.com/docs/segment/connections/spec>.
static CALLS: [Call; 7] = [
    Call::new(0, "track", Some(Root::Properties), true),
    Call::new(1, "identify", Some(Root::Traits), false),
    Call::new(2, "page", Some(Root::Properties), false),
    Call::new(3, "screen", Some(Root::Properties), false),
    Call::new(4, "group", Some(Root::Traits), false),
    Call::new(5, "alias", None, false),
    Call::new(6, "delete", None, false),
];

impl Call {
    const fn new(number: u64, name: &'static str, root: Option<Root>, has_event: bool) -> Self {
        Self {
            number,
            name,
            root,
            has_event,
        }
    }

    /// The call of an event's `type`.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        CALLS.iter().find(|call| call.name == name)
    }
}

/// A row of `trunkline.shapes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The source, as `namespace/name`.
    pub(super) source: Arc<str>,
    pub(super) call: &'static Call,
    /// Of track, but not of what is in `context`.
    pub(super) event: Option<Arc<str>>,
    /// Empty for the call as such.
    pub(super) path: Vec<String>,
    /// None for the call as such.
    pub(super) kind: Option<Kind>,
}

impl Shape {
    fn kind(&self) -> &'static str {
        match self.kind {
            None => "seen",
            Some(Kind::Boolean) => "boolean",
            Some(Kind::Number) => "number",
            Some(Kind::Timestamp) => "timestamp",
            Some(Kind::Text) => "text",
            Some(Kind::Array) => "array",
            Some(Kind::Object) => "object",
        }
    }

    /// The same whoever notes the shape: the first 16 bytes of the SHA-256 of what it says, as JSON.
    fn id(&self) -> Uuid {
        let says = serde_json::json!([
            &*self.source,
            self.call.name,
            self.event.as_deref(),
            self.path,
            self.kind(),
        ]);
        let digest = Sha256::digest(says.to_string());
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Uuid::from_bytes(id)
    }

    fn values(&self, sql: &mut String) {
        let text = |text: &str| quote_literal(text);
        let event = self
            .event
            .as_deref()
            .map_or_else(|| "NULL".to_owned(), text);
        let path: Vec<_> = self.path.iter().map(|key| text(key)).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            sql,
            "{source}, {call}, {event}, ARRAY[{path}]::text[], {kind})",
            source = text(&self.source),
            call = text(self.call.name),
            path = path.join(", "),
            kind = text(self.kind()),
        );
    }
}

/// Inserts what is not there, in one flight.
///
/// In the order of the ids, so that two ingesters with the same news do not wait for each other in a
/// ring. A level of isolation that is set for the role would make a conflict an error.
pub(super) fn statement(shapes: &[Shape]) -> String {
    let mut sql = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 1500; \
         INSERT INTO trunkline.shapes (id, source, call, event, path, kind) VALUES "
        .to_owned();
    let mut rows: Vec<_> = shapes.iter().map(|shape| (shape.id(), shape)).collect();
    rows.sort_unstable_by_key(|(id, _)| *id);
    for (index, (id, shape)) in rows.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(sql, "{separator}('{id}', ");
        shape.values(&mut sql);
    }
    sql.push_str(" ON CONFLICT DO NOTHING; COMMIT");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(event: Option<&str>, path: &[&str], kind: Option<Kind>) -> Shape {
        Shape {
            source: "a/shop".into(),
            call: Call::of("track").unwrap(),
            event: event.map(Arc::from),
            path: path.iter().map(|&key| key.to_owned()).collect(),
            kind,
        }
    }

    #[test]
    fn an_id_is_a_hash_of_what_the_shape_says() {
        // printf '["a/shop","track","It’s",["properties","a\\"b"],"number"]' | sha256sum
        let one = shape(Some("It’s"), &["properties", "a\"b"], Some(Kind::Number));
        assert_eq!(one.id().to_string(), "bebdef60-ebd9-87f1-a269-711e8a24700a");
        // printf '["a/shop","track",null,[],"seen"]' | sha256sum
        let other = shape(None, &[], None);
        assert_eq!(
            other.id().to_string(),
            "8ec3fdfc-929c-7249-0eba-3066cd9cd569"
        );
    }

    #[test]
    fn rows_are_quoted_and_in_the_order_of_their_ids() {
        let shapes = [
            shape(Some("It's"), &["properties", "a\\b"], Some(Kind::Text)),
            shape(None, &[], None),
        ];
        let sql = statement(&shapes);
        let (_, values) = sql.split_once("VALUES ").unwrap();
        let mut rows = [
            format!(
                "('{}', 'a/shop', 'track', 'It''s', ARRAY['properties', E'a\\\\b']::text[], 'text')",
                shapes[0].id()
            ),
            format!(
                "('{}', 'a/shop', 'track', NULL, ARRAY[]::text[], 'seen')",
                shapes[1].id()
            ),
        ];
        rows.sort();
        assert_eq!(values, rows.join(", ") + " ON CONFLICT DO NOTHING; COMMIT");
    }

    #[test]
    fn a_call_is_known_by_its_exact_name() {
        for (number, call) in CALLS.iter().enumerate() {
            assert_eq!(Call::of(call.name), Some(call));
            assert_eq!(call.number, number as u64);
        }
        for other in ["", "Track", "track ", "tracks", "batch"] {
            assert_eq!(Call::of(other), None);
        }
    }
}
