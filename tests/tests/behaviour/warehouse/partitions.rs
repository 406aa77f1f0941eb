//! The leaves of a bucket: which there are, of which width, and what holds for them.

use tokio_postgres::Client;
use trunkline_warehouse::{DesiredSource, PartitionBy};

use super::harness::*;

/// The source `default/shop` with partitions of a width.
fn by(partition_by: PartitionBy) -> DesiredSource {
    DesiredSource {
        partition_by: Some(partition_by),
        ..source("shop")
    }
}

/// The ranges of a bucket in UTC, in order: name, beginning, end.
async fn ranges(client: &Client, bucket: i32) -> Vec<[String; 3]> {
    let sql = format!(
        "SELECT c.relname, b[1]::timestamptz AT TIME ZONE 'UTC', \
         b[2]::timestamptz AT TIME ZONE 'UTC' \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid, \
         regexp_match(pg_get_expr(c.relpartbound, c.oid), $$\\('(.+)'\\) TO \\('(.+)'\\)$$) b \
         WHERE i.inhparent = 'trunkline_data.bucket_{bucket}'::regclass ORDER BY 2"
    );
    let line = |line: String| {
        let fields: Vec<_> = line.split('|').map(str::to_owned).collect();
        fields.try_into().unwrap()
    };
    rows(client, &sql).await.into_iter().map(line).collect()
}

/// That each range begins where the one before ends, and that all of them reach from `from` to
/// `until`, SQL.
async fn assert_covered(client: &Client, ranges: &[[String; 3]], from: &str, until: &str) {
    for pair in ranges.windows(2) {
        assert_eq!(pair[0][2], pair[1][1], "{pair:?}");
    }
    let utc = "now() AT TIME ZONE 'UTC'";
    let expected = format!(
        "SELECT '{}' <= {} AND '{}' = {}",
        ranges[0][1],
        from.replace("NOW", utc),
        ranges[ranges.len() - 1][2],
        until.replace("NOW", utc)
    );
    assert_eq!(value(client, &expected).await, "t", "{expected} {ranges:?}");
}

/// SQL of the end of what has to be there.
fn end(partition_by: PartitionBy) -> &'static str {
    match partition_by {
        PartitionBy::Hour => "date_trunc('hour', NOW) + interval '49 hours'",
        PartitionBy::Day => "date_trunc('day', NOW) + interval '8 days'",
        PartitionBy::Month => "date_trunc('month', NOW) + interval '4 months'",
    }
}

#[tokio::test]
async fn each_width_has_its_partitions_and_takes_events() {
    for (partition_by, behind, digits) in [
        (PartitionBy::Hour, "NOW - interval '1 hour'", 10),
        (PartitionBy::Day, "NOW - interval '1 day'", 8),
        (PartitionBy::Month, "NOW - interval '1 day'", 6),
    ] {
        let database = Database::new().await;
        let warehouse = database.prepared().await;
        let admin = database.admin().await;
        let bucket = ensure_one(&warehouse, by(partition_by)).await.bucket;
        let ranges = ranges(&admin, bucket).await;
        assert_covered(&admin, &ranges, behind, end(partition_by)).await;
        let prefix = format!("bucket_{bucket}_").len();
        assert!(
            ranges
                .iter()
                .all(|[name, ..]| name.len() == prefix + digits),
            "{ranges:?}"
        );
        store(&admin, bucket, "default/shop", 2).await;
        assert_eq!(value(&admin, "SELECT count(*) FROM shop.events").await, "2");
        let again = ensure_one(&warehouse, by(partition_by)).await;
        assert_eq!(again.changed, Vec::<String>::new());
        assert_eq!(warehouse.maintain().await.unwrap().changed, [""; 0]);
    }
}

#[tokio::test]
async fn another_width_begins_behind_what_there_is_whatever_the_session_calls_it() {
    let all = [PartitionBy::Hour, PartitionBy::Day, PartitionBy::Month];
    for first in all {
        for second in all {
            let database = Database::new().await;
            let url = database.owner("").await;
            let admin = database.admin().await;
            admin
                .batch_execute(&format!(
                    "ALTER ROLE owner_{0} SET timezone = 'Asia/Kathmandu'; \
                     ALTER ROLE owner_{0} SET datestyle = 'German'",
                    database.name
                ))
                .await
                .unwrap();
            let warehouse = warehouse(&url).await;
            warehouse.ensure_layout().await.unwrap();
            let bucket = ensure_one(&warehouse, by(first)).await.bucket;
            let before = ranges(&admin, bucket).await;
            let results = ensure(&warehouse, &[by(second)]).await;
            let changed = results.into_iter().next().unwrap().unwrap().changed;
            let after = ranges(&admin, bucket).await;
            let kept: Vec<_> = after
                .iter()
                .filter(|range| before.contains(range))
                .collect();
            assert_eq!(kept.len(), before.len(), "{first:?} {second:?} {after:?}");
            assert_eq!(first == second, changed.is_empty(), "{changed:?}");
            let reaches = first.max(second);
            assert_covered(&admin, &after, "NOW - interval '1 hour'", end(reaches)).await;
            // Who does not say what is wanted leaves it, and so does a maintenance without manifests.
            let unsaid = DesiredSource {
                partition_by: None,
                ..source("shop")
            };
            assert_eq!(ensure_one(&warehouse, unsaid).await.changed, [""; 0]);
            assert_eq!(warehouse.maintain().await.unwrap().changed, [""; 0]);
            let recorded = value(&admin, "SELECT partition_by FROM trunkline.sources").await;
            assert_eq!(recorded, format!("{second:?}"));
        }
    }
}

#[tokio::test]
async fn what_was_cut_short_before_another_width_is_attached_with_its_range() {
    let database = Database::new().await;
    let warehouse = database.prepared().await;
    let admin = database.admin().await;
    let bucket = ensure_one(&warehouse, by(PartitionBy::Day)).await.bucket;
    let days = ranges(&admin, bucket).await;
    let [last, begin, _] = &days[days.len() - 1];
    admin
        .batch_execute(&format!(
            "ALTER TABLE trunkline_data.bucket_{bucket} DETACH PARTITION trunkline_data.{last}"
        ))
        .await
        .unwrap();
    ensure(&warehouse, &[by(PartitionBy::Month)]).await;
    let months = ranges(&admin, bucket).await;
    assert_covered(
        &admin,
        &months,
        "NOW - interval '1 day'",
        end(PartitionBy::Month),
    )
    .await;
    let next = &months[days.len() - 1];
    assert_eq!(&next[1], begin);
    let is_first = begin.contains("-01 ");
    assert_eq!(&next[0] == last, !is_first, "{next:?}");
}
