//! Parts of connection URLs. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What RFC 3986 calls unreserved stays readable.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A user, password, host or parameter as a part of a URL: everything that RFC 3986 does not call
/// unreserved is percent-encoded.
#[must_use]
pub fn encode_part(part: &[u8]) -> String {
    percent_encode(part, ENCODED).to_string()
}

/// The opposite of [`encode_part`]. Bytes that are not UTF-8 become the replacement character.
#[must_use]
pub fn decode_part(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}
