//! What holds of any body, by serde_json as the reference of what JSON is; see [`crate::fuzzing`].

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{ArrayRows, Element, Timestamp, decode};

/// The values of a stream as serde_json sees them, or `None`. `&RawValue` and not `IgnoredAny`,
/// which does not look at UTF-8.
pub(super) fn reference(body: &[u8]) -> Option<Vec<&str>> {
    serde_json::Deserializer::from_slice(body)
        .into_iter::<&RawValue>()
        .map(|value| value.ok().map(RawValue::get))
        .collect()
}

/// The elements of an array, or `None` for another value.
pub(super) fn elements(value: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

fn texts<'a>(rows: &[Element<'a>]) -> Vec<&'a [u8]> {
    rows.iter().map(|row| row.text).collect()
}

/// A body is taken when serde_json takes it, cut alike, and what is repaired needs no repair.
pub fn json(body: &[u8]) {
    let values = reference(body);
    let whole = decode(body, ArrayRows::Whole).ok();
    let expected = values.as_ref().map(|values| {
        let values = values.iter().map(|value| value.as_bytes());
        values.collect::<Vec<_>>()
    });
    assert_eq!(whole.as_deref().map(texts), expected, "as a stream");

    let split = decode(body, ArrayRows::Elements).ok();
    let expected = values.as_ref().map(|values| {
        let rows = values
            .iter()
            .flat_map(|value| elements(value).unwrap_or_else(|| vec![value]));
        rows.map(str::as_bytes).collect::<Vec<_>>()
    });
    assert_eq!(split.as_deref().map(texts), expected, "as elements");

    for row in split.iter().chain(&whole).flatten() {
        repaired(row);
    }
}

fn repaired(row: &Element<'_>) {
    let again = decode(row.body.as_bytes(), ArrayRows::Whole);
    match again.as_deref() {
        Ok([again]) => {
            assert!(matches!(again.body, Cow::Borrowed(_)), "repaired twice");
            assert_eq!(again.text, row.body.as_bytes(), "more than one value");
        }
        other => panic!("a repaired body is {other:?}"),
    }
    if let Cow::Owned(body) = &row.body {
        assert_ne!(body.as_bytes(), row.text, "repaired for nothing");
        assert!(!row.exact, "repaired and exact");
    } else {
        assert_eq!(row.body.as_bytes(), row.text, "borrowed from elsewhere");
    }
}

/// The first element is what the whole pass finds, and is found wherever that finds one.
pub fn first_element(body: &[u8]) {
    let first = super::first_element(body);
    if let Some(first) = first {
        assert!(
            serde_json::from_slice::<&RawValue>(first).is_ok(),
            "it is not JSON"
        );
    }
    // Only a body that is one array has a first element that can be signed.
    let values = reference(body).unwrap_or_default();
    let [only] = values.as_slice() else {
        return;
    };
    let expected = elements(only).and_then(|elements| elements.first().map(|text| text.as_bytes()));
    assert_eq!(first, expected, "of a body that is JSON");
}

/// A time is what jiff reads, wherever both read one.
pub fn timestamp(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Some(ours) = Timestamp::parse(text) else {
        return;
    };
    if let Ok(theirs) = text.parse::<jiff::Timestamp>() {
        // Ours is cut after the microsecond, before 1970 too.
        let theirs = theirs.as_nanosecond().div_euclid(1_000);
        assert!(
            (i128::from(ours.unix_micros()) - theirs).abs() <= 1,
            "{text:?}"
        );
    }
}
