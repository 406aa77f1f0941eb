//! The form of a row that the database refused although our own pass over its JSON let it through:
//! a server with a smaller stack than usual, a rule of jsonb that we do not know, or an identifier that
//! does not fit into an index.

use trunkline_model::columns::Column;

use super::tuple;

/// The longest identifier that is surely held by an index, in bytes: PostgreSQL's entries have to fit
/// into a third of a page, with whatever else is in them.
const LONGEST_IDENTIFIER: usize = 512;

/// The same row in a form in which no JSON of the sender is parsed: `body_json` is one JSON string
/// that holds the body's text, and `raw` holds the bytes as sent.
///
/// Identifiers of more than [`LONGEST_IDENTIFIER`] bytes are NULL in their columns, and are in the text:
/// an index on them would refuse the row again.
///
/// Nothing else is needed for `raw`: where it was NULL, the body's text was exactly what was sent;
/// elsewhere it is already there. Whatever is not a tuple of [`super::RowEncoder`] stays as it is
/// from the first field that cannot be read, and the database refuses it again. So does a row
/// without JSON, in which nothing can be put into quarantine.
#[must_use]
pub fn quarantine(row: &[u8]) -> Vec<u8> {
    let body = tuple::fields(row)
        .find(|(spec, _)| spec.column == Column::BodyJson)
        .and_then(|(_, field)| field)
        .map(tuple::json_text);
    let Some(body) = body else {
        return row.to_vec();
    };
    let mut out = Vec::with_capacity(row.len() + body.len() + 64);
    tuple::start(&mut out);
    for (spec, field) in tuple::fields(row) {
        match (spec.column, field) {
            (Column::BodyJson, Some(_)) => tuple::jsonb(&mut out, &json_string(body)),
            (Column::Raw, None) => tuple::bytes(&mut out, body),
            (column, Some(field)) if is_identifier(column) && field.len() > LONGEST_IDENTIFIER => {
                tuple::null(&mut out);
            }
            (_, Some(field)) => tuple::bytes(&mut out, field),
            (_, None) => tuple::null(&mut out),
        }
    }
    out
}

/// What is in columns that partitions can be indexed by.
const fn is_identifier(column: Column) -> bool {
    matches!(
        column,
        Column::MessageId | Column::Event | Column::UserId | Column::AnonymousId
    )
}

/// The text of a JSON document as a JSON string.
fn json_string(text: &[u8]) -> String {
    serde_json::Value::from(String::from_utf8_lossy(text).as_ref()).to_string()
}

#[cfg(test)]
mod tests {
    use trunkline_model::verification::AuthScope;

    use super::*;
    use crate::rows::testing::{self, DELIVERY};
    use crate::rows::{DeliveryFields, EncodedRows};

    fn encode(body: &str) -> EncodedRows {
        let delivery = DeliveryFields {
            headers: Some("{}"),
            ..DELIVERY
        };
        testing::encode(delivery, body, AuthScope::None)
    }

    fn field(row: &[u8], column: Column) -> Option<Vec<u8>> {
        let found = tuple::fields(row).find(|(spec, _)| spec.column == column);
        found.and_then(|(_, field)| field).map(<[u8]>::to_vec)
    }

    #[test]
    fn an_exact_body_moves_into_raw_and_its_text_into_a_string() {
        let body = "{\"messageId\":\"m\",\n\"a\":[\"\\u0041\"]}";
        let row = quarantine(encode(body).bytes());
        assert_eq!(field(&row, Column::Raw).unwrap(), body.as_bytes());
        let json = field(&row, Column::BodyJson).unwrap();
        let string: String = serde_json::from_slice(tuple::json_text(&json)).unwrap();
        assert_eq!(string, body);
        assert_eq!(field(&row, Column::MessageId).unwrap(), b"m");
        assert_eq!(field(&row, Column::HeaderValues), None);
    }

    #[test]
    fn an_identifier_that_no_index_holds_is_in_the_text_alone() {
        let long = "u".repeat(LONGEST_IDENTIFIER + 1);
        let fits = "a".repeat(LONGEST_IDENTIFIER);
        let body = format!(
            "{{\"userId\":\"{long}\",\"anonymousId\":\"{fits}\",\"messageId\":\"{long}\"}}"
        );
        let row = quarantine(encode(&body).bytes());
        assert_eq!(field(&row, Column::UserId), None);
        assert_eq!(field(&row, Column::MessageId), None);
        assert_eq!(field(&row, Column::AnonymousId).unwrap(), fits.as_bytes());
        assert_eq!(field(&row, Column::Raw).unwrap(), body.as_bytes());
    }

    #[test]
    fn a_repaired_body_keeps_the_raw_that_it_has() {
        let row = quarantine(encode("[\"\\ud800\"]").bytes());
        assert_eq!(field(&row, Column::Raw).unwrap(), b"\"\\ud800\"");
        let json = field(&row, Column::BodyJson).unwrap();
        let string: String = serde_json::from_slice(tuple::json_text(&json)).unwrap();
        assert_eq!(string, "\"\\ufffd\"");
    }

    #[test]
    fn only_the_bad_rows_of_a_delivery_change() {
        let rows = encode("[1,2,3]");
        let mended = rows.with_quarantined(|row| row == 1);
        assert_eq!(mended.len(), 3);
        assert_eq!(mended.range(0..1), rows.range(0..1));
        assert_eq!(mended.range(2..3), rows.range(2..3));
        assert_eq!(field(mended.range(1..2), Column::Raw).unwrap(), b"2");
    }

    #[test]
    fn bytes_that_are_no_tuple_do_not_panic() {
        let whole = encode("{\"a\":1}");
        for end in 0..whole.bytes().len() {
            let _ = quarantine(&whole.bytes()[..end]);
        }
    }
}
