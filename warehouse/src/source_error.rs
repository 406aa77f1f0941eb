//! Why one source cannot be provided for, with the field to look at and the fix.

use std::fmt;
use std::num::NonZeroU16;

use trunkline_model::names::{SourceName, quote_identifier, quote_literal};

use crate::error::{Error, ForeignRole};
use crate::ranges::PartitionBy;

/// What holds for all sources that share a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How long rows stay, in days of 24 hours; None for ever.
    pub retention_days: Option<NonZeroU16>,
    /// How long a time each partition holds.
    pub partition_by: PartitionBy,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.partition_by.as_str();
        f.write_str("set spec.storage: Shared, ")?;
        match self.retention_days {
            Some(days) => write!(f, "retention: {days}d and partitionBy: {by}"),
            None => write!(f, "no retention and partitionBy: {by}"),
        }
    }
}

/// Why one source has no storage or no relation, while the others do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Someone else's schema.
    #[error(
        "schema {schema:?} exists and is not trunkline's; name another one in spec.schema, or, if \
         it is meant for this source, run: COMMENT ON SCHEMA {} IS {}",
        quote_identifier(schema),
        quote_literal(mark)
    )]
    ForeignSchema {
        /// The schema.
        schema: String,
        /// The comment that would make it this source's.
        mark: String,
    },
    /// Another source's schema, even if that source has been removed: its rows are in there.
    #[error("schema {schema:?} belongs to source {owner}; name another one in spec.schema")]
    SchemaTaken {
        /// The schema.
        schema: String,
        /// The source, as its mark or the catalog names it.
        owner: String,
    },
    /// The source was here before, under another schema.
    #[error(
        "the rows of source {name} are in schema {recorded:?}; set spec.schema to it, or give the \
         source another name"
    )]
    OtherSchema {
        /// The source.
        name: SourceName,
        /// Its schema.
        recorded: String,
    },
    /// Another cluster of the same database serves it.
    #[error(
        "source {name} is served by cluster {cluster}; remove it there first or correct \
         spec.clusterRef"
    )]
    OtherCluster {
        /// The source.
        name: SourceName,
        /// The cluster that serves it, as the catalog names it.
        cluster: String,
    },
    /// The source was here before, and its rows are stored in another way.
    #[error(
        "the rows of source {name} {}, or create another source",
        match stored {
            None => "have partitions of their own; set spec.storage: Dedicated".to_owned(),
            Some(stored) => format!("share their partitions; {stored}"),
        }
    )]
    OtherStorage {
        /// The source.
        name: SourceName,
        /// How the bucket is that it shares; None where it has one of its own.
        stored: Option<Stored>,
    },
    /// The source was deleted with its rows, which are not all gone yet.
    #[error(
        "the rows of the deleted source {name} are being deleted; it is created once they are gone"
    )]
    BeingDropped {
        /// The source.
        name: SourceName,
    },
    /// The bucket that it shares with others is not as it has to be.
    #[error("the partitions that the source shares: {reason}")]
    SharedBucket {
        /// What went wrong, with its causes.
        reason: String,
    },
    /// More buckets than a database carries well.
    #[error(
        "this database holds {limit} buckets, which is its limit (memory, locks and checkpoints \
         grow with each); let small sources share one with spec.storage: Shared, serve this one by \
         another WebhookCluster with a database of its own, or delete sources with deletionPolicy: \
         Delete"
    )]
    TooManySources {
        /// The limit.
        limit: usize,
    },
    /// The reader group's name is taken.
    #[error(transparent)]
    ForeignRole(#[from] ForeignRole),
    /// The database refused a step of this source.
    #[error(transparent)]
    Database(#[from] Box<Error>),
}
