//! Behaviour through the front door, each subject a module.
//!
//! One binary, since tests mostly wait, and those of one binary run side by side. What asserts times
//! that neighbours would spoil, or needs the whole machine, is a binary of its own beside this folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a panic with its place is what a test reports, and figures are printed"
)]

mod analysts;
mod chart;
mod commit;
mod connections;
mod dashboards;
mod database_faults;
mod deduplication;
mod dev;
mod docs;
mod failover;
mod front_door;
mod http2;
mod https;
mod json_differential;
mod ledger;
mod logs;
mod materialize_parity;
mod metrics;
mod pgbouncer;
mod poison;
mod ports;
mod probe;
mod promise;
mod purge;
mod redaction;
mod rejections;
mod reload;
mod segment_batch;
mod shapes;
mod smuggling;
mod source_limits;
mod stop;
mod tls;
mod traces;
mod verification;
mod warehouse;
