//! API types of the group `trunkline.dev`: the only source of truth for manifests.
