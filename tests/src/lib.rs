//! The harness of the behaviour tests: a real PostgreSQL, the real binaries, and every way in which
//! the path between them can break.
//!
//! A test reads as a story: a [`Station`] is a database, a configuration directory and an ingester
//! that serves it; a [`Client`] or a [`Load`] posts to it; a [`Ledger`] remembers what was
//! acknowledged and compares it with what the database holds.
//!
//! Invariants: nothing is mocked between the socket and the disk; every process ends with the value
//! that holds it; what is random comes from a seed that is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    reason = "the crate is a test: a panic with its place is the report, and figures are printed"
)]

mod binaries;
mod certificates;
mod client;
mod clock;
mod collector;
mod config_dir;
mod database;
mod dbt;
mod dev;
mod disk;
mod examples;
mod ingester;
pub mod kubernetes;
mod ledger;
mod limits;
mod load;
mod memory_group;
mod metrics_page;
mod namespace;
mod network;
mod pgbouncer;
mod proxy;
mod scale;
mod segment;
mod standby;
mod station;
mod wire;

pub use binaries::binary;
pub use certificates::{Authority, Certificate};
pub use client::{Answer, Client, NoAnswer};
pub use clock::FakeClock;
pub use collector::{Collector, Received};
pub use config_dir::{ConfigDir, SourceDraft};
pub use database::Database;
pub use dbt::{DbtProject, QUIET_DBT, python_programs};
pub use dev::Dev;
pub use disk::SmallDisk;
pub use examples::{Example, repository};
pub use ingester::IngesterProcess;
pub use ledger::{Digest, Ledger, Verdict, digest};
pub use limits::allow_files;
pub use load::{Load, LoadOptions, LoadReport};
pub use memory_group::MemoryGroup;
pub use metrics_page::metrics_page;
pub use network::OwnNetwork;
pub use pgbouncer::PgBouncer;
pub use proxy::{Behaviour, Proxy};
pub use scale::{is_full, scaled, seed};
pub use segment::{Batch, events, signed_batch, signed_single};
pub use standby::Standby;
pub use station::{SECRET, Station};
pub use trunkline_cli::ReservedPort;
pub use wire::{post_bytes, read_status, signed_post_bytes};
