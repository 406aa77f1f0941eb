//! Segment's snake case: the page on warehouse schemas says that collections and properties go
//! through segmentio/go-snakecase, and its tests say what that does.
//!
//! Libraries for cases break `CStringRef` before `String` and `samPLE` nowhere; here an upper-case
//! letter begins a word exactly when the word so far has a lower-case one.

use super::alphanumeric_runs;

/// The words of `text` in lower case with `_` between them; empty when it has none.
///
/// Digits stay with what is before and behind them, also at the beginning. Segment's page on
/// Redshift puts `_` before those, since Redshift asks for it; its tests do not, and PostgreSQL
/// takes such a name in quotes.
pub(super) fn snake_case(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for run in alphanumeric_runs(text) {
        if !name.is_empty() {
            name.push('_');
        }
        let mut has_lower = false;
        for character in run.chars() {
            if has_lower && character.is_ascii_uppercase() {
                name.push('_');
                has_lower = false;
            }
            has_lower |= character.is_ascii_lowercase();
            name.push(character.to_ascii_lowercase());
        }
    }
    name
}
