//! Translates the validated model into what is applied.
//!
//! Pure: no I/O, no clock. Equal input gives equal output, byte for byte, so that what has not
//! changed is not written.

mod configuration;
mod sizes;

pub use configuration::{Inputs, configuration};
pub use sizes::limits;
