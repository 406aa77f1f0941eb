//! Posting to a webhook URL, `http` or `https`: what `send` and `probe` share.
//!
//! Invariant: a request reaches a receiver at most once. One that was never written, because a kept
//! connection had been closed, goes over a new one; nothing else is tried again.

mod connection;
mod target;

pub use connection::Failure;
pub(crate) use connection::{Answer, post};
pub use target::{Target, TargetError};
