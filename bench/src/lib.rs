//! Compares the ingester with a bare program ([`the floor`](../trunkline_floor/index.html)) and
//! with a receiver in fastify, in runs that alternate on one machine. `docs/performance.md` says
//! how, and how to read the result.

pub mod figures;
pub mod output;
pub mod process;
pub mod routes;
