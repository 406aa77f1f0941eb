//! Who may have which schema and which storage. Pure: the rows of the catalog and the marks in, a
//! verdict out.
//!
//! Invariants:
//! - A schema, once a source's, is never another's, because the first one's rows stay in it.
//! - A source that comes back under its name and schema finds its bucket and its rows, and has to
//!   want them as they are stored: they are in one bucket, whose retention may be others' too.

use std::collections::{BTreeSet, HashMap};

use trunkline_model::names::{ClusterName, SourceName};

use crate::catalog::SourceRow;
use crate::partitions::Bucket;
use crate::shared::{Class, SharedBucket, Storage};
use crate::source_error::{SourceError, Stored};
use crate::sources::DesiredSource;

/// Buckets that one database carries: one for each source with storage of its own, and the shared
/// ones. Measured: at 1,000 with 35 leaves each rows/s are 0.64 of those of one bucket, a cold commit
/// passes 50 ms and a connection holds 76 MB; at 10,000 queries on the parent fail for want of locks.
pub(crate) const MAX_BUCKETS: usize = 1_000;

/// What every mark of a source's schema begins with.
const MARK_PREFIX: &str = "trunkline: source ";

/// What may be done about a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It has never been here; its name and schema are free.
    New,
    /// It has a place.
    Held(Held),
}

/// The place of a source that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The source's number in the catalog.
    pub(crate) number: i32,
    /// The bucket of its rows.
    pub(crate) bucket: Bucket,
}

/// What the catalog holds, by what is asked of it: there may be ten thousand sources.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) rows: Vec<SourceRow>,
    /// Those of which there is a bucket.
    classes: BTreeSet<Class>,
    /// Buckets that are one source's.
    own: usize,
    by_source: HashMap<String, usize>,
    by_schema: HashMap<String, usize>,
}

impl Holdings {
    pub(crate) fn new(rows: Vec<SourceRow>, shared: Vec<SharedBucket>) -> Self {
        let index = |key: fn(&SourceRow) -> &String| {
            let keys = rows.iter().map(key).cloned();
            keys.zip(0..).collect()
        };
        Self {
            own: rows.iter().filter(|row| row.shared.is_none()).count(),
            by_source: index(|row| &row.source),
            by_schema: index(|row| &row.schema),
            rows,
            classes: shared.into_iter().map(|shared| shared.class).collect(),
        }
    }

    fn of_source(&self, name: &str) -> Option<&SourceRow> {
        self.by_source.get(name).map(|&at| &self.rows[at])
    }

    fn of_schema(&self, schema: &str) -> Option<&SourceRow> {
        self.by_schema.get(schema).map(|&at| &self.rows[at])
    }

    /// Whether there is room for a source that is new.
    fn has_room(&self, cluster: &ClusterName, source: &DesiredSource) -> bool {
        let shares = source.is_shared() && self.classes.contains(&Class::of(cluster, source));
        shares || self.own + self.classes.len() < MAX_BUCKETS
    }

    /// Counts a source that is new.
    pub(crate) fn reserve(&mut self, cluster: &ClusterName, source: &DesiredSource) {
        if source.is_shared() {
            self.classes.insert(Class::of(cluster, source));
        } else {
            self.own += 1;
        }
    }
}

/// The comment on the schema of `source`.
pub(crate) fn mark(source: &SourceName) -> String {
    format!("{MARK_PREFIX}{source}")
}

/// Decides whether `source` of `cluster` may have `schema`.
///
/// `schema_mark` is None when there is no such schema, `Some(None)` when it has no comment.
pub(crate) fn judge(
    desired: &DesiredSource,
    cluster: &ClusterName,
    holdings: &Holdings,
    schema_mark: Option<&Option<String>>,
) -> Result<Claim, SourceError> {
    let source = &desired.name;
    let (name, schema_name) = (source.to_string(), desired.schema.as_str());
    let own = holdings.of_source(&name);
    if let Some(row) = own {
        if row.drop_rows {
            let name = source.clone();
            return Err(SourceError::BeingDropped { name });
        }
        if row.schema != schema_name {
            let recorded = row.schema.clone();
            return Err(SourceError::OtherSchema {
                name: source.clone(),
                recorded,
            });
        }
        if !row.removed && row.cluster != cluster.to_string() {
            let (name, cluster) = (source.clone(), row.cluster.clone());
            return Err(SourceError::OtherCluster { name, cluster });
        }
        refuse_another_storage(desired, row)?;
    }
    let of_schema = holdings.of_schema(schema_name);
    if let Some(other) = of_schema.filter(|row| row.source != name) {
        return Err(SourceError::SchemaTaken {
            schema: schema_name.to_owned(),
            owner: other.source.clone(),
        });
    }
    match schema_mark {
        None => {}
        Some(Some(found)) if *found == mark(source) => {}
        Some(found) => {
            let schema = schema_name.to_owned();
            return Err(
                match found
                    .as_deref()
                    .and_then(|text| text.strip_prefix(MARK_PREFIX))
                {
                    Some(owner) => SourceError::SchemaTaken {
                        schema,
                        owner: owner.to_owned(),
                    },
                    None => SourceError::ForeignSchema {
                        schema,
                        mark: mark(source),
                    },
                },
            );
        }
    }
    match own {
        Some(row) => Ok(Claim::Held(Held {
            number: row.number,
            bucket: row.bucket(),
        })),
        None if holdings.has_room(cluster, desired) => Ok(Claim::New),
        None => Err(SourceError::TooManySources { limit: MAX_BUCKETS }),
    }
}

