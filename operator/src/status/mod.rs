//! What the status of an object says.
//!
//! Pure: what was found in, a status out.

mod certificate;
mod cluster;
mod conditions;
mod pods;
mod refusals;
mod source;
#[cfg(test)]
mod tests;
mod views;

use kube::ResourceExt;
use trunkline_crds::REQUESTED_AT;

pub use certificate::certificate;
pub use cluster::{ClusterFindings, cluster_status};
pub use conditions::{ConditionList, Finding, Truth, find};
pub use pods::{PodView, SILENT_AFTER, Voice};
pub use refusals::top_refusal;
pub use source::{SourceFindings, Spec, Storage, Wish, orphan_status, source_status};

/// The reconciliation that an object's annotation asks for.
pub(crate) fn requested_at(object: &impl ResourceExt) -> Option<String> {
    object.annotations().get(REQUESTED_AT).cloned()
}
