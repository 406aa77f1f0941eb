//! Rows for tests.

use trunkline_model::verification::AuthScope;
use uuid::Uuid;

use super::{DeliveryFields, EncodedRows, RowEncoder};
use crate::json::{ArrayRows, decode};

/// A delivery without headers.
pub(crate) const DELIVERY: DeliveryFields<'static> = DeliveryFields {
    bucket: 7,
    source: "default/segment",
    delivery_id: Uuid::nil(),
    headers: None,
    header_values: None,
};

/// The rows of a body, whose elements are vouched for by `scope`.
pub(crate) fn encode(delivery: DeliveryFields<'_>, body: &str, scope: AuthScope) -> EncodedRows {
    let mut encoder = RowEncoder::new(delivery, body.len());
    for element in decode(body.as_bytes(), ArrayRows::Elements).unwrap() {
        encoder.push(&element, scope);
    }
    encoder.finish()
}