/// Rows are not moved to another bucket, and a shared one keeps what it was made for.
fn refuse_another_storage(desired: &DesiredSource, row: &SourceRow) -> Result<(), SourceError> {
    let Some(storage) = desired.storage else {
        return Ok(());
    };
    let is_as_stored = match (storage, &row.shared) {
        (Storage::Dedicated, None) => true,
        (Storage::Shared, Some(SharedBucket { class, .. })) => {
            class.retention_days == desired.retention_days
                && desired
                    .partition_by
                    .is_none_or(|by| by == class.partition_by)
        }
        _ => false,
    };
    if is_as_stored {
        return Ok(());
    }
    let stored = row
        .shared
        .as_ref()
        .map(|SharedBucket { class, .. }| Stored {
            retention_days: class.retention_days,
            partition_by: class.partition_by,
        });
    Err(SourceError::OtherStorage {
        name: desired.name.clone(),
        stored,
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::ranges::PartitionBy;
    use crate::sources::fixtures::shop;

    fn row(number: i32, source: &str, cluster: &str, schema: &str, removed: bool) -> SourceRow {
        let owned = str::to_owned;
        SourceRow {
            number,
            source: owned(source),
            cluster: owned(cluster),
            schema: owned(schema),
            removed,
            partition_by: PartitionBy::Day,
            shared: None,
            drop_rows: false,
            tells_repeats: false,
            indexes: crate::indexes::LeafIndexes::default(),
        }
    }

    /// A bucket of a/main that sources share.
    fn shared(bucket: i32, retention_days: u16) -> SharedBucket {
        SharedBucket {
            bucket,
            class: Class {
                cluster: "a/main".to_owned(),
                retention_days: NonZeroU16::new(retention_days),
                partition_by: PartitionBy::Day,
            },
        }
    }

    fn judged(
        rows: &[SourceRow],
        schema: &str,
        mark: Option<Option<&str>>,
    ) -> Result<Claim, String> {
        let mark = mark.map(|mark| mark.map(str::to_owned));
        let holdings = Holdings::new(rows.to_vec(), Vec::new());
        judge_shop(&shop(schema), &holdings, mark.as_ref())
    }

    fn judge_shop(
        desired: &DesiredSource,
        holdings: &Holdings,
        mark: Option<&Option<String>>,
    ) -> Result<Claim, String> {
        let cluster = "a/main".parse().unwrap();
        judge(desired, &cluster, holdings, mark).map_err(|error| error.to_string())
    }

    /// A place of its own.
    fn held(number: i32) -> Claim {
        let bucket = Bucket {
            number,
            by: PartitionBy::Day,
            is_shared: false,
            tells_repeats: false,
            indexes: crate::indexes::LeafIndexes::default(),
        };
        Claim::Held(Held { number, bucket })
    }

    #[test]
    fn a_free_name_is_new_and_a_known_one_keeps_its_bucket() {
        let ours = Some(Some("trunkline: source a/shop"));
        assert_eq!(judged(&[], "shop", None), Ok(Claim::New));
        assert_eq!(judged(&[], "shop", ours), Ok(Claim::New));
        for removed in [false, true] {
            let rows = [row(4, "a/shop", "a/main", "shop", removed)];
            assert_eq!(judged(&rows, "shop", ours), Ok(held(4)));
            assert_eq!(judged(&rows, "shop", None), Ok(held(4)));
        }
        let moved = [row(4, "a/shop", "a/old", "shop", true)];
        assert_eq!(judged(&moved, "shop", ours), Ok(held(4)));
    }

    #[test]
    fn a_schema_that_is_not_the_sources_is_refused_with_the_field_and_the_fix() {
        let cases = [
            (
                vec![],
                Some(None),
                "name another one in spec.schema, or, if it is meant",
            ),
            (
                vec![],
                Some(Some("Sales figures")),
                "COMMENT ON SCHEMA \"shop\" IS 'trunkline: source a/shop'",
            ),
            (
                vec![],
                Some(Some("trunkline: source b/shop")),
                "\"shop\" belongs to source b/shop",
            ),
            (
                vec![row(1, "b/shop", "a/main", "shop", true)],
                None,
                "\"shop\" belongs to source b/shop",
            ),
            (
                vec![row(1, "a/shop", "a/main", "old", true)],
                None,
                "are in schema \"old\"",
            ),
            (
                vec![row(1, "a/shop", "a/two", "shop", false)],
                None,
                "is served by cluster a/two",
            ),
            (
                vec![row(1, "a/shop", "a/main", "shop", false)],
                Some(None),
                "is not trunkline's",
            ),
        ];
        for (rows, mark, expected) in cases {
            let error = judged(&rows, "shop", mark).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_database_has_a_limit_that_known_sources_do_not_meet() {
        let mut rows: Vec<_> = (0..1_000)
            .map(|n| row(n, &format!("a/s{n}"), "a/main", &format!("s{n}"), false))
            .collect();
        assert!(
            judged(&rows, "shop", None)
                .unwrap_err()
                .contains("holds 1000 buckets")
        );
        rows[7] = row(7, "a/shop", "a/main", "shop", false);
        assert_eq!(judged(&rows, "shop", None), Ok(held(7)));
    }

    #[test]
    fn sources_that_share_a_bucket_count_as_one() {
        let rows: Vec<_> = (0..999)
            .map(|n| row(n, &format!("a/s{n}"), "a/main", &format!("s{n}"), false))
            .collect();
        let mut sharing = DesiredSource {
            storage: Some(Storage::Shared),
            retention_days: NonZeroU16::new(30),
            partition_by: Some(PartitionBy::Day),
            ..shop("shop")
        };
        let judged =
            |holdings: &Holdings, desired: &DesiredSource| judge_shop(desired, holdings, None);
        let mut holdings = Holdings::new(rows.clone(), Vec::new());
        assert_eq!(judged(&holdings, &sharing), Ok(Claim::New));
        holdings.reserve(&"a/main".parse().unwrap(), &sharing);
        assert_eq!(
            judged(&holdings, &sharing),
            Ok(Claim::New),
            "no other bucket"
        );
        sharing.retention_days = NonZeroU16::new(31);
        let refused = judged(&holdings, &sharing).unwrap_err();
        assert!(refused.contains("storage: Shared"), "{refused}");

        let many = (2_000..12_000).map(|n| SourceRow {
            shared: Some(shared(1_000, 30)),
            ..row(n, &format!("a/t{n}"), "a/main", &format!("t{n}"), false)
        });
        let few = rows.into_iter().take(10).chain(many).collect();
        let holdings = Holdings::new(few, vec![shared(1_000, 30)]);
        assert_eq!(judged(&holdings, &shop("shop")), Ok(Claim::New));
    }

    #[test]
    fn a_known_source_stays_where_its_rows_are() {
        let dedicated = row(4, "a/shop", "a/main", "shop", true);
        let sharing = SourceRow {
            shared: Some(shared(3, 30)),
            ..dedicated.clone()
        };
        let wanting = |storage, days, by| DesiredSource {
            storage,
            retention_days: NonZeroU16::new(days),
            partition_by: by,
            ..shop("shop")
        };
        let judged = |row: &SourceRow, desired: &DesiredSource| {
            judge_shop(desired, &Holdings::new(vec![row.clone()], Vec::new()), None)
        };
        let day = Some(PartitionBy::Day);
        let own = Some(Storage::Dedicated);
        assert_eq!(judged(&dedicated, &wanting(own, 7, day)), Ok(held(4)));
        for desired in [
            wanting(Some(Storage::Shared), 30, day),
            wanting(Some(Storage::Shared), 30, None),
            // Nobody knows how it is to be.
            wanting(None, 0, None),
        ] {
            let Ok(Claim::Held(found)) = judged(&sharing, &desired) else {
                panic!("{desired:?}")
            };
            assert_eq!((found.number, found.bucket.number), (4, 3));
        }
        let stored = "set spec.storage: Shared, retention: 30d and partitionBy: Day";
        for (row, desired, expected) in [
            (
                &dedicated,
                wanting(Some(Storage::Shared), 30, day),
                "set spec.storage: Dedicated",
            ),
            (&sharing, wanting(own, 30, day), stored),
            (&sharing, wanting(Some(Storage::Shared), 31, day), stored),
            (&sharing, wanting(Some(Storage::Shared), 0, day), stored),
            (
                &sharing,
                wanting(Some(Storage::Shared), 30, Some(PartitionBy::Month)),
                stored,
            ),
        ] {
            let error = judged(row, &desired).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let dropping = SourceRow {
            drop_rows: true,
            tells_repeats: false,
            ..sharing
        };
        let error = judged(&dropping, &wanting(Some(Storage::Shared), 30, day)).unwrap_err();
        assert!(error.contains("are being deleted"), "{error}");
    }
}
