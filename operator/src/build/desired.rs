//! What the database is to have for a source.

use trunkline_warehouse::DesiredSource;

use crate::validate::Source;

/// A source as the database is to have it; its URL starts with `base_url`.
#[must_use]
pub fn desired_source(
    source: &Source,
    base_url: &str,
    cluster_readers: &[String],
) -> DesiredSource {
    DesiredSource {
        name: source.name.clone(),
        schema: source.schema.clone(),
        url: Some(format!("{base_url}{}", source.path)),
        body: source.body,
        header_columns: source.header_columns.clone(),
        readers: readers(cluster_readers, &source.readers),
        retention_days: source.retention_days,
        partition_by: Some(source.partition_by),
        storage: Some(source.storage),
        indexes: Some(source.indexes),
        layout: Some(source.layout),
        shaping: Some(source.shaping.clone()),
        views: Some(source.views.clone()),
    }
}

/// The readers of the cluster and of the source, each once.
pub(crate) fn readers(of_cluster: &[String], of_source: &[String]) -> Vec<String> {
    let mut readers: Vec<String> = of_cluster.iter().chain(of_source).cloned().collect();
    readers.sort();
    readers.dedup();
    readers
}
