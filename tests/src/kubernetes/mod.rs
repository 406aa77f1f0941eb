//! A real Kubernetes for tests: no mock of the API server, no fake kubelet.
//!
//! Tests choose how much of it they need: a [`ControlPlane`] alone (three seconds, no rights), or a
//! [`Cluster`] with a node that runs pods, DNS, an Ingress controller and a PostgreSQL beside it
//! (root). Several of either run at once without meeting.
//!
//! Invariants: every program is the real one, of the version that `tests/kubernetes` pins; nothing of
//! a run outlives the process that started it, and nothing of the machine is changed that another run
//! or the user could see, but one network interface with a route to it.

mod audit;
mod cgroups;
mod cluster;
mod command_line;
mod component;
mod control_plane;
mod enclosure;
mod evidence;
mod images;
mod janitor;
mod kubeconfig;
mod launcher;
mod network;
mod node;
mod patience;
mod pki;
mod postgres;
mod services;
mod slot;
mod stored;
mod tools;

pub use audit::{AuditEvent, AuditLog, AuditMark, AuditObject, AuditStatus, AuditUser};
pub use cluster::{Cluster, Evidence};
pub use command_line::CommandLine;
pub use component::Component;
pub use control_plane::{ControlPlane, client};
pub use images::{BUSYBOX, project_image};
pub use patience::eventually;
pub use postgres::{DatabaseLogin, Postgres};
pub use services::INGRESS_CLASS;
pub use stored::StoredEntry;
pub use tools::built;
