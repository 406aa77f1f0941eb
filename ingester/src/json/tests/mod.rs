//! What the whole pass promises, through its public functions.

mod acceptance;
mod differential;
mod envelope;
mod repair;
mod rows;
