//! Generated and spoilt bodies against serde_json.
//!
//! serde_json is the reference for what JSON is, with its peculiarities kept out of the way:
//! `IgnoredAny` does not look at UTF-8, so `&RawValue` is used, which does; `Value` stops at 128
//! levels, at numbers past f64 and at lone surrogates, so it is given repaired bodies only.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json::fuzzing::{elements, reference};
use crate::json::{ArrayRows, decode};

/// JSON text with every spelling: whitespace, escapes, forms of numbers, keys that meet.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        number(),
        select(vec!["true", "false", "null", "{}", "[]", "[ ]", "{\n}"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, |value| {
        let spaced = (space(), value, space())
            .prop_map(|(before, value, after)| format!("{before}{value}{after}"));
        let member =
            (space_and_key(), spaced.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            prop::collection::vec(spaced, 1..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 1..6)
                .prop_map(|items| format!("{{{}}}", items.join(","))),
        ]
    })
}

fn space() -> impl Strategy<Value = &'static str> + Clone {
    select(vec!["", "", "", " ", "\n", "\t", "\r\n", "        "])
}

fn space_and_key() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        select(vec![
            "\"a\"",
            "\"\\u0061\"",
            "\"b\"",
            "\"\"",
            "\"event\"",
            "\"event\\u0000\""
        ])
        .prop_map(str::to_owned),
        string(),
    ];
    (space(), key, space()).prop_map(|(before, key, after)| format!("{before}{key}{after}"))
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,20}",
        1 => "\\PC{0,5}".prop_map(|text| text.replace(['"', '\\'], "")),
        1 => select(vec![
            "\\n", "\\\"", "\\\\", "\\/", "\\u00e9", "\\u0000", "\\ud800", "\\udfff", "\\ud83e\\udd80",
            "\\uD83E", "\\uDD80", "u0000", "\u{fffd}", "\u{7f}",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// Numbers within f64, and numbers that must be repaired; none between, for serde_json's `Value`.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        "-?[1-9](\\.[0-9]{1,3})?[eE][+-]?[1-9][0-9]{3,30}",
    ]
}

/// A body that is, or was, JSON: several values, and up to three changes.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let spoil = (
        0_u8..4,
        any::<prop::sample::Index>(),
        prop_oneof![
            select(b"\"\\{}[]:,0e.-+ \n\x00\x1f\x7f\x80\xc3\xed\xff/utn".to_vec()),
            any::<u8>()
        ],
    );
    let body = prop::collection::vec((json(), space()), 1..3).prop_map(|values| {
        values
            .into_iter()
            .map(|(value, after)| value + after)
            .collect::<String>()
    });
    (body, prop::collection::vec(spoil, 0..3)).prop_map(|(body, spoils)| {
        let mut body = body.into_bytes();
        for (change, place, byte) in spoils {
            let place = place.index(body.len().max(1));
            match change {
                _ if place >= body.len() => body.push(byte),
                0 => body[place] = byte,
                1 => body.insert(place, byte),
                2 => drop(body.remove(place)),
                _ => body.truncate(place),
            }
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_body_is_taken_when_serde_json_takes_it_and_cut_alike(body in spoilt()) {
        let decoded = decode(&body, ArrayRows::Whole).ok();
        let texts = decoded.as_ref().map(|rows| rows.iter().map(|row| row.text).collect::<Vec<_>>());
        let expected = reference(&body).map(|rows| rows.into_iter().map(str::as_bytes).collect());
        prop_assert_eq!(texts, expected);
    }

    #[test]
    fn arrays_are_unpacked_as_serde_json_does(body in spoilt()) {
        let decoded = decode(&body, ArrayRows::Elements).ok();
        let texts = decoded.as_ref().map(|rows| rows.iter().map(|row| row.text).collect::<Vec<_>>());
        let unpack = |value| elements(value).unwrap_or_else(|| vec![value]);
        let expected = reference(&body)
            .map(|values| values.into_iter().flat_map(unpack).map(str::as_bytes).collect());
        prop_assert_eq!(texts, expected);
    }

    #[test]
    fn a_repaired_body_needs_no_repair_and_is_a_value(body in json()) {
        let element = decode(body.as_bytes(), ArrayRows::Whole).unwrap().remove(0);
        let value = serde_json::from_str::<serde_json::Value>(&element.body);
        prop_assert!(value.is_ok(), "{:?}: {}", value, element.body);
        let again = decode(element.body.as_bytes(), ArrayRows::Whole).unwrap().remove(0);
        prop_assert!(matches!(again.body, Cow::Borrowed(_)));
        prop_assert_eq!(&again.body, &element.body);
    }

    #[test]
    fn a_body_is_exact_when_nothing_was_repaired_and_no_key_occurs_twice(body in json()) {
        let element = decode(body.as_bytes(), ArrayRows::Whole).unwrap().remove(0);
        let is_borrowed = matches!(element.body, Cow::Borrowed(_));
        prop_assert_eq!(is_borrowed, element.body.as_bytes() == element.text);
        if is_borrowed {
            let DuplicateKey(has_duplicate) = serde_json::from_str(&element.body).unwrap();
            prop_assert_eq!(element.exact, !has_duplicate);
        } else {
            prop_assert!(!element.exact);
        }
    }

    #[test]
    fn the_envelope_is_the_value_that_serde_json_keeps(values in prop::collection::vec((space_and_key(), json()), 0..5)) {
        let members: Vec<_> = values.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let body = format!("{{{}}}", members.join(","));
        let element = decode(body.as_bytes(), ArrayRows::Whole).unwrap().remove(0);
        let value: serde_json::Value = serde_json::from_str(&element.body).unwrap();
        match &value["event"] {
            serde_json::Value::String(text) => prop_assert_eq!(element.envelope.event.as_deref(), Some(&**text)),
            serde_json::Value::Bool(bool) => {
                prop_assert_eq!(element.envelope.event, Some(Cow::Owned(bool.to_string())));
            }
            serde_json::Value::Number(_) => prop_assert!(element.envelope.event.is_some()),
            _ => prop_assert_eq!(element.envelope.event, None),
        }
    }
}

/// Whether an object within a value has a key twice.
struct DuplicateKey(bool);

impl<'de> Deserialize<'de> for DuplicateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DuplicateKeyVisitor).map(Self)
    }
}

struct DuplicateKeyVisitor;

impl<'de> Visitor<'de> for DuplicateKeyVisitor {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = false;
        let mut keys = HashSet::new();
        while let Some((key, DuplicateKey(within))) = map.next_entry::<String, _>()? {
            found |= within | !keys.insert(key);
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(DuplicateKey(within)) = seq.next_element()? {
            found |= within;
        }
        Ok(found)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[test]
fn the_reference_itself_is_what_it_is_taken_for() {
    assert!(serde_json::from_slice::<IgnoredAny>(b"\"\xff\"").is_ok());
    assert!(reference(b"\"\xff\"").is_none());
    assert!(reference(b"\"\\ud800\" 1e400000").is_some());
}
