//! When two names are one, said another way than the code under test says it: words are matched by
//! patterns that are tried in order, as the vendors' programs do, and nothing is cut or hashed.

use super::super::reserved::{COLUMN_WORDS, POSTGRESQL_WORDS, RUDDERSTACK_WORDS};
use super::{BUILT_IN_RELATIONS, Naming, Prefix};

/// What an event is at the vendor. Equal for two events exactly when they share a relation.
pub(super) fn event(naming: Naming, event: &str) -> String {
    let escaped = |word: &str| BUILT_IN_RELATIONS.contains(&word);
    thing(naming, &[event], event, escaped)
}

/// The same for the columns of paths.
pub(super) fn path(naming: Naming, prefix: Prefix, path: &[&str]) -> String {
    let joined = match prefix {
        Prefix::None => path.join("_"),
        Prefix::Context => format!("context_{}", path.join("_")),
    };
    let thing = thing(naming, path, &joined, |word| COLUMN_WORDS.contains(&word));
    // One that is told apart by its own keys is so below each prefix.
    if thing.starts_with("only ") && prefix == Prefix::Context {
        format!("context {thing}")
    } else {
        thing
    }
}

fn thing(naming: Naming, keys: &[&str], joined: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let lost = |key: &&str| {
        !key.chars()
            .any(|character| character.is_ascii_alphanumeric())
    };
    let vendors = at_vendor(naming, joined);
    if keys.iter().any(lost) || vendors.chars().count() > 63 {
        return format!("only {keys:?}");
    }
    let is_word = match naming {
        Naming::Segment => POSTGRESQL_WORDS.contains(&vendors.as_str()),
        Naming::Rudderstack => RUDDERSTACK_WORDS.contains(&vendors.as_str()),
    };
    // The vendor's own escape makes `select` and `_select` one.
    if is_word || is_taken(&vendors) {
        format!("_{vendors}")
    } else {
        vendors
    }
}

fn at_vendor(naming: Naming, text: &str) -> String {
    let mut rest: Vec<char> = text.chars().collect();
    let mut words: Vec<String> = Vec::new();
    while !rest.is_empty() {
        let length = match naming {
            Naming::Segment => segment_word(&rest),
            Naming::Rudderstack => rudderstack_word(&rest),
        };
        if length > 0 {
            words.push(
                rest[..length]
                    .iter()
                    .map(char::to_ascii_lowercase)
                    .collect(),
            );
        }
        rest.drain(..length.max(1));
    }
    let name = words.join("_");
    let underscores = text
        .chars()
        .position(|character| character != '_')
        .unwrap_or(text.len());
    match naming {
        Naming::Segment => name,
        Naming::Rudderstack if underscores > 0 => format!("{}{name}", "_".repeat(underscores)),
        Naming::Rudderstack if name.as_bytes().first().is_some_and(u8::is_ascii_digit) => {
            format!("_{name}")
        }
        Naming::Rudderstack => name,
    }
}

/// Upper-case letters and digits, then lower-case letters and digits.
fn segment_word(text: &[char]) -> usize {
    let upper = run(text, |c| c.is_ascii_uppercase() || c.is_ascii_digit());
    upper
        + run(&text[upper..], |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit()
        })
}

/// The first pattern that matches, of those that lodash has and that match ASCII.
fn rudderstack_word(text: &[char]) -> usize {
    let at = |place: usize| text.get(place).copied().unwrap_or('_');
    let (upper, lower, digit) = (
        |c: char| c.is_ascii_uppercase(),
        |c: char| c.is_ascii_lowercase(),
        |c: char| c.is_ascii_digit(),
    );
    let separates = |c: char| !c.is_ascii_alphanumeric();
    // Lower-case letters, perhaps behind an upper-case one: at first only where no digit follows.
    let capital = usize::from(upper(at(0)));
    let regular = match run(&text[capital.min(text.len())..], lower) {
        0 => 0,
        letters => capital + letters,
    };
    if regular > 0 && (separates(at(regular)) || upper(at(regular))) {
        return regular;
    }
    // As many upper-case letters as stand before a capital with its word, or before no letter or digit.
    let uppers = run(text, upper);
    let behind = |end: &usize| separates(at(*end)) || (upper(at(*end)) && lower(at(*end + 1)));
    if let Some(end) = (1..=uppers).rev().find(behind) {
        return end;
    }
    if regular > 0 {
        return regular;
    }
    if uppers > 0 {
        return uppers;
    }
    // An ordinal number, before no letter or digit or before a letter of the other case.
    let digits = run(text, digit);
    for (case, other) in [
        (
            str::to_ascii_uppercase as fn(&str) -> String,
            lower as fn(char) -> bool,
        ),
        (str::to_ascii_lowercase, upper),
    ] {
        let number: String = text.iter().skip(digits.saturating_sub(1)).take(3).collect();
        let ordinal = [
            "1st", "2nd", "3rd", "0th", "4th", "5th", "6th", "7th", "8th", "9th",
        ]
        .iter()
        .any(|ordinal| case(ordinal) == number);
        if digits > 0 && ordinal && (separates(at(digits + 2)) || other(at(digits + 2))) {
            return digits + 2;
        }
    }
    digits
}

fn run(text: &[char], is: impl Fn(char) -> bool) -> usize {
    text.iter().take_while(|character| is(**character)).count()
}
