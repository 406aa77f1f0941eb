//! `trunkline dbt init`, and real dbt on what it writes: as a plain reader, of sources with the layouts
//! of both vendors, in full and incrementally, in time zones of all kinds.
//!
//! A binary of its own, since dbt takes the processor from whoever asserts times.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test"
)]

mod build;
mod init;
mod stage;
