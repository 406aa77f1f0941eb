//! The command line.

pub mod postgres;
pub mod segment;
