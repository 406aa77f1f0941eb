//! The warehouse against a real PostgreSQL.
//!
//! One server serves the whole binary and each test has a database of its own on it, except where
//! a test is about the server.

mod casts;
mod connect;
mod describe;
mod erase;
mod harness;
mod indexes;
mod layout;
mod own_views;
mod partitions;
mod readers;
mod rejections;
mod relations;
mod removal;
mod repeats;
mod retention;
mod roles;
mod seen_keys;
mod shared;
mod sources;
mod statistics;
mod upkeep;
mod views;
