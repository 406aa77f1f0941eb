//! The commit path of the ingester against a real PostgreSQL.
//!
//! Each test has a server of its own: most do harm to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic with its place is what a test reports"
)]

mod faults;
mod harness;
mod network;
mod orders;
mod poison;
mod rows;
