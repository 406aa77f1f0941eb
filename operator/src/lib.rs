//! The control plane: from manifests to a validated model, and from there to what is applied.
//!
//! ```text
//! files ───────▶ manifests ──▶ validate ──▶ build ──▶ configuration, objects, relations
//! API server ──▶ (parse)       (decide)     (translate)          │
//!     ▲  │                                                       ▼
//!     │  └── watches, secrets (dereference)         apply, database, pods ──▶ status
//!     └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariant: manifests, validate, build and status are pure, and serve the command line without a
//! cluster. What talks to Kubernetes or PostgreSQL decides nothing.

pub mod admin;
mod apply;
mod backoff;
pub mod build;
pub mod controller;
mod database;
mod error;
pub mod manifests;
pub mod metrics;
pub mod pods;
mod problem;
mod quantity;
mod secrets;
pub mod status;
mod sync;
pub mod validate;
pub mod watches;

pub use error::chain;
pub use problem::{Problem, Problems};
