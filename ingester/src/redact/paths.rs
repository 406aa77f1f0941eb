//! Which paths a place in an element is on.

use trunkline_model::redaction::{ANY, RedactAction, RedactedPath};

use crate::json;

/// A set of paths by their numbers, one bit for each.
pub(super) type Paths = u128;

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays; these paths lead into it.
    Kept(Paths),
    /// It is at the end of a path.
    Redacted(RedactAction),
}

/// The paths of a source.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    steps: Vec<Step>,
    action: RedactAction,
}

/// One step of a path, which may lead to all that there is.
#[derive(Debug)]
pub(super) struct Step {
    named: json::Step,
    is_any: bool,
}

impl Step {
    fn new(key: &str) -> Self {
        Self {
            named: json::Step::new(key),
            is_any: key == ANY,
        }
    }

    /// Whether it leads to the member of an object with this key, decoded.
    pub(super) fn is_key(&self, key: &str) -> bool {
        self.is_any || self.named.is_key(key)
    }

    /// Whether it leads to this element of an array.
    pub(super) fn is_place(&self, place: usize) -> bool {
        self.is_any || self.named.is_place(place)
    }
}

impl Rules {
    /// The caller sees to it that there are no more than a set has bits.
    pub(super) fn new(paths: &[RedactedPath]) -> Self {
        let rule = |redacted: &RedactedPath| Rule {
            steps: redacted.path.iter().map(|key| Step::new(key)).collect(),
            action: redacted.action,
        };
        Self(paths.iter().map(rule).collect())
    }

    /// What becomes of the whole element: every path begins in it.
    pub(super) fn whole(&self) -> Fate {
        Fate::Kept(self.numbers().fold(0, |all, number| all | 1 << number))
    }

    /// What becomes of a value in a container that is `depth` steps from the outside, and into which
    /// the paths `open` lead. `leads` says of a step whether it leads to the value.
    ///
    /// Where several paths end, dropping goes before hashing, which would leave more.
    pub(super) fn fate(&self, open: Paths, depth: usize, leads: impl Fn(&Step) -> bool) -> Fate {
        let (mut within, mut action) = (0, None);
        for number in self.numbers().filter(|number| open & 1 << number != 0) {
            let rule = &self.0[number];
            if !rule.steps.get(depth).is_some_and(&leads) {
                continue;
            }
            if depth + 1 < rule.steps.len() {
                within |= 1 << number;
            } else if action != Some(RedactAction::Drop) {
                action = Some(rule.action);
            }
        }
        action.map_or(Fate::Kept(within), Fate::Redacted)
    }

    fn numbers(&self) -> std::ops::Range<usize> {
        0..self.0.len()
    }
}
