//! Faults of a database that runs: what senders are told, what its owner can read, that it comes
//! back by itself, and that nothing acknowledged is lost.
//!
//! A server that is stopped, frozen or unreachable is in `outages.rs`.

mod clock;
mod connections;
mod disk;
mod dropped;
mod lock;
mod rights;
mod standby;
mod trial;
