//! Tests of the API types as the API server sees them: the generated definitions, their rules, and
//! manifests that they refuse.
//!
//! No cluster is needed: bounds are checked as JSON Schema, rules by an implementation of CEL. That
//! a real API server answers the same is tested where there is one, with the same manifests.
#![allow(
    clippy::unwrap_used,
    reason = "a panic with its place is what a test reports"
)]

mod admission;
mod definitions;
mod invalid;
mod valid;
