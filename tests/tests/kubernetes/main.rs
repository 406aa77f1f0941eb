//! Behaviour on a real Kubernetes. `make e2e` builds what these tests need and runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests: a panic with its place is the report, and figures are printed"
)]

mod command_line;
mod control_plane;
mod database_tls;
mod deletion;
mod docs;
mod first_light;
mod node;
mod owner;
mod pods;
mod prober;
mod quiet;
mod refusals;
mod rights;
mod secrets;
mod site;
mod tls;
mod undisturbed;
