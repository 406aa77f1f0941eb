//! A step: one object brought to its desired state, as data.
//!
//! Invariants:
//! - A step says in SQL when it is needed. That test runs before anything is locked, so that a
//!   database in its desired state is only read, and once more under the DDL lock, so that of two
//!   processes one does the work and the other finds it done.
//! - Steps of one kind share the words of their test and differ in what fills its blanks, so that
//!   one query asks for any number of sources and the server plans it once.
//! - A step is one transaction. A crash between two of them leaves a state that the next run
//!   continues from.

use std::fmt;

use trunkline_model::names::quote_literal;

/// A condition with blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Test {
    /// An SQL expression in which `$1` is the first blank, a text. Never NULL and never an error,
    /// whatever exists.
    condition: &'static str,
    blanks: Vec<String>,
}

impl Test {
    pub(crate) fn new<const N: usize>(condition: &'static str, blanks: [&str; N]) -> Self {
        Self {
            condition,
            blanks: blanks.map(str::to_owned).to_vec(),
        }
    }

    /// What tests of one kind have in common.
    pub(crate) fn condition(&self) -> &'static str {
        self.condition
    }

    pub(crate) fn blanks(&self) -> &[String] {
        &self.blanks
    }

    /// The condition with its blanks filled.
    pub(crate) fn sql(&self) -> String {
        fill(self.condition, |blank| quote_literal(&self.blanks[blank]))
    }
}

/// Puts `filling` of its number, from 0, in the place of each blank.
pub(crate) fn fill(condition: &str, filling: impl Fn(usize) -> String) -> String {
    let mut parts = condition.split('$');
    let mut sql = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        if let Ok(blank @ 1..) = part[..digits].parse::<usize>() {
            sql.push_str(&filling(blank - 1));
        }
        sql.push_str(&part[digits..]);
    }
    sql
}

/// One transaction of DDL or of the catalog's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it does, as the continuation of "could not …".
    pub(crate) what: String,
    /// True while the step is to be done.
    pub(crate) needed: Test,
    /// The statements, separated by semicolons.
    pub(crate) sql: String,
    /// What allows it to a role that may not, for the administrator.
    pub(crate) fix: String,
}

/// What one run changed, and what it could not change yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The steps done, in words for a log. Empty when everything was as desired.
    pub changed: Vec<String>,
    /// The steps left for the next run.
    pub pending: Vec<PendingStep>,
}

/// How the attempt at a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// Someone else had done it.
    NotNeeded,
    /// Others hold its lock.
    Locked,
}

impl Report {
    /// What there is to say of one step.
    pub(crate) fn of(step: &Step, outcome: Outcome) -> Self {
        let mut report = Self::default();
        report.add(step, outcome);
        report
    }

    pub(crate) fn add(&mut self, step: &Step, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.changed.push(step.what.clone()),
            Outcome::NotNeeded => {}
            Outcome::Locked => self.defer(step, PendingReason::Locked),
        }
    }

    pub(crate) fn defer(&mut self, step: &Step, reason: PendingReason) {
        self.pending.push(PendingStep {
            step: step.what.clone(),
            reason,
        });
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        self.changed.extend(other.changed);
        self.pending.extend(other.pending);
    }
}

/// A step that was not done. What was there before is still there, and ingestion goes on; the
/// caller tries again later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingStep {
    /// What is left to do.
    pub step: String,
    /// What keeps it from being done.
    pub reason: PendingReason,
}

/// What a pending step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingReason {
    /// Other sessions hold a lock that it needs, a long SELECT for instance.
    Locked,
    /// Others' objects depend on what it would replace. The server's list of them.
    Dependants(String),
}

impl fmt::Display for PendingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            PendingReason::Locked => {
                write!(f, "{} waits for sessions that hold its lock", self.step)
            }
            PendingReason::Dependants(objects) => write!(
                f,
                "{} waits until nothing depends on the old one; drop or change: {objects}",
                self.step
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_filled_once_and_quoted() {
        let test = Test::new("a = $1 AND b <> $2 OR $1 = 'c'", ["it's $2", "x"]);
        assert_eq!(
            test.sql(),
            "a = 'it''s $2' AND b <> 'x' OR 'it''s $2' = 'c'"
        );
        assert_eq!(
            fill("f($2, $10)", |blank| format!("d.a{blank}")),
            "f(d.a1, d.a9)"
        );
        assert_eq!(Test::new("true", []).sql(), "true");
    }
}
