//! What a size means for one ingester.

use trunkline_crds::ClusterSize;
use trunkline_model::document::Limits;

/// Segment's batches reach 4 MB; a body over the limit is lost for good, since senders do not
/// retry 413. 6 MiB leaves room for both.
const MAX_BODY_BYTES: usize = 6 << 20;

/// Limits of a size. Every size takes at least four bodies of the largest kind at once (a body in
/// flight counts three times: as sent, decoded, encoded).
#[must_use]
pub fn limits(size: ClusterSize) -> Limits {
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
        for pair in sizes.map(limits).windows(2) {
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
