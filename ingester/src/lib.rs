//! The data plane: signed webhooks in over HTTP, committed rows out to PostgreSQL.
//!
//! The way of a request is the way of the modules: [`server`] accepts its connection, [`request`]
//! routes, bounds, reads, verifies ([`verify`]), decodes ([`json`]), redacts ([`redact`]) and encodes
//! ([`rows`]) it, says what its repeats are told by ([`identity`]), and [`commit`] makes it durable. [`config`] decides what is served, and [`admin`] tells about it.
//! Beside them [`rejections`] writes down what was refused, and [`shapes`] what events look like.
//!
//! Invariant: a 200 is sent after the rows of its request were committed durably, and never else.

mod admin;
pub mod commit;
mod config;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identity;
mod instance;
pub mod json;
mod memory;
mod metrics;
mod poll;
mod redact;
mod rejections;
mod request;
pub mod rows;
mod scribe;
mod server;
mod shapes;
mod verify;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use trunkline_telemetry::metrics::Description;
use trunkline_telemetry::traces::Traces;

use config::ConfigWatch;
use instance::Instance;
use request::Trace;
use scribe::Scribe;
use server::{Connections, Server, Tls};

pub use server::{Timeouts, TlsError, TlsFiles, raise_descriptor_limit};

/// How long requests may take to end after a stop was asked for. Below the 30 s that Kubernetes
/// waits before it kills.
const DRAIN_DEADLINE: Duration = Duration::from_secs(25);

/// How long the last commits may take after that.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3);

/// How long an answer of the admin listener may take to end.
const ADMIN_DEADLINE: Duration = Duration::from_secs(1);

/// Bound of the connections of the admin listener: a kubelet, the operator's long polls, a few scrapers.
const ADMIN_CONNECTIONS: usize = 64;

/// Every metric of an ingester, for the reference page.
#[must_use]
pub fn metrics() -> Vec<Description> {
    metrics::Metrics::new().descriptions().to_vec()
}

/// What an ingester is started with; all else comes from the configuration directory.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that holds the configuration's files. It may be empty or absent at first.
    pub config_dir: PathBuf,
    /// Where senders post. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz`, `/metrics` and `/config` are served. Port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// What `/config` says as `podUid`, since addresses of pods are reused.
    pub pod_uid: Option<String>,
    /// Who refused, in the rows of `trunkline.rejections`: in Kubernetes the pod's name.
    pub name: Option<String>,
    /// Where the spans of requests go.
    pub traces: Traces,
    /// The certificate that senders see; without it they speak plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How long connections may take for what.
    pub timeouts: Timeouts,
}

/// Why an ingester cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}; choose another with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// The certificate cannot be shown.
    #[error("cannot serve TLS")]
    Tls(#[from] TlsError),
    /// The thread that watches the configuration cannot be started.
    #[error("cannot start the thread that watches the configuration directory")]
    Watch(#[source] io::Error),
}

/// A running ingester. Dropping it without [`Ingester::stop`] cuts its connections.
#[derive(Debug)]
pub struct Ingester {
    instance: Arc<Instance>,
    data: Server,
    admin: Server,
    config: ConfigWatch,
    recorder: Scribe,
    noter: Scribe,
    traces: Traces,
}

impl Ingester {
    /// Binds both listeners and begins to serve. What is in the configuration directory by then is
    /// loaded when this returns; without a configuration or a database, requests get 503.
    ///
    /// Needs a tokio runtime with time and I/O, best one of several threads.
    ///
    /// # Errors
    /// [`StartError`] when an address is taken, a certificate cannot be shown, or a thread cannot be
    /// started.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let data = listen(options.listen, "--listen").await?;
        let admin = listen(options.admin_listen, "--admin-listen").await?;
        let instance = Arc::new(Instance::new(options.pod_uid, options.timeouts));
        let start_tls = |files| Tls::start(files, Arc::clone(&instance));
        let tls = options.tls.map(start_tls).transpose()?;
        let config = ConfigWatch::start(options.config_dir, Arc::clone(&instance))
            .await
            .map_err(StartError::Watch)?;
        let recorder = rejections::record(&instance, options.name);
        let noter = shapes::note(&instance);
        let front = Arc::clone(&instance);
        let traces = options.traces.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, trace) = (Arc::clone(&front), Trace::begin(&traces, &request));
            async move { Ok::<_, Infallible>(request::answer(&front, request, trace).await) }
        });
        let timeouts = options.timeouts;
        let connections = Arc::clone(&instance.connections);
        let admin_connections = Arc::new(Connections::new(ADMIN_CONNECTIONS, Default::default()));
        let admin_service = admin::service(Arc::clone(&instance));
        Ok(Self {
            data: Server::start(data, connections, timeouts, tls, service),
            admin: Server::start(admin, admin_connections, timeouts, None, admin_service),
            instance,
            config,
            recorder,
            noter,
            traces: options.traces,
        })
    }

    /// The address that senders post to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.data.address()
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.address()
    }

    /// Stops: not ready from now on, every request that was accepted is answered (25 s at most),
    /// what waits is committed, what was refused or noted is written down, and the connections to the
    /// database end.
    pub async fn stop(self) {
        self.instance.begin_stop();
        self.config.stop();
        self.data.stop(DRAIN_DEADLINE).await;
        if let Some(committer) = self.instance.committer() {
            committer.stop(COMMIT_DEADLINE).await;
        }
        tokio::join!(
            self.recorder.stop(),
            self.noter.stop(),
            self.traces.stop(),
            self.admin.stop(ADMIN_DEADLINE)
        );
    }
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<server::Listener, StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(server::Listener { listener, address })
    };
    bound.await.map_err(|source| StartError::Listen {
        address,
        flag,
        source,
    })
}
