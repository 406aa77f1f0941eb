//! Takes out of an element what its source may not store: values by their paths, dropped or replaced
//! by a keyed hash.
//!
//! Pure: an element's text in, another text out. It happens behind verification, which needs the
//! bytes as received, and before everything that looks at an event: body, envelope, `raw` and shapes
//! are made of the text that comes out.
//!
//! Invariants:
//! - Every occurrence of a path is found: keys are compared decoded, and of a key that an object has
//!   twice both values are redacted.
//! - What no path leads to stays byte for byte, but for the comma beside a member that goes.
//! - An element without such a value is not copied.

mod paths;
#[cfg(test)]
mod tests;
mod walk;

use trunkline_model::redaction::{Hasher, MAX_PATHS, RedactAction, Redaction};

use crate::json::{self, InvalidJson};
use paths::Rules;
use walk::Walk;

/// The redaction of one source, ready for its elements.
#[derive(Debug)]
pub(crate) struct Redactor {
    rules: Rules,
    /// There is one where an action needs it.
    hasher: Option<Hasher>,
}

/// Why a source cannot be redacted as it asks, and so cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unredactable {
    /// There is no key for the hashes.
    #[error("no key is available for the hashes of redact")]
    NoKey,
    /// There are more paths than [`MAX_PATHS`].
    #[error("redact has more than {MAX_PATHS} paths")]
    TooManyPaths,
}

impl Redactor {
    /// Makes one of what the configuration says.
    pub(crate) fn new(redaction: &Redaction) -> Result<Self, Unredactable> {
        if redaction.paths.len() > MAX_PATHS {
            return Err(Unredactable::TooManyPaths);
        }
        let hasher = redaction.key.as_ref().and_then(Hasher::new);
        let needs_key = redaction
            .paths
            .iter()
            .any(|it| it.action == RedactAction::Hash);
        if needs_key && hasher.is_none() {
            return Err(Unredactable::NoKey);
        }
        Ok(Self {
            rules: Rules::new(&redaction.paths),
            hasher,
        })
    }

    /// The element without what has to go; None where there is nothing of it.
    ///
    /// `room` is asked before the new text grows to a number of bytes.
    ///
    /// # Errors
    /// What `room` says, and [`InvalidJson`] of what is not one JSON value.
    pub(crate) fn redact<E: From<InvalidJson>>(
        &self,
        element: &[u8],
        room: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Option<String>, E> {
        let text = json::text(element)?;
        let mut walk = Walk::new(&self.rules, self.hasher.as_ref(), text, room);
        json::visit(text, &mut walk)?;
        walk.finish()
    }
}
