//! What every room of Trunkline shares, and nothing else: names, the list of columns, verification
//! schemes and the configuration document that travels from the control plane to the ingesters.
//!
//! Invariant: pure. No I/O, no async, no Kubernetes, no database client; a value of this crate can
//! be built and compared in a unit test.

pub mod certificate;
pub mod columns;
pub mod database;
pub mod deduplication;
pub mod document;
pub mod headers;
pub mod limits;
pub mod names;
pub mod naming;
pub mod presets;
pub mod redaction;
pub mod repeats;
pub mod request;
pub mod secret;
pub mod url;
pub mod verification;
