//! What the programs tell of themselves, in the forms that others expect: metrics that know their
//! own reference page, logs and traces.
//!
//! Invariant: nothing in here knows what is told. No event, no label, no value is made here.

pub mod log;
pub mod metrics;
pub mod traces;
