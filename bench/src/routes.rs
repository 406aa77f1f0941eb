//! What the other receivers are told: the file that says which path is which source.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Everything that the floor and the fastify receiver need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Routes {
    /// Where to connect, as `postgres://…`.
    pub database: String,
    /// The shared secret of every source.
    pub secret: String,
    /// Sources by the path that senders post to.
    pub sources: HashMap<String, Source>,
}

/// One source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    /// `namespace/name`.
    pub name: String,
    /// The partition of its rows.
    pub bucket: i32,
}
