//! The commit path of the ingester against a real PostgreSQL.
//!
//! Each test has a server of its own: most do harm to it.

mod faults;
mod harness;
mod network;
mod orders;
mod poison;
mod repeats;
mod rows;
mod unseen;
