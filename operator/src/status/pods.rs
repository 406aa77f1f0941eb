//! What the ready pods of a cluster say, taken together.

use std::time::Duration;

use crate::pods::{Observation, Served};

/// How long a pod may be silent before nothing is known of it.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// A pod in the ready endpoints of the cluster's Service.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// What it said.
    pub voice: Voice,
}

/// What is heard of a pod.
#[derive(Debug, Clone)]
pub enum Voice {
    /// Nothing yet, but it was not asked for long.
    NotYet,
    /// Nothing for so long that nothing is known of it.
    Silent(String),
    /// This, lately.
    Says(Served),
}

impl PodView {
    /// `listed_for` is how long the pod has been in the ready endpoints, as far as is known.
    #[must_use]
    pub fn new(name: String, observation: Observation, listed_for: Duration) -> Self {
        let silence = observation.answered_at.map(|at| at.elapsed());
        let failure = observation
            .failure
            .unwrap_or_else(|| "no answer yet".to_owned());
        let voice = match (observation.served, silence) {
            (Some(served), Some(silence)) if silence < SILENT_AFTER => Voice::Says(served),
            (None, _) if listed_for < SILENT_AFTER => Voice::NotYet,
            _ => Voice::Silent(failure),
        };
        Self { name, voice }
    }
}
