//! The configuration as Secrets: one for each file, projected into one directory of the pod.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    KeyToPath, ProjectedVolumeSource, Secret, SecretProjection, Volume, VolumeProjection,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use trunkline_model::document::Files;
use trunkline_model::names::ClusterName;

use super::metadata_of;
use crate::build::configuration::{CLUSTER_FILE, SOURCE_FILES, source_file};

/// Name of the volume.
pub(super) const VOLUME: &str = "configuration";

/// The name of the Secret that holds a file.
fn shard_name(cluster: &str, file: &str) -> String {
    let part = file.split('.').next().unwrap_or(file);
    format!("{cluster}-ingester-{part}")
}

/// The names of all configuration Secrets of a cluster, each with the file it holds.
#[must_use]
pub fn shard_names(cluster: &str) -> Vec<(String, String)> {
    files()
        .map(|file| (shard_name(cluster, &file), file))
        .collect()
}

fn files() -> impl Iterator<Item = String> {
    std::iter::once(CLUSTER_FILE.to_owned()).chain((0..SOURCE_FILES).map(source_file))
}

pub(super) fn secrets(
    cluster: &ClusterName,
    owner: Option<&OwnerReference>,
    files: &Files,
) -> Vec<Secret> {
    let secret = |(file, bytes): (&String, &Vec<u8>)| Secret {
        metadata: metadata_of(cluster, owner, shard_name(cluster.name(), file)),
        data: Some(BTreeMap::from([(file.clone(), ByteString(bytes.clone()))])),
        type_: Some("trunkline.dev/configuration".to_owned()),
        ..Secret::default()
    };
    files.iter().map(secret).collect()
}

/// The volume that projects every file. All are optional: a pod that starts before its
/// configuration waits for it, not ready, and is not restarted for it.
pub(super) fn volume(cluster: &str) -> Volume {
    let source = |(name, file): (String, String)| VolumeProjection {
        secret: Some(SecretProjection {
            name,
            optional: Some(true),
            items: Some(vec![KeyToPath {
                key: file.clone(),
                path: file,
                mode: None,
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o440),
            sources: Some(shard_names(cluster).into_iter().map(source).collect()),
        }),
        ..Volume::default()
    }
}
