//! The reason for which most requests of a source are refused.

use crate::pods::Reasons;

/// The reason that the status is to name. The one that it names already stays until another is twice
/// as frequent, so that two that are nearly even do not take turns.
#[must_use]
pub fn top_refusal(before: Option<&str>, reasons: &Reasons) -> Option<String> {
    // Of those that are even, the first.
    let (top, most) = reasons
        .iter()
        .rev()
        .max_by_key(|(_, count)| **count)
        .filter(|(_, count)| **count > 0)?;
    let current = before.and_then(|before| reasons.get_key_value(before));
    match current {
        Some((current, count)) if count.saturating_mul(2) > *most => Some(current.clone()),
        _ => Some(top.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_until_another_is_twice_as_frequent() {
        for (before, reasons, expected) in [
            (None, &[][..], None),
            (Some("a"), &[], None),
            (None, &[("a", 1)], Some("a")),
            (None, &[("a", 1), ("b", 2)], Some("b")),
            (None, &[("b", 1), ("a", 1)], Some("a")),
            (Some("a"), &[("a", 5), ("b", 9)], Some("a")),
            (Some("a"), &[("a", 5), ("b", 10)], Some("b")),
            (Some("b"), &[("a", 5), ("b", 9)], Some("b")),
            (Some("c"), &[("a", 5), ("b", 9)], Some("b")),
        ] {
            let counts = reasons
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect();
            let top = top_refusal(before, &counts);
            assert_eq!(top.as_deref(), expected, "{before:?} {reasons:?}");
        }
    }
}
