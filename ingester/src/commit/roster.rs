//! How many writers of small deliveries there are, and how many there should be.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Decides under one lock who starts and who ends, so that a number that goes down and up again
/// leaves neither a gap nor two writers with one number.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    wanted: usize,
    /// By number: whether a writer runs.
    runs: Vec<bool>,
}

impl Roster {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the number of writers; returns those that the caller has to start.
    pub(super) fn resize(&self, wanted: usize) -> Vec<usize> {
        let mut places = self.places();
        places.wanted = wanted;
        let length = places.runs.len().max(wanted);
        places.runs.resize(length, false);
        let mut missing = Vec::new();
        for (number, runs) in places.runs.iter_mut().enumerate().take(wanted) {
            if !std::mem::replace(runs, true) {
                missing.push(number);
            }
        }
        missing
    }

    /// Whether the writer is one too many. A writer that gets `true` is written off and ends.
    pub(super) fn retire(&self, number: usize) -> bool {
        let mut places = self.places();
        if number < places.wanted {
            return false;
        }
        if let Some(runs) = places.runs.get_mut(number) {
            *runs = false;
        }
        true
    }

    /// Writes off a writer that could not be started.
    pub(super) fn missing(&self, number: usize) {
        if let Some(runs) = self.places().runs.get_mut(number) {
            *runs = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_goes_down_and_up_keeps_the_writers_that_have_not_ended() {
        let roster = Roster::default();
        assert_eq!(roster.resize(3), [0, 1, 2]);
        assert!(!roster.retire(2));
        assert!(roster.resize(1).is_empty());
        assert!(roster.retire(2));
        // 1 has not looked yet and stays; 2 has ended.
        assert_eq!(roster.resize(3), [2]);
        assert!(!roster.retire(1));
    }
}
