//! The control plane: from manifests to a validated model, and from there to what is applied.
//!
//! ```text
//! files ──▶ manifests ──▶ validate ──▶ build ──▶ configuration files, database objects
//!           (parse)       (decide)     (translate)
//! ```
//!
//! Invariant: these steps are pure. The same code serves the command line, without a cluster.

pub mod build;
pub mod manifests;
mod problem;
pub mod validate;

pub use problem::{Problem, Problems};
