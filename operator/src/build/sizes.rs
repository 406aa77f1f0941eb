//! What a size means for one ingester.

use k8s_openapi::api::core::v1::ResourceRequirements;
use trunkline_crds::ClusterSize;
use trunkline_model::document::Limits;
use trunkline_model::limits::bytes_in_flight;

use crate::quantity::quantity;
use crate::validate::Cluster;

/// Segment's batches reach 4 MB; a body over the limit is lost for good, since senders do not
/// retry 413. 6 MiB leaves room for both.
const MAX_BODY_BYTES: usize = 6 << 20;

/// The memory limit that is given in place of the size's, in bytes.
fn memory_limit(resources: &ResourceRequirements) -> Option<f64> {
    quantity(&resources.limits.as_ref()?.get("memory")?.0)
}

/// Bytes of the fewest bodies that fit at once: four of the largest kind, each of which counts three
/// times (as sent, decoded, encoded).
const LEAST_IN_FLIGHT: usize = 4 * 3 * MAX_BODY_BYTES;

/// Limits of a cluster's ingesters: what its memory limit, its own or that of its size, has room for.
#[must_use]
pub fn limits(cluster: &Cluster) -> Limits {
    let own = cluster.resources.as_ref().and_then(memory_limit);
    Limits {
        max_body_bytes: MAX_BODY_BYTES,
        bytes_in_flight: room(own.unwrap_or_else(|| memory(cluster.size))),
        writers: writers(cluster.size),
        max_connections: None,
    }
}

/// The memory limit of a size, in bytes.
#[must_use]
pub fn memory(size: ClusterSize) -> f64 {
    // A test reads every size's.
    quantity(resources(size).memory).unwrap_or_default()
}

/// Bytes in flight of an ingester with so much memory.
fn room(memory: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of bytes, far below 2^53"
    )]
    let memory = memory as u64;
    let room = bytes_in_flight(memory);
    usize::try_from(room)
        .unwrap_or(usize::MAX)
        .max(LEAST_IN_FLIGHT)
}

/// The smallest memory limit with room for the bodies that every size takes, in MiB.
pub const LEAST_MEMORY_MIB: f64 = 128.0;

/// Connections that write small deliveries.
fn writers(size: ClusterSize) -> usize {
    match size {
        ClusterSize::XxxSmall | ClusterSize::XxSmall => 1,
        ClusterSize::XSmall | ClusterSize::Small => 2,
        ClusterSize::Medium => 4,
        ClusterSize::Large => 6,
        ClusterSize::XLarge => 8,
        ClusterSize::XxLarge => 12,
        ClusterSize::XxxLarge => 16,
        ClusterSize::XxxxLarge => 24,
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

/// What a size asks of Kubernetes. Its memory says what may be in flight: see [`bytes_in_flight`].
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
    fn every_size_takes_several_of_the_largest_bodies() {
        use ClusterSize::{
            Large, Medium, Small, XLarge, XSmall, XxLarge, XxSmall, XxxLarge, XxxSmall, XxxxLarge,
        };
        let sizes = [
            XxxSmall, XxSmall, XSmall, Small, Medium, Large, XLarge, XxLarge, XxxLarge, XxxxLarge,
        ];
        let of = |size| (room(memory(size)), writers(size));
        for pair in sizes.map(of).windows(2) {
            assert!(pair[0].0 > LEAST_IN_FLIGHT, "{pair:?}");
            assert!(pair[0].0 < pair[1].0, "{pair:?}");
            assert!(pair[0].1 <= pair[1].1, "{pair:?}");
        }
        assert_eq!(of(Small), (256 << 20, 2));
    }

    #[test]
    fn the_documentation_has_every_size() {
        let page = include_str!("../../../docs/performance.md");
        for (name, size) in [
            ("3xsmall", ClusterSize::XxxSmall),
            ("2xsmall", ClusterSize::XxSmall),
            ("xsmall", ClusterSize::XSmall),
            ("small", ClusterSize::Small),
            ("medium", ClusterSize::Medium),
            ("large", ClusterSize::Large),
            ("xlarge", ClusterSize::XLarge),
            ("2xlarge", ClusterSize::XxLarge),
            ("3xlarge", ClusterSize::XxxLarge),
            ("4xlarge", ClusterSize::XxxxLarge),
        ] {
            let Resources { cpu, memory } = resources(size);
            let row = format!("| `{name}` | {cpu} | {memory} | {} |\n", writers(size));
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn the_smallest_memory_limit_has_room_for_the_bodies() {
        let smallest = room(LEAST_MEMORY_MIB * 1_048_576.0);
        assert_eq!(smallest, bytes_in_flight(128 << 20) as usize);
        assert!(smallest > LEAST_IN_FLIGHT);
        assert_eq!(room(1.0), LEAST_IN_FLIGHT);
    }
}
