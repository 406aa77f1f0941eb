//! What a size means for one ingester.

use k8s_openapi::api::core::v1::ResourceRequirements;
use trunkline_crds::ClusterSize;
use trunkline_model::document::Limits;

use crate::quantity::quantity;
use crate::validate::Cluster;

/// Segment's batches reach 4 MB; a body over the limit is lost for good, since senders do not
/// retry 413. 6 MiB leaves room for both.
const MAX_BODY_BYTES: usize = 6 << 20;

/// Part of the memory limit that requests in flight may take; the rest is for the process and its
/// connections.
const IN_FLIGHT_SHARE: f64 = 4.0 / 7.0;

/// The memory limit that is given in place of the size's, in bytes.
fn memory_limit(resources: &ResourceRequirements) -> Option<f64> {
    quantity(&resources.limits.as_ref()?.get("memory")?.0)
}

/// Limits of a cluster's ingesters: those of its size, and no more bytes in flight than a memory
/// limit of its own has room for.
#[must_use]
pub fn limits(cluster: &Cluster) -> Limits {
    let mut limits = size_limits(cluster.size);
    if let Some(memory) = cluster.resources.as_ref().and_then(memory_limit) {
        // Far below 2^53.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of bytes"
        )]
        let room = (memory * IN_FLIGHT_SHARE) as usize;
        limits.bytes_in_flight = room.max(4 * 3 * MAX_BODY_BYTES);
    }
    limits
}

/// The smallest memory limit with room for the bodies that every size takes, in MiB.
pub const LEAST_MEMORY_MIB: f64 = 128.0;

/// Limits of a size. Every size takes at least four bodies of the largest kind at once (a body in
/// flight counts three times: as sent, decoded, encoded).
fn size_limits(size: ClusterSize) -> Limits {
    const MIB: usize = 1 << 20;
    let (bytes_in_flight, writers) = match size {
        ClusterSize::XxxSmall => (80 * MIB, 1),
        ClusterSize::XxSmall => (96 * MIB, 1),
        ClusterSize::XSmall => (128 * MIB, 2),
        ClusterSize::Small => (256 * MIB, 2),
        ClusterSize::Medium => (512 * MIB, 4),
        ClusterSize::Large => (1024 * MIB, 6),
        ClusterSize::XLarge => (2048 * MIB, 8),
        ClusterSize::XxLarge => (4096 * MIB, 12),
        ClusterSize::XxxLarge => (8192 * MIB, 16),
        ClusterSize::XxxxLarge => (16384 * MIB, 24),
    };
    Limits {
        max_body_bytes: MAX_BODY_BYTES,
        bytes_in_flight,
        writers,
    }
}

/// CPU and memory of one ingester, as Kubernetes writes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resources {
    /// Requested CPU.
    pub(super) cpu: &'static str,
    /// Requested memory, which is the limit too.
    pub(super) memory: &'static str,
}

/// What a size asks of Kubernetes: the bytes in flight of [`size_limits`], and as much again as the
/// process and its connections need.
pub(super) fn resources(size: ClusterSize) -> Resources {
    let (cpu, memory) = match size {
        ClusterSize::XxxSmall => ("50m", "160Mi"),
        ClusterSize::XxSmall => ("100m", "192Mi"),
        ClusterSize::XSmall => ("200m", "256Mi"),
        ClusterSize::Small => ("400m", "448Mi"),
        ClusterSize::Medium => ("800m", "832Mi"),
        ClusterSize::Large => ("1600m", "1600Mi"),
        ClusterSize::XLarge => ("3200m", "3Gi"),
        ClusterSize::XxLarge => ("6400m", "6Gi"),
        ClusterSize::XxxLarge => ("12800m", "11Gi"),
        ClusterSize::XxxxLarge => ("25600m", "21Gi"),
    };
    Resources { cpu, memory }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_room_for_what_it_holds_in_flight() {
        use ClusterSize::{Large, Small, XxxSmall, XxxxLarge};
        for size in [XxxSmall, Small, Large, XxxxLarge] {
            let memory = resources(size).memory;
            let (digits, unit) = memory.split_at(memory.len() - 2);
            let unit = if unit == "Gi" { 1 << 30 } else { 1 << 20 };
            let bytes: usize = digits.parse::<usize>().unwrap() * unit;
            assert!(
                bytes >= size_limits(size).bytes_in_flight * 5 / 4,
                "{size:?}"
            );
        }
    }

    #[test]
    fn every_size_takes_several_of_the_largest_bodies() {
        use ClusterSize::{
            Large, Medium, Small, XLarge, XSmall, XxLarge, XxSmall, XxxLarge, XxxSmall, XxxxLarge,
        };
        let sizes = [
            XxxSmall, XxSmall, XSmall, Small, Medium, Large, XLarge, XxLarge, XxxLarge, XxxxLarge,
        ];
        for pair in sizes.map(size_limits).windows(2) {
            assert!(
                pair[0].bytes_in_flight >= 4 * 3 * pair[0].max_body_bytes,
                "{pair:?}"
            );
            assert!(
                pair[0].bytes_in_flight < pair[1].bytes_in_flight,
                "{pair:?}"
            );
            assert!(pair[0].writers <= pair[1].writers, "{pair:?}");
        }
    }
}
