//! Conditions as kstatus and Flux understand them.
//!
//! Pure. Invariants: `Ready` is always there; `Reconciling` and `Stalled` are there only while
//! true, never both, and never beside `Ready=True`; a condition's transition time changes with its
//! status alone.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Bound on a message; the API server takes 32,768 bytes, a reader fewer.
const MAX_MESSAGE_CHARS: usize = 1024;

/// Values of a condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition's value: what holds, why in one word, and why in words with the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What holds.
    pub truth: Truth,
    /// One word of its own kind.
    pub reason: Cow<'static, str>,
    /// For a person.
    pub message: String,
}

impl Finding {
    /// It holds.
    pub fn yes(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Truth::True, reason, message)
    }

    /// It does not hold.
    pub fn no(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Truth::False, reason, message)
    }

    /// It is not known.
    pub fn unknown(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(Truth::Unknown, reason, message)
    }

    /// What stood there before, where it held: what has not been looked at yet has not changed.
    #[must_use]
    pub fn unchanged(before: Option<&Condition>) -> Option<Self> {
        let before = before.filter(|before| before.status == "True")?;
        Some(Self {
            truth: Truth::True,
            reason: Cow::Owned(before.reason.clone()),
            message: before.message.clone(),
        })
    }

    fn new(truth: Truth, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(end);
            message.push('…');
        }
        Self {
            truth,
            reason: reason.into(),
            message,
        }
    }
}

/// The list of an object's conditions, made anew from what was found and what stood there before.
#[derive(Debug)]
pub struct ConditionList<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> ConditionList<'a> {
    /// An empty list.
    #[must_use]
    pub fn new(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            now,
            list: Vec::new(),
        }
    }

    /// Adds a condition.
    pub fn set(&mut self, type_: &str, finding: &Finding) {
        let status = finding.truth.as_str();
        let since = self
            .before
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status)
            .map_or_else(|| Time(self.now), |same| same.last_transition_time.clone());
        self.list.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.to_string(),
            message: finding.message.clone(),
            observed_generation: self.generation,
            last_transition_time: since,
        });
    }

    /// The conditions in the order in which they were added.
    #[must_use]
    pub fn finish(self) -> Vec<Condition> {
        self.list
    }
}

/// The condition of a type, if it is there.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_moves_with_the_status_alone() {
        let list = |before: &[Condition], finding: &Finding, second| {
            let mut list = ConditionList::new(before, Some(1), at(second));
            list.set("Ready", finding);
            list.finish()
        };
        let first = list(&[], &Finding::no("A", "a"), 1);
        let same = list(&first, &Finding::no("B", "b"), 2);
        assert_eq!(same[0].last_transition_time.0, at(1));
        assert_eq!(same[0].reason, "B");
        let other = list(&same, &Finding::yes("C", "c"), 3);
        assert_eq!(other[0].last_transition_time.0, at(3));
    }

    #[test]
    fn a_message_is_bounded_between_characters() {
        let long = Finding::no("A", "é".repeat(2000));
        assert_eq!(long.message.chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
