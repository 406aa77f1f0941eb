//! What lives in PostgreSQL: schemas, tables, partitions, views, roles and the catalog.
//!
//! ```text
//! trunkline.layout, .sources, .readers       versions, the catalog, rights given: the owner's
//! trunkline.own_views                        views that sources declare: the owner's
//! trunkline.shared_buckets                   buckets of several sources
//! trunkline.dropped_partitions               what retention has dropped
//! trunkline.frozen_partitions                what was vacuumed once its time was over
//! trunkline.relations, .relation_columns, .event_names, .schema_changes
//!                                            the analysts' relations, as they were decided
//! trunkline.events                           parent of all rows, LIST (bucket)
//!   trunkline_data.bucket_7                  one source, or several, RANGE (received_at)
//!     trunkline_data.bucket_7_20261124       one day (or hour, or month), UTC
//! trunkline.source_statistics                how much each source has stored
//! trunkline.webhook_sources                  what a reader may read
//! trunkline.rejections                       refused requests, by sampling
//! trunkline.shapes                           what was seen in events: names and kinds
//! trunkline.settled_partitions               how far repeats were looked for
//! trunkline.repeats                          which messages are there, for ingesters
//! trunkline.seen_keys, .unseen               keys that keep repeats from being stored, and the way to
//!                                            take them, for ingesters
//! trunkline.purges                           whose rows were deleted, by a hash: the owner's
//! segment.events                             view on bucket 7, for people
//! segment.tracks, .order_completed, …        views like Segment's tables; see `relations`
//! segment.orders                             view on bucket 7, as the source declares it
//! trunkline.timestamptz_or_null              behind the casts of such views
//! ```
//!
//! Every change is a step: data that says in SQL when it is needed and what to do. Building steps
//! is pure; `apply` alone runs them.
//!
//! Invariants:
//! - No change makes a COPY or a reader wait for longer than one lock timeout.
//! - A database in its desired state is read and never written.
//! - Two processes at once do the work of one.
//! - What is not marked as ours is not touched.

mod apply;
mod buckets;
mod casts;
mod catalog;
mod claim;
mod connection;
mod definition;
mod describe;
mod detach;
mod erase;
mod error;
mod events_columns;
mod found;
mod indexes;
mod ingest;
mod layout;
mod materialize;
mod own_views;
mod partitions;
mod preflight;
mod purge;
mod ranges;
mod reader_rights;
mod readers;
mod record;
mod rejections;
mod relations;
mod removal;
mod repeats;
mod retention;
mod roles;
mod seen_keys;
mod shapes;
mod shared;
mod source_error;
mod sources;
mod statistics;
mod step;
mod upkeep;
mod views;
mod work;

use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::{ClusterName, SourceName};
use trunkline_model::secret::SecretBytes;
use trunkline_pgconn::Target;

use partitions::Occasion;

pub use casts::CastType;
pub use describe::{EmptyDatabase, Statement, describe};
pub use erase::{Erased, Erasure, Identity, IdentityKind, Progress};
pub use error::{Error, ForeignRole};
pub use indexes::{Indexed, LeafIndex, LeafIndexes};
pub use ingest::Ingest;
pub use own_views::{OwnColumn, OwnOrder, OwnValue, OwnView, OwnViews};
pub use preflight::{FailoverLoses, NotDurable, Preflight, durability, failover};
pub use ranges::PartitionBy;
pub use relations::{
    ColumnOverride, ColumnType, News, Relator, SchemaChange, Shaping, ShownColumn, ShownRelation,
    WarehouseLayout,
};
pub use removal::Dropped;
pub use roles::Roles;
pub use shared::Storage;
pub use source_error::{SourceError, Stored};
pub use sources::{DesiredSource, Provisioned, SourceResults};
pub use statistics::{Census, Crowded, crowding};
pub use step::{PendingReason, PendingStep, Report};

/// The role that a connection URL logs in as.
///
/// # Errors
/// [`Error::Url`], also when the URL names no role.
pub fn role_of(login: impl Into<DatabaseLogin>) -> Result<String, Error> {
    Ok(Target::parse(login)?.user().to_owned())
}

