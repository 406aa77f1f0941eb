//! RudderStack's snake case: what `transformName` of rudder-transformer's `src/warehouse/v1/util.js`
//! does, and the tests beside it.
//!
//! Its words are those of lodash: digits are words of their own, except ordinal numbers, and of
//! several upper-case letters the last one begins a word when a lower-case one follows.

use super::alphanumeric_runs;

/// The words of `text` in lower case with `_` between them. Underscores at its beginning stay, since
/// RudderStack lets senders write `_timestamp` beside its own `timestamp`; a digit there gets one.
pub(super) fn snake_case(text: &str) -> String {
    let words: Vec<_> = alphanumeric_runs(text)
        .flat_map(words)
        .map(str::to_ascii_lowercase)
        .collect();
    let name = words.join("_");
    let mut leading: String = text
        .chars()
        .take_while(|character| *character == '_')
        .collect();
    if leading.is_empty() && name.starts_with(|first: char| first.is_ascii_digit()) {
        leading.push('_');
    }
    leading + &name
}

/// The words of a run of ASCII letters and digits.
fn words(mut run: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (word, rest) = run.split_at_checked(word_length(run.as_bytes())?)?;
        run = rest;
        Some(word)
    })
}

/// The length of the first word of `run`; None at its end.
fn word_length(run: &[u8]) -> Option<usize> {
    let count = |from: usize, is: fn(&u8) -> bool| -> usize {
        run.iter().skip(from).take_while(|byte| is(byte)).count()
    };
    let length = match run.first()? {
        b'0'..=b'9' => {
            let digits = count(0, u8::is_ascii_digit);
            digits + if is_ordinal(run, digits) { 2 } else { 0 }
        }
        b'a'..=b'z' => count(0, u8::is_ascii_lowercase),
        _ => match count(0, u8::is_ascii_uppercase) {
            uppers if !run.get(uppers).is_some_and(u8::is_ascii_lowercase) => uppers,
            1 => 1 + count(1, u8::is_ascii_lowercase),
            // The last one belongs to the word behind.
            uppers => uppers - 1,
        },
    };
    Some(length)
}

/// Whether the `digits` at the beginning of `run` and the two letters behind are an ordinal number
/// (`1st`, `22ND`) and end there: at the end of `run` or before a letter of the other case. As in
/// lodash only the last digit counts, so that `11st` is one and `11th` is none.
fn is_ordinal(run: &[u8], digits: usize) -> bool {
    let (number, rest) = run.split_at(digits);
    let Some((suffix, behind)) = rest.split_at_checked(2) else {
        return false;
    };
    let expected = match number.last() {
        Some(b'1') => b"st",
        Some(b'2') => b"nd",
        Some(b'3') => b"rd",
        _ => b"th",
    };
    let ends = |other_case: fn(&u8) -> bool| behind.first().is_none_or(other_case);
    (suffix == expected && ends(u8::is_ascii_uppercase))
        || (suffix == expected.to_ascii_uppercase() && ends(u8::is_ascii_lowercase))
}
