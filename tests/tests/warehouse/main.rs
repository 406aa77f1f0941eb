//! The warehouse against a real PostgreSQL.
//!
//! One server serves the whole binary and each test has a database of its own on it, except where
//! a test is about the server.

mod connect;
mod harness;
mod layout;
mod roles;
mod sources;
mod views;
