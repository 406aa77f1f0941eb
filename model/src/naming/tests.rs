//! The vendors' own examples, every row; and what must hold for any name.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::reserved::{
    COLUMN_WORDS, COMMON_COLUMNS, POSTGRESQL_WORDS, RUDDERSTACK_COLUMNS, RUDDERSTACK_WORDS,
};
use super::*;

mod oracle;

const NAMINGS: [Naming; 2] = [Naming::Segment, Naming::Rudderstack];
const CALLS: [Call; 7] = [
    Call::Track,
    Call::Identify,
    Call::Page,
    Call::Screen,
    Call::Group,
    Call::Alias,
    Call::Delete,
];
/// How many names the rules are tried with.
const NAMES: u32 = 10_000;

/// The rows of a golden table, without its comments.
fn rows<const WIDTH: usize>(table: &str) -> Vec<[&str; WIDTH]> {
    let lines = table.lines().filter(|line| !line.starts_with("# "));
    let rows: Vec<_> = lines
        .map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap())
        .collect();
    assert!(rows.len() > 30, "a table that lost its rows");
    rows
}

fn naming(name: &str) -> Naming {
    match name {
        "segment" => Naming::Segment,
        "rudderstack" => Naming::Rudderstack,
        other => panic!("{other}"),
    }
}

#[test]
fn events_are_called_as_at_the_vendor() {
    let segment = rows(include_str!("golden/segment-events.tsv"));
    let rudderstack = rows(include_str!("golden/rudderstack-events.tsv"));
    for (naming, table) in [
        (Naming::Segment, segment),
        (Naming::Rudderstack, rudderstack),
    ] {
        for [event, relation] in table {
            assert_eq!(naming.relation(event), relation, "{naming:?} {event:?}");
        }
    }
}

#[test]
fn names_that_are_ours_stay() {
    for [vendor, event, relation] in rows(include_str!("golden/trunkline-events.tsv")) {
        assert_eq!(
            naming(vendor).relation(event),
            relation,
            "{vendor} {event:?}"
        );
    }
}

#[test]
fn columns_are_called_as_at_the_vendor_or_discarded() {
    for [vendor, call, path, column] in rows(include_str!("golden/columns.tsv")) {
        let call = match call {
            "track" => Call::Track,
            "identify" => Call::Identify,
            "page" => Call::Page,
            "group" => Call::Group,
            "alias" => Call::Alias,
            other => panic!("{other}"),
        };
        let mut keys = path.split('.');
        let prefix = match keys.next() {
            Some("context") => Prefix::Context,
            Some("properties" | "traits") => Prefix::None,
            other => panic!("{other:?}"),
        };
        let keys: Vec<_> = keys.collect();
        let expected = (column != "-").then(|| column.to_owned());
        let named = naming(vendor).column_of(call, prefix, &keys);
        assert_eq!(named, expected, "{vendor} {call:?} {path}");
    }
}

#[test]
fn a_slug_is_neither_escaped_nor_cut() {
    for naming in NAMINGS {
        assert_eq!(naming.slug("Tracks"), "tracks");
        assert_eq!(naming.slug("Order"), "order");
        let long = ["word"; 40].join(" ");
        assert_eq!(naming.slug(&long), long.replace(' ', "_"));
        assert_eq!(naming.slug("注文"), naming.relation("注文"));
    }
    assert_eq!(
        Naming::Rudderstack.slug("button clicked v2"),
        "button_clicked_v_2"
    );
}

#[test]
fn the_empty_path_names_no_column() {
    for naming in NAMINGS {
        assert_eq!(naming.column(Prefix::None, &[]), None);
        assert_eq!(naming.column(Prefix::Context, &[]), None);
    }
}

#[test]
fn reserved_names_are_sorted_and_an_escaped_one_is_free() {
    for words in [
        &POSTGRESQL_WORDS[..],
        &RUDDERSTACK_WORDS,
        &COLUMN_WORDS,
        &BUILT_IN_RELATIONS,
    ] {
        assert!(words.is_sorted_by(|one, next| one < next), "{words:?}");
    }
    for naming in NAMINGS {
        let fixed: BTreeSet<_> = CALLS
            .iter()
            .flat_map(|call| naming.fixed_columns(*call))
            .collect();
        for word in POSTGRESQL_WORDS
            .iter()
            .chain(&RUDDERSTACK_WORDS)
            .chain(&COLUMN_WORDS)
        {
            assert!(!fixed.contains(word), "{word}");
            assert!(!fixed.contains(format!("_{word}").as_str()), "{word}");
            assert_eq!(naming.slug(word), *word, "a word that no name becomes");
        }
    }
}

/// What a PostgreSQL takes in quotes, and mostly without.
fn assert_is_an_identifier(naming: Naming, name: &str) -> Result<(), TestCaseError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    prop_assert!((1..=63).contains(&name.len()), "{:?}", name);
    prop_assert!(name.bytes().all(plain), "{:?}", name);
    match naming {
        Naming::Segment => prop_assert!(!POSTGRESQL_WORDS.contains(&name), "{}", name),
        Naming::Rudderstack => {
            prop_assert!(
                !name.starts_with(|first: char| first.is_ascii_digit()),
                "{}",
                name
            );
            prop_assert!(!RUDDERSTACK_WORDS.contains(&name), "{}", name);
        }
    }
    Ok(())
}

