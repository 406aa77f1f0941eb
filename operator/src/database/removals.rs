//! Removals of sources: asked for by a reconciliation, done by the database's task.
//!
//! Invariant: what is told of a removal stays true. One that is given up goes no further, but for a
//! statement that the server had by then.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, timeout_at};
use trunkline_model::names::{ClusterName, SourceName};

use super::{Keeper, SILENT, Wanted};
use crate::error::chain;
use crate::sync::lock;

/// A removal of a source.
#[derive(Debug)]
enum Removal {
    /// It is asked for, and given up at this time.
    Asked(Instant),
    /// It has ended.
    Ended(Result<(), String>),
}

/// Removals that nobody has heard the end of.
#[derive(Debug, Default)]
pub(super) struct Removals(Mutex<HashMap<SourceName, Removal>>);

impl Removals {
    /// How a removal went, once it has ended or its time is over. One that nobody has asked for is
    /// begun, by a function that says whether there is anybody to do it.
    pub(super) fn ask(
        &self,
        source: &SourceName,
        patience: Duration,
        begin: impl FnOnce(Instant) -> bool,
    ) -> Option<Result<(), String>> {
        let now = Instant::now();
        let mut removals = lock(&self.0);
        let until = match removals.remove(source) {
            Some(Removal::Ended(result)) => return Some(result),
            Some(Removal::Asked(until)) if until <= now => return Some(Err(SILENT.to_owned())),
            Some(Removal::Asked(until)) => until,
            None => {
                let until = now + patience;
                if !begin(until) {
                    return Some(Err("the database's task has ended".to_owned()));
                }
                until
            }
        };
        removals.insert(source.clone(), Removal::Asked(until));
        None
    }

    /// Leaves a removal's end for whoever asked for it, unless that was given up meanwhile.
    pub(super) fn tell(&self, source: SourceName, until: Instant, result: Result<(), String>) {
        let mut removals = lock(&self.0);
        if let Some(Removal::Asked(asked)) = removals.get(&source)
            && *asked == until
        {
            removals.insert(source, Removal::Ended(result));
        }
    }
}

/// What a removal has left for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftovers {
    /// Nothing.
    None,
    /// Rows in a shared bucket, which nobody sees any more.
    Rows,
}

impl Keeper {
    /// Drops a source, and tells how it went. Fails when nobody is left to be told.
    pub(super) async fn remove(
        &mut self,
        wanted: Option<&Wanted>,
        source: SourceName,
        until: Instant,
    ) -> Result<Leftovers, SendError<ClusterName>> {
        let result = self.drop_source(wanted, &source, until).await;
        let leftovers = match result {
            Ok(true) => Leftovers::Rows,
            _ => Leftovers::None,
        };
        self.removals.tell(source, until, result.map(|_| ()));
        self.changed.send(self.cluster.clone())?;
        Ok(leftovers)
    }

    /// Drops a source's rows and relations. Returns whether rows are left that nobody sees.
    async fn drop_source(
        &mut self,
        wanted: Option<&Wanted>,
        source: &SourceName,
        until: Instant,
    ) -> Result<bool, String> {
        let Some(wanted) = wanted else {
            return Err("the database is not known".to_owned());
        };
        let cluster = self.cluster.clone();
        // Not even begun when it is late: the task was busy with something that took long.
        let ended = if Instant::now() < until {
            let dropping = async {
                let warehouse = self.connect(&wanted.owner).await?;
                warehouse.drop_source(&cluster, source).await
            };
            timeout_at(until, dropping).await.ok()
        } else {
            None
        };
        match ended {
            Some(result) => result
                .map(|dropped| dropped.leaves_rows)
                .map_err(|error| chain(&error)),
            None => {
                // With the connection, what it may still do ends.
                self.warehouse = None;
                Err(SILENT.to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn source() -> SourceName {
        "default/segment".parse().unwrap()
    }

    #[test]
    fn a_removal_is_begun_once_and_its_end_is_told_once() {
        let removals = Removals::default();
        let mut begun = None;
        let first = removals.ask(&source(), PATIENCE, |until| begun.insert(until) == &until);
        assert_eq!(first, None);
        let again = removals.ask(&source(), PATIENCE, |_| panic!("begun twice"));
        assert_eq!(again, None);
        removals.tell(source(), begun.unwrap(), Ok(()));
        assert_eq!(removals.ask(&source(), PATIENCE, |_| true), Some(Ok(())));
        assert_eq!(removals.ask(&source(), PATIENCE, |_| true), None);
    }

    #[test]
    fn an_end_that_comes_after_it_was_given_up_is_not_told() {
        let removals = Removals::default();
        let mut begun = None;
        let nothing = Duration::ZERO;
        removals.ask(&source(), nothing, |until| begun.insert(until) == &until);
        let given_up = removals.ask(&source(), PATIENCE, |_| true).unwrap();
        assert_eq!(given_up.unwrap_err(), SILENT);
        assert_eq!(removals.ask(&source(), PATIENCE, |_| true), None);
        removals.tell(source(), begun.unwrap(), Ok(()));
        assert_eq!(removals.ask(&source(), PATIENCE, |_| true), None);
    }

    #[test]
    fn without_anybody_to_do_it_that_is_told() {
        let removals = Removals::default();
        let told = removals.ask(&source(), PATIENCE, |_| false).unwrap();
        assert!(told.unwrap_err().contains("has ended"));
    }
}
