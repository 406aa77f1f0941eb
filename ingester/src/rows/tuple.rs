//! The binary form of one tuple: a 16-bit count of fields, then for each a 32-bit length (-1 for
//! NULL) and its bytes, all big-endian (PostgreSQL documentation, COPY, "Binary Format").

use trunkline_model::columns::{self, ColumnSpec};

/// The version byte that `jsonb_recv` expects before the JSON text.
const JSONB_VERSION: u8 = 1;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const UNIX_TO_POSTGRES_MICROS: i64 = 946_684_800_000_000;

/// Writes the count of fields. The list of columns is a constant of a few dozen.
pub(super) fn start(out: &mut Vec<u8>) {
    let count = i16::try_from(columns::copied().count()).unwrap_or(i16::MAX);
    out.extend_from_slice(&count.to_be_bytes());
}

pub(super) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

pub(super) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    length(out, value.len());
    out.extend_from_slice(value);
}

pub(super) fn optional_text(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => bytes(out, value.as_bytes()),
        None => null(out),
    }
}

pub(super) fn jsonb(out: &mut Vec<u8>, text: &str) {
    length(out, text.len() + 1);
    out.push(JSONB_VERSION);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn optional_jsonb(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => jsonb(out, text),
        None => null(out),
    }
}

pub(super) fn integer(out: &mut Vec<u8>, value: i32) {
    bytes(out, &value.to_be_bytes());
}

/// `unix_micros` as timestamptz; NULL where PostgreSQL's epoch does not reach.
pub(super) fn optional_timestamp(out: &mut Vec<u8>, unix_micros: Option<i64>) {
    match unix_micros.and_then(|micros| micros.checked_sub(UNIX_TO_POSTGRES_MICROS)) {
        Some(micros) => bytes(out, &micros.to_be_bytes()),
        None => null(out),
    }
}

/// Bodies are bounded far below 2 GiB. Would one not be, the saturated length makes the server
/// refuse the COPY; it can never make a wrong row.
fn length(out: &mut Vec<u8>, length: usize) {
    let length = i32::try_from(length).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
}

/// The fields of a tuple with their columns. Ends early when the bytes are not a tuple of ours.
pub(super) fn fields(tuple: &[u8]) -> impl Iterator<Item = (&'static ColumnSpec, Option<&[u8]>)> {
    let mut rest = tuple.get(2..).unwrap_or_default();
    columns::copied().map_while(move |spec| {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            rest = after;
            return Some((spec, None));
        }
        let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        rest = after;
        Some((spec, Some(value)))
    })
}

/// The JSON text of a jsonb field, without its version byte.
pub(super) fn json_text(field: &[u8]) -> &[u8] {
    field.strip_prefix(&[JSONB_VERSION]).unwrap_or(field)
}
