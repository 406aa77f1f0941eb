//! What one running ingester is: the parts that requests, the configuration and the admin listener
//! share.
//!
//! Invariant: a routing table becomes visible only after the committer knows its database, and
//! `/config` names its hash only after requests are routed by it.

use std::io;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trunkline_model::document::{Configuration, ConfigurationHash, Limits};
use trunkline_pgconn::{Target, TargetError};

use crate::commit::{Committer, DatabaseState};
use crate::config::Routing;
use crate::events::{ConfigurationLoaded, Events};
use crate::memory::{self, InFlight};
use crate::metrics::Metrics;
use crate::request::{Budget, Places};
use crate::scribe::Destination;
use crate::server::{Connections, Timeouts, descriptors_room};
use crate::shapes::Shapes;

/// Connections while no configuration sets a bound.
const MAX_CONNECTIONS: usize = 512;

/// Bytes in flight that allow for one connection more, where the configuration sets no other bound.
///
/// A connection takes at most half of it (`tests/tests/behaviour/connections.rs` measures), mostly for its read
/// buffer, and a size's memory has beside the bytes in flight three quarters as much again. So
/// connections fit even where each has grown to its largest.
const BYTES_PER_CONNECTION: usize = 128 << 10;

/// How many connections may be open, which the limit of open files bounds too.
fn max_connections(limits: Option<&Limits>) -> usize {
    let bound = limits.map_or(MAX_CONNECTIONS, |limits| {
        let default = limits.bytes_in_flight / BYTES_PER_CONNECTION;
        limits.max_connections.unwrap_or(default)
    });
    bound.min(descriptors_room())
}

/// The configuration as it is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigStatus {
    /// Names what requests are routed by, once there is one.
    pub(crate) hash: Option<ConfigurationHash>,
    /// Why what lies in the directory is not served.
    pub(crate) error: Option<String>,
}

/// Why a configuration that was read cannot be adopted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// Its database cannot be used.
    #[error("the configuration's database cannot be used: {0}")]
    Target(#[from] TargetError),
    /// The machine gives no more threads.
    #[error("cannot start a writer: {0}")]
    Writer(#[from] io::Error),
}

/// One running ingester.
#[derive(Debug)]
pub(crate) struct Instance {
    routing: ArcSwapOption<Routing>,
    committer: OnceLock<Committer>,
    status: watch::Sender<ConfigStatus>,
    stopping: CancellationToken,
    /// The senders' connections.
    pub(crate) connections: Arc<Connections>,
    /// Bytes that requests hold.
    pub(crate) budget: Arc<Budget>,
    /// Places at the work on large bodies.
    pub(crate) large: Places,
    /// Shapes of events on their way to the database.
    pub(crate) shapes: Shapes,
    /// The database that refusals and shapes are written to.
    pub(crate) destination: Destination,
    /// Where what happens is told.
    pub(crate) events: Events,
    /// How long connections and bodies may take.
    pub(crate) timeouts: Timeouts,
    /// For `/config`.
    pub(crate) pod_uid: Option<String>,
}

impl Instance {
    pub(crate) fn new(pod_uid: Option<String>, timeouts: Timeouts) -> Self {
        let metrics = Metrics::new();
        let bound = max_connections(None);
        Self {
            connections: Arc::new(Connections::new(bound, metrics.connections.clone())),
            routing: ArcSwapOption::empty(),
            committer: OnceLock::new(),
            status: watch::Sender::default(),
            stopping: CancellationToken::new(),
            budget: Arc::default(),
            large: Places::of_all(),
            shapes: Shapes::default(),
            destination: Destination::new(),
            events: Events::new(metrics),
            timeouts,
            pod_uid,
        }
    }

    /// What requests are routed by now.
    pub(crate) fn routing(&self) -> Option<Arc<Routing>> {
        self.routing.load_full()
    }

    /// The way to the database, once a configuration has named one.
    pub(crate) fn committer(&self) -> Option<&Committer> {
        self.committer.get()
    }

    /// What is known of the database, once a configuration has named one.
    pub(crate) fn database(&self) -> Option<DatabaseState> {
        self.committer()
            .map(|committer| committer.state().borrow().clone())
    }

    /// The configuration's status, now and as it changes.
    pub(crate) fn config_status(&self) -> watch::Receiver<ConfigStatus> {
        self.status.subscribe()
    }

    /// Cancelled when the ingester begins to stop.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(crate) fn begin_stop(&self) {
        self.stopping.cancel();
    }

    /// Why the ingester is not ready, or nothing.
    pub(crate) fn unready_reasons(&self) -> Vec<&'static str> {
        let reached = self
            .committer()
            .is_some_and(Committer::has_reached_database);
        let reasons = [
            (self.stopping.is_cancelled(), "stopping"),
            (
                self.routing.load().is_none(),
                "no configuration has been loaded",
            ),
            (!reached, "the database has not been reached yet"),
        ];
        reasons
            .into_iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, reason)| reason)
            .collect()
    }

    /// Serves a configuration. One that is served already changes nothing.
    pub(crate) fn adopt(&self, mut configuration: Configuration) -> Result<(), AdoptError> {
        if self.status.borrow().hash.as_ref() != Some(&configuration.hash) {
            let target = Target::parse(configuration.cluster.database_login())?;
            let writers = configuration.cluster.limits.writers;
            self.destination.follow(&target);
            match self.committer.get() {
                Some(committer) => committer.reconfigure(target, writers)?,
                None => {
                    let metrics = self.events.metrics().commits.clone();
                    // Only the thread that watches the configuration comes here.
                    let _ = self
                        .committer
                        .set(Committer::start(target, writers, metrics)?);
                }
            }
            let configured = configuration.cluster.limits.bytes_in_flight;
            let in_flight = InFlight::new(configured, memory::limit());
            configuration.cluster.limits.bytes_in_flight = in_flight.bytes;
            ConfigurationLoaded {
                configuration: &configuration,
                in_flight,
            }
            .emit(&self.events);
            self.connections
                .set_bound(max_connections(Some(&configuration.cluster.limits)));
            let before = self.routing();
            let routing = Routing::new(configuration, before.as_deref());
            self.routing.store(Some(Arc::new(routing)));
        }
        let hash = self
            .routing
            .load()
            .as_ref()
            .map(|routing| routing.hash.clone());
        self.status.send_replace(ConfigStatus { hash, error: None });
        Ok(())
    }

    /// Notes why what lies in the directory is not served. Returns whether that is news.
    pub(crate) fn refuse_config(&self, error: &str) -> bool {
        self.status.send_if_modified(|status| {
            let is_new = status.error.as_deref() != Some(error);
            status.error = Some(error.to_owned());
            is_new
        })
    }
}
