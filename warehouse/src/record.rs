//! What the catalog keeps of a source: its name, its schema, its place, whether it is served.

use trunkline_model::names::{ClusterName, quote_literal};

use crate::apply::CURRENT_ROLE;
use crate::catalog::SourceRow;
use crate::ranges::PartitionBy;
use crate::shared::Class;
use crate::sources::{DesiredSource, NEW_PARTITION_BY};
use crate::step::{Step, Test};

/// Writes a new source into the catalog, which gives it its number, and its bucket too where it is
/// the first of those that are to share one.
pub(crate) fn record_new(cluster: &ClusterName, source: &DesiredSource) -> Step {
    let (name, schema) = (source.name.to_string(), source.schema.as_str());
    let partition_by = source.partition_by.unwrap_or(NEW_PARTITION_BY);
    let values = [
        quote_literal(&name),
        quote_literal(&cluster.to_string()),
        quote_literal(schema),
        literal_or_null(source.url.as_deref()),
        quote_literal(partition_by.as_str()),
    ];
    let values = values.join(", ");
    let sql = if source.is_shared() {
        let class = Class::of(cluster, source);
        format!(
            "{};\nINSERT INTO trunkline.sources \
             (source, cluster, schema, url, partition_by, shared_bucket) \
             SELECT {values}, bucket FROM trunkline.shared_buckets WHERE {}",
            class.record(),
            class.condition()
        )
    } else {
        format!(
            "INSERT INTO trunkline.sources (source, cluster, schema, url, partition_by) \
             VALUES ({values})"
        )
    };
    Step {
        what: format!("record source {name}"),
        needed: Test::new(
            "NOT EXISTS (SELECT FROM trunkline.sources WHERE source = $1 OR schema = $2)",
            [&name, schema],
        ),
        sql,
        fix: rights(),
    }
}

/// Writes what may have changed of a source that is served.
pub(crate) fn record_current(number: i32, cluster: &ClusterName, source: &DesiredSource) -> Step {
    let (text, cluster) = (number.to_string(), cluster.to_string());
    let url = source.url.as_deref();
    let partition_by = source.partition_by.map(PartitionBy::as_str);
    Step {
        what: format!("record what is served as source {}", source.name),
        // A blank is never NULL, and no URL and no width is empty.
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer \
             AND (removed_at IS NOT NULL OR cluster <> $2 OR coalesce(url, '') <> $3 \
             OR $4 <> '' AND partition_by <> $4))",
            [
                &text,
                &cluster,
                url.unwrap_or_default(),
                partition_by.unwrap_or_default(),
            ],
        ),
        sql: format!(
            "UPDATE trunkline.sources SET removed_at = NULL, cluster = {}, url = {}, \
             partition_by = {} WHERE bucket = {number}",
            quote_literal(&cluster),
            literal_or_null(url),
            partition_by.map_or_else(|| "partition_by".to_owned(), quote_literal)
        ),
        fix: rights(),
    }
}

/// Takes a source out of the list that readers see. Its rows, its schema and its claim stay.
pub(crate) fn record_removed(row: &SourceRow) -> Step {
    let SourceRow { number, source, .. } = row;
    Step {
        what: format!("record that source {source} was removed"),
        needed: Test::new(
            "EXISTS (SELECT FROM trunkline.sources WHERE bucket = $1::integer \
             AND removed_at IS NULL AND cluster = $2)",
            [&number.to_string(), &row.cluster],
        ),
        sql: format!("UPDATE trunkline.sources SET removed_at = now() WHERE bucket = {number}"),
        fix: rights(),
    }
}

fn rights() -> String {
    format!("ALTER TABLE trunkline.sources OWNER TO {CURRENT_ROLE}")
}

fn literal_or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), quote_literal)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::shared::Storage;
    use crate::sources::fixtures::shop;

    #[test]
    fn a_source_that_shares_is_recorded_with_the_bucket_of_its_class() {
        let sharing = DesiredSource {
            storage: Some(Storage::Shared),
            retention_days: NonZeroU16::new(30),
            ..shop("shop")
        };
        let sql = record_new(&"a/main".parse().unwrap(), &sharing).sql;
        let (bucket, source) = sql.split_once(";\n").unwrap();
        let class =
            "cluster = 'a/main' AND coalesce(retention_days, 0) = 30 AND partition_by = 'Day'";
        assert!(
            bucket.ends_with(&format!(
                "'a/main', 30, 'Day' WHERE NOT EXISTS \
                 (SELECT FROM trunkline.shared_buckets WHERE {class})"
            )),
            "{bucket}"
        );
        assert!(
            source.ends_with(&format!(
                "SELECT 'a/shop', 'a/main', 'shop', NULL, 'Day', bucket \
                 FROM trunkline.shared_buckets WHERE {class}"
            )),
            "{source}"
        );
    }

    #[test]
    fn values_are_quoted() {
        let cluster = "a/main".parse().unwrap();
        let record = |url: Option<&str>, partition_by| {
            let source = DesiredSource {
                url: url.map(str::to_owned),
                partition_by,
                ..shop("shop")
            };
            record_current(3, &cluster, &source).sql
        };
        let sql = record(Some("http://h/it's"), Some(PartitionBy::Month));
        assert!(
            sql.contains("url = 'http://h/it''s', partition_by = 'Month' WHERE bucket = 3"),
            "{sql}"
        );
        let sql = record(None, None);
        assert!(
            sql.contains("url = NULL, partition_by = partition_by WHERE"),
            "{sql}"
        );
    }
}
