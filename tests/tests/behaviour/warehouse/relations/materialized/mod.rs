//! Relations that are kept in tables: they show at every moment what they would show without.
//!
//! Each test has two sources that receive the same events and differ in nothing else. What one shows is
//! compared with what the other shows, column by column and row by row.

mod changes;
mod columns;
mod cost;
mod ends;
mod plans;
mod twins;
