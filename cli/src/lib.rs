//! The command line `trunkline`: the same manifests and the same code as in a cluster, for one
//! person at one terminal.
//!
//! Invariant: standard output carries results alone (with `-o json` one object a line), everything
//! else goes to standard error.

mod admin;
mod app;
mod dbt;
mod dev;
mod files;
mod http;
mod kubernetes;
mod owner;
mod port;
pub mod postgres;
pub mod probe;
mod purge;
mod render;
mod schema;
pub mod segment;
pub mod send;
mod signing;
mod status;

pub use app::{Cli, run};
pub use port::ReservedPort;
