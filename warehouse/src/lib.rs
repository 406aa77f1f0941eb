//! What lives in PostgreSQL: schemas, tables, partitions, views, roles and the catalog.
//!
//! ```text
//! trunkline.layout, trunkline.sources        versions and the catalog, the owner's
//! trunkline.events                           parent of all rows, LIST (bucket)
//!   trunkline_data.bucket_7                  one source, RANGE (received_at)
//!     trunkline_data.bucket_7_20261124       one day, UTC
//! trunkline.webhook_sources                  what a reader may read
//! segment.events                             view on bucket 7, for people
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
mod catalog;
mod claim;
mod connection;
mod error;
mod layout;
mod login;
mod partitions;
mod preflight;
mod roles;
mod sources;
mod step;
mod url;
mod views;

use trunkline_model::names::ClusterName;
use trunkline_model::secret::SecretBytes;

pub use error::{Error, ForeignRole, SourceError};
pub use preflight::{NotDurable, Preflight, durability};
pub use sources::{DesiredSource, Provisioned, SourceResults};
pub use step::{PendingReason, PendingStep, Report};

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
    /// Connects as the owner: `postgres://…`, or libpq's `key=value` form.
    ///
    /// # Errors
    /// Everything that keeps a login from working, each with its fix, and [`Error::TooOld`].
    pub async fn connect(url: &SecretBytes) -> Result<Self, Error> {
        let warehouse = Self {
            connection: connection::Connection::new(url::parse(url)?),
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

    /// Makes the ingesters' login, or gives it `password`, and returns the URL to connect with.
    /// None when the owner may not create roles: ingestion then uses the owner's URL.
    ///
    /// # Errors
    /// [`Error::UnusablePassword`], [`Error::ForeignRole`], [`Error::NoLayout`], the server's
    /// refusals.
    pub async fn ensure_ingest_login(
        &self,
        password: &SecretBytes,
    ) -> Result<Option<SecretBytes>, Error> {
        let lease = self.connection.lease().await?;
        layout::require(&lease).await?;
        let server = preflight::preflight(&lease).await?;
        let url = if server.can_create_roles {
            let owner = self.connection.config();
            Some(login::ensure(&lease, owner, &server, password).await?)
        } else {
            None
        };
        lease.give_back();
        Ok(url)
    }

    /// Gives each desired source storage, a view and a reader group. Sources of `cluster` that are
    /// not desired leave the list that readers see; their rows and schemas stay, and so does their
    /// claim on both. Sources of other clusters are untouched.
    ///
    /// # Errors
    /// One for all when the database is not reached or not prepared; else one for each source that
    /// cannot be served.
    pub async fn ensure_sources(
        &self,
        cluster: &ClusterName,
        desired: &[DesiredSource],
    ) -> Result<SourceResults, Error> {
        let lease = self.connection.lease().await?;
        layout::require(&lease).await?;
        let server = preflight::preflight(&lease).await?;
        let results = sources::ensure(&lease, &server, cluster, desired).await?;
        lease.give_back();
        Ok(results)
    }

    /// Makes the partitions of the coming days. To be called every hour; ingestion survives a week
    /// without.
    ///
    /// # Errors
    /// When the database is not reached or not prepared; the server's refusals.
    pub async fn maintain(&self) -> Result<Report, Error> {
        let lease = self.connection.lease().await?;
        layout::require(&lease).await?;
        let report = sources::maintain(&lease).await?;
        lease.give_back();
        Ok(report)
    }
}
