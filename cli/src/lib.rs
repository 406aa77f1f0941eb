//! The command line.

pub mod postgres;
