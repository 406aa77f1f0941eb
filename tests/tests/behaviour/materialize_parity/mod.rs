//! What Materialize's webhook sources promise, line by line, through the front door.
//!
//! Where Trunkline has decided otherwise, the test asserts that and its comment says so. What is
//! not here is elsewhere: a stop under load in `stop.rs`, a database that is down in `outages.rs`, too
//! many bytes at once in `front_door.rs`, limits of a source in `source_limits.rs`, bodies that do
//! not arrive in `slow_senders.rs`, changes of a view or table under load in
//! `warehouse_locks_senders.rs`, signatures in `segment_batch.rs`.

mod bodies;
mod browsers;
mod compression;
mod harness;
mod headers;
mod limits;
mod order;
mod statuses;