/// The oldest major version of PostgreSQL that the layout works on.
pub const OLDEST_MAJOR: i32 = 14;

/// A database, as its owner.
///
/// It keeps one connection, opens another when that one breaks, and does one thing at a time.
/// Dropping the future of a call rolls back what it had not committed.
#[derive(Debug)]
pub struct Warehouse {
    connection: connection::Connection,
}

impl Warehouse {
    /// Connects as the owner: `postgres://…`, or libpq's `key=value` form, with its certificates.
    ///
    /// # Errors
    /// Everything that keeps a login from working, each with its fix, and [`Error::TooOld`].
    pub async fn connect(owner: impl Into<DatabaseLogin>) -> Result<Self, Error> {
        let warehouse = Self {
            connection: connection::Connection::new(Target::parse(owner)?),
        };
        let server = warehouse.preflight().await?;
        preflight::refuse_old(&server)?;
        Ok(warehouse)
    }

    /// What the server is and how safely it commits; see [`durability`].
    ///
    /// # Errors
    /// When the server is not reached.
    pub async fn preflight(&self) -> Result<Preflight, Error> {
        let lease = self.connection.lease().await?;
        let server = preflight::preflight(&lease).await?;
        lease.give_back();
        Ok(server)
    }

    /// The connection to a database that has the layout.
    async fn prepared(&self) -> Result<connection::Lease<'_>, Error> {
        let lease = self.connection.lease().await?;
        layout::require(&lease).await?;
        Ok(lease)
    }

    /// Creates the layout in an empty database, or brings an older one up to date. Nothing is taken
    /// away, so that programs of the version before go on.
    ///
    /// A pending column means that ingesters of this version cannot write yet.
    ///
    /// # Errors
    /// [`Error::NewerLayout`] and [`Error::ForeignSchema`] before anything is changed;
    /// [`Error::ReadOnly`] on a standby; the server's refusals.
    pub async fn ensure_layout(&self) -> Result<Report, Error> {
        let lease = self.connection.lease().await?;
        let server = preflight::preflight(&lease).await?;
        preflight::refuse_standby(&server)?;
        let report = layout::ensure(&lease, &server).await?;
        lease.give_back();
        Ok(report)
    }

    /// Brings the ingesters' role to what it needs, and tells how they log in. Without a wish,
    /// [`Roles::Managed`] where the owner may create roles, else [`Roles::Owner`].
    ///
    /// `password` is that of our login, with [`Roles::Managed`]. The server gets a verifier of it.
    ///
    /// # Errors
    /// [`Error::NeedsCreateRole`], [`Error::NoIngestRole`], [`Error::UnusablePassword`],
    /// [`Error::ForeignRole`], [`Error::NoLayout`], the server's refusals.
    pub async fn ensure_ingest(
        &self,
        roles: Option<Roles>,
        password: &SecretBytes,
    ) -> Result<Ingest, Error> {
        let lease = self.connection.lease().await?;
        let (server, ()) = tokio::try_join!(
            biased;
            preflight::preflight(&lease),
            layout::require(&lease)
        )?;
        let owner = self.connection.target();
        let ingest = ingest::ensure(&lease, owner, &server, roles.as_ref(), password).await?;
        lease.give_back();
        Ok(ingest)
    }

    /// Gives each desired source storage, a view and its readers. Sources of `cluster` that are not
    /// desired leave the list that readers see; their rows and schemas stay, and so does their claim
    /// on both. Sources of other clusters are untouched.
    ///
    /// Sources that are in `kept` and not desired stay in that list and get their partitions, while
    /// all else of them stays as it is: something serves them, and nobody can say how they are to be.
    ///
    /// `roles` is what was given to [`Warehouse::ensure_ingest`]: with [`Roles::Managed`] each
    /// source has a group of readers, else they are granted their rights one by one.
    ///
    /// # Errors
    /// One for all when the database is not reached or not prepared, and
    /// [`Error::NeedsCreateRole`]; else one for each source that cannot be served.
    pub async fn ensure_sources(
        &self,
        cluster: &ClusterName,
        desired: &[DesiredSource],
        kept: &[SourceName],
        roles: Option<&Roles>,
    ) -> Result<SourceResults, Error> {
        let lease = self.connection.lease().await?;
        let (server, now, ()) = tokio::try_join!(
            biased;
            preflight::preflight(&lease),
            catalog::now(&lease),
            layout::require(&lease)
        )?;
        let place = found::Place {
            cluster,
            database: &server.database,
            roles: &Roles::in_effect(roles, &server)?,
            occasion: Occasion {
                now,
                has_lz4: server.has_lz4,
            },
        };
        // In a box, since it is large and callers hold it within futures of their own.
        let results = Box::pin(sources::ensure(&lease, place, desired, kept)).await?;
        lease.give_back();
        Ok(results)
    }

    /// Drops a source for good: its schema, its rows, its group of readers, its claim on its name
    /// and schema. To be called once no ingester routes it any more; a row that comes later is
    /// refused, and with it every other row of its commit.
    ///
    /// Whatever ends it early, calling it again goes on from there. It can wait some ten seconds
    /// for transactions that were using the parent, and blocks nobody meanwhile. A source that
    /// `cluster` does not hold is left alone.
    ///
    /// The rows of a source that shares a bucket are out of everybody's sight afterwards, and
    /// deleted by [`Warehouse::purge`]. Until then the source cannot come back.
    ///
    /// # Errors
    /// [`Error::Dependants`] when others have built on the source's relations;
    /// [`Error::Locked`] when others use them for long; [`Error::NoLayout`]; the server's refusals.
    pub async fn drop_source(
        &self,
        cluster: &ClusterName,
        source: &SourceName,
    ) -> Result<Dropped, Error> {
        let lease = self.connection.lease().await?;
        let (server, ()) = tokio::try_join!(
            biased;
            preflight::preflight(&lease),
            layout::require(&lease)
        )?;
        let owner = self.connection.target();
        let dropped = removal::drop_source(&lease, owner, &server, cluster, source).await?;
        lease.give_back();
        Ok(dropped)
    }

    /// Deletes the rows of sources of `cluster` that [`Warehouse::drop_source`] has left in shared
    /// buckets, a thousand at a time, and forgets each source whose rows are gone. The report names
    /// each.
    ///
    /// Nobody waits for it. It takes as long as it takes, and may be dropped at any time: the next
    /// call goes on from there.
    ///
    /// # Errors
    /// When the database is not reached or not prepared. The first of the server's refusals, after
    /// all other sources have been looked at.
    pub async fn purge(&self, cluster: &ClusterName) -> Result<Report, Error> {
        let lease = self.prepared().await?;
        let report = purge::purge(&lease, cluster).await?;
        lease.give_back();
        Ok(report)
    }

    /// Deletes the rows of some identities, in portions that are committed one by one, and writes
    /// down in `trunkline.purges` that it did. Nobody waits for it.
    ///
    /// `progress` is told after each portion. It takes as long as reading the chosen sources, and may
    /// be dropped at any time: what has been deleted by then is gone, and another call deletes the
    /// rest. A row that is committed while it runs may stay.
    ///
    /// # Errors
    /// [`Error::UnknownSource`] before anything is changed; when the database is not reached or not
    /// prepared; the server's refusals.
    pub async fn erase(
        &self,
        erasure: &Erasure,
        progress: impl FnMut(Progress<'_>),
    ) -> Result<Vec<Erased>, Error> {
        let lease = self.prepared().await?;
        let erased = erase::erase(&lease, erasure, progress).await?;
        lease.give_back();
        Ok(erased)
    }

    /// Whom the stored `delete` events of a source name, each once: by `user_id`, or where an event
    /// has none, by `anonymous_id`. Events whose verification failed are left out.
    ///
    /// # Errors
    /// As [`Warehouse::erase`].
    pub async fn deletions(
        &self,
        source: &SourceName,
        progress: impl FnMut(Progress<'_>),
    ) -> Result<Vec<Identity>, Error> {
        let lease = self.prepared().await?;
        let identities = erase::deletions(&lease, source, progress).await?;
        lease.give_back();
        Ok(identities)
    }

    /// Drops the partitions of the `desired` sources of `cluster` whose whole range is older than
    /// the source's retention, the oldest first and one at a time. The report names each. Sources
    /// that share a bucket share the retention that it was made with.
    ///
    /// Nobody waits for it, and it waits some ten seconds at most for transactions that were using
    /// a source; a partition that it gives up on for that is pending. Its rows may be out of sight
    /// by then, and the next call goes on with it, whatever the retention is by then.
    ///
    /// # Errors
    /// When the database is not reached or not prepared. The first of the server's refusals, after
    /// all others have been dropped.
    pub async fn drop_expired(
        &self,
        cluster: &ClusterName,
        desired: &[DesiredSource],
    ) -> Result<Report, Error> {
        let lease = self.prepared().await?;
        let owner = self.connection.target();
        let report = retention::drop_expired(&lease, owner, cluster, desired).await?;
        lease.give_back();
        Ok(report)
    }

    /// How much the database has to carry; see [`crowding`].
    ///
    /// # Errors
    /// When the database is not reached or not prepared.
    pub async fn census(&self) -> Result<Census, Error> {
        let lease = self.prepared().await?;
        let census = statistics::census(&lease).await?;
        lease.give_back();
        Ok(census)
    }

    /// Marks repeats that were not seen when they were stored, freezes and analyzes each partition of
    /// the database once, when its time is over, and analyzes each source's table once a day, which
    /// PostgreSQL does not do by itself. The report names each.
    ///
    /// Nobody waits for it. It has a connection of its own, takes as long as it takes, and may be
    /// dropped at any time: what it runs then is cancelled, and the next call goes on from there.
    ///
    /// # Errors
    /// When the database is not reached or not prepared. The first of the server's refusals, after
    /// everything else has been done.
    pub async fn upkeep(&self) -> Result<Report, Error> {
        let lease = self.prepared().await?;
        let report = upkeep::upkeep(&lease, self.connection.target()).await?;
        lease.give_back();
        Ok(report)
    }

    /// Makes the indexes that sources of `cluster` ask for on partitions that are there already, and
    /// drops those that they ask for no more: one at a time, the newest partition first. The report
    /// names each.
    ///
    /// Nobody waits for it. It has a connection of its own, and begins nothing more after five
    /// minutes; one index may take longer. It may be dropped at any time: what it runs then is
    /// cancelled, and the next call makes that index anew.
    ///
    /// # Errors
    /// When the database is not reached or not prepared. What one source is refused is its trouble.
    pub async fn keep_indexes(&self, cluster: &ClusterName) -> Result<Indexed, Error> {
        let lease = self.prepared().await?;
        let indexed = indexes::keep(&lease, self.connection.target(), cluster).await?;
        lease.give_back();
        Ok(indexed)
    }

    /// Deletes from `trunkline.rejections` what is older than a week, and of each source what is
    /// more than 2,000 rows. To be called every hour or so.
    ///
    /// # Errors
    /// When the database is not reached or not prepared; the server's refusals.
    pub async fn prune_rejections(&self) -> Result<Report, Error> {
        let lease = self.prepared().await?;
        let report = rejections::prune(&lease).await?;
        lease.give_back();
        Ok(report)
    }

    /// Makes the partitions of the time to come. To be called every hour; ingestion survives two
    /// days without, and a week where partitions hold a day.
    ///
    /// # Errors
    /// When the database is not reached or not prepared; the server's refusals.
    pub async fn maintain(&self) -> Result<Report, Error> {
        let lease = self.connection.lease().await?;
        let (server, now, ()) = tokio::try_join!(
            biased;
            preflight::preflight(&lease),
            catalog::now(&lease),
            layout::require(&lease)
        )?;
        let has_lz4 = server.has_lz4;
        let report = buckets::maintain(&lease, Occasion { now, has_lz4 }).await?;
        lease.give_back();
        Ok(report)
    }
}
