//! The Helm chart, as Helm renders it. No cluster is needed; that the operator gets by with these
//! rights, and that Pod Security admits it, is tested where there is one.
#![allow(
    clippy::unwrap_used,
    reason = "a panic with its place is what a test reports"
)]

mod helm;
mod objects;
mod rights;
mod values;