/// Pieces that names are made of, chosen so that many names are nearly one. Among them letters that
/// become ASCII in another case (`ſ`, the Kelvin sign), which none of this may do.
const PIECES: &[&str] = &[
    "order",
    "Order",
    "ORDER",
    "completed",
    "Tracks",
    "select",
    "SKU",
    "x",
    "B",
    "2",
    "99",
    "1st",
    "ND",
    "11th",
    "_",
    "__",
    " ",
    "-",
    ".",
    "$",
    "\"",
    "'",
    "\u{0}",
    "\n",
    "é",
    "注文",
    "🎉",
    "ſ",
    "\u{212a}",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(select(PIECES), 0..6).prop_map(|pieces| pieces.concat()),
        1 => vec(select(PIECES), 20..400).prop_map(|pieces| pieces.concat()),
        // They differ behind the byte that PostgreSQL cuts at.
        2 => vec(select(PIECES), 0..4)
            .prop_map(|pieces| "Checkout Step ".repeat(5) + &pieces.concat()),
        1 => vec(any::<char>(), 0..80).prop_map(String::from_iter),
        1 => select(&POSTGRESQL_WORDS[..]).prop_map(str::to_owned),
        1 => select(&RUDDERSTACK_WORDS[..]).prop_map(str::to_uppercase),
        1 => select(&BUILT_IN_RELATIONS[..]).prop_map(str::to_owned),
        1 => select(COMMON_COLUMNS).prop_map(str::to_owned),
        1 => select(RUDDERSTACK_COLUMNS).prop_map(str::to_owned),
        1 => select(&COLUMN_WORDS[..]).prop_map(str::to_owned),
        1 => select(&["anonymousId", "event", "name", "category", "groupId", "previousId"][..])
            .prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = (Prefix, Vec<String>)> {
    let prefix = select(&[Prefix::None, Prefix::Context][..]);
    (
        prefix,
        prop_oneof![2 => vec(name(), 1), 1 => vec(name(), 0..5)],
    )
}

fn keys(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(NAMES))]

    #[test]
    fn any_event_has_a_relation(event in name()) {
        for naming in NAMINGS {
            let relation = naming.relation(&event);
            assert_is_an_identifier(naming, &relation)?;
            prop_assert!(!BUILT_IN_RELATIONS.contains(&relation.as_str()));
            prop_assert_eq!(&relation, &naming.relation(&event));
            let slug = naming.slug(&event);
            prop_assert!(!slug.is_empty());
            if has_alphanumeric(&event) {
                prop_assert_eq!(&slug, &naming.slug(&slug), "a slug is its own slug");
            }
        }
    }

    #[test]
    fn any_path_has_a_column_that_nobody_else_has_or_is_discarded((prefix, path) in path()) {
        for naming in NAMINGS {
            for call in CALLS {
                let Some(column) = naming.column_of(call, prefix, &keys(&path)) else {
                    continue;
                };
                assert_is_an_identifier(naming, &column)?;
                prop_assert!(naming.fixed_columns(call).all(|fixed| fixed != column), "{}", column);
                prop_assert!(!COLUMN_WORDS.contains(&column.as_str()), "{}", column);
            }
        }
    }
}

/// Ten thousand of what `strategy` makes, the same in every run: hashes of 32 bits would meet in one
/// run of some thousands.
fn sample<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    let mut one = || strategy.new_tree(&mut runner).unwrap().current();
    (0..NAMES).map(|_| one()).collect()
}

/// Asserts that each name stands for one thing, and each thing has one name.
fn assert_one_to_one<'a>(
    pairs: impl IntoIterator<Item = (String, String, &'a dyn std::fmt::Debug)>,
) {
    let mut by_name = BTreeMap::new();
    let mut by_thing = BTreeMap::new();
    for (name, thing, sent) in pairs {
        let (other, first) = by_name.entry(name.clone()).or_insert((thing.clone(), sent));
        assert_eq!(
            *other, thing,
            "{first:?} and {sent:?} are not one, and both called {name}"
        );
        let (other, first) = by_thing.entry(thing).or_insert((name.clone(), sent));
        assert_eq!(*other, name, "{first:?} and {sent:?} are one");
    }
    assert!(by_name.len() > 1_000, "{} names", by_name.len());
}

#[test]
fn events_meet_where_the_vendor_makes_them_one_and_nowhere_else() {
    let events = sample(name());
    for naming in NAMINGS {
        assert_one_to_one(events.iter().map(|event| {
            let sent: &dyn std::fmt::Debug = event;
            (naming.relation(event), oracle::event(naming, event), sent)
        }));
    }
}

#[test]
fn paths_meet_where_the_vendor_makes_them_one_and_nowhere_else() {
    let paths = sample(path());
    for naming in NAMINGS {
        assert_one_to_one(paths.iter().filter_map(|sent| {
            let (prefix, path) = sent;
            let column = naming.column(*prefix, &keys(path))?;
            let sent: &dyn std::fmt::Debug = sent;
            Some((column, oracle::path(naming, *prefix, &keys(path)), sent))
        }));
    }
}
