//! What Materialize's webhook sources promise, line by line, through the front door.
//!
//! Where Trunkline has decided otherwise, the test asserts that and its comment says so. What is
//! not here is elsewhere: shutting down in `stop.rs`, a database that is down in `outages.rs`, too
//! many requests in `front_door.rs`, signatures in `segment_batch.rs`.

mod bodies;
mod browsers;
mod compression;
mod harness;
mod headers;
mod limits;
mod statuses;
