//! Accepts connections and serves HTTP/1.1 or HTTP/2 on them, whichever the sender begins with.
//!
//! An accept loop of our own, because `axum::serve` sets no header timeout.
//!
//! Invariant: a stop answers every request whose connection the kernel had accepted, and closes no
//! connection with a request on it before its deadline.

mod connection;
mod connections;
mod descriptors;
mod metrics;
mod refuse;
mod settings;
mod stream;
mod tls;
mod watch;

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

use refuse::Refuser;

pub(crate) use connections::Connections;
pub use descriptors::raise_descriptor_limit;
pub(crate) use descriptors::room as descriptors_room;
pub(crate) use metrics::{ConnectionMetrics, TlsMetrics};
pub use settings::Timeouts;
pub(crate) use tls::Tls;
pub use tls::{TlsError, TlsFiles};

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Least time between two log lines about failed accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A bound listener and the address that it got.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// A listener that is served. Dropping it cuts its connections.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    connections: Arc<Connections>,
    stop: CancellationToken,
    tasks: TaskTracker,
    cut: DropGuard,
}

/// What the connections of a listener share.
#[derive(Debug)]
struct Context {
    timeouts: Timeouts,
    tls: Option<Tls>,
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

/// What a service of a [`Server`] is.
pub(crate) trait HttpService<B>:
    Service<
        Request<Incoming>,
        Response = Response<B>,
        Error: Into<Box<dyn StdError + Send + Sync>>,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: Service<
            Request<Incoming>,
            Response = Response<B>,
            Error: Into<Box<dyn StdError + Send + Sync>>,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// What a body of an answer is.
pub(crate) trait HttpBody:
    Body<Data: Send, Error: Into<Box<dyn StdError + Send + Sync>>> + Send + 'static
{
}

impl<B> HttpBody for B where
    B: Body<Data: Send, Error: Into<Box<dyn StdError + Send + Sync>>> + Send + 'static
{
}

impl Server {
    /// Serves a listener in tasks of its own.
    pub(crate) fn start<B: HttpBody>(
        listener: Listener,
        connections: Arc<Connections>,
        timeouts: Timeouts,
        tls: Option<Tls>,
        service: impl HttpService<B>,
    ) -> Self {
        let stop = CancellationToken::new();
        let cut = CancellationToken::new();
        let tasks = TaskTracker::new();
        let acceptor = Acceptor {
            service,
            connections: Arc::clone(&connections),
            refuser: Refuser::new(),
            context: Arc::new(Context {
                timeouts,
                tls,
                stop: stop.clone(),
                cut: cut.clone(),
                tasks: tasks.clone(),
            }),
            tasks: tasks.clone(),
            last_warning: None,
        };
        tasks.spawn(acceptor.run(listener.listener));
        Self {
            address: listener.address,
            connections,
            stop,
            tasks,
            cut: cut.drop_guard(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts what waits, then no more, and waits for the requests to end. At the deadline those
    /// that have not are cut.
    pub(crate) async fn stop(self, deadline: Duration) {
        self.connections.begin_stop();
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                connections = self.tasks.len(),
                "connections cut at the end of the drain"
            );
            drop(self.cut);
            self.tasks.wait().await;
        }
    }
}

struct Acceptor<S> {
    service: S,
    connections: Arc<Connections>,
    refuser: Refuser,
    context: Arc<Context>,
    tasks: TaskTracker,
    /// When the log last had a line about a failed accept.
    last_warning: Option<Instant>,
}

impl<S> Acceptor<S> {
    async fn run<B: HttpBody>(mut self, listener: TcpListener)
    where
        S: HttpService<B>,
    {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.context.stop.cancelled() => break,
                () = self.context.cut.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => self.spawn(stream),
                // The connection ended before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => self.pause(&error).await,
            }
        }
        self.accept_backlog(listener);
    }

    /// Waits after a failed accept, which mostly means that a file descriptor is missing: the listener
    /// stays readable, and to try again at once would keep a core busy.
    async fn pause(&mut self, error: &io::Error) {
        let now = Instant::now();
        let since = self.last_warning.map(|last| now.duration_since(last));
        if since.is_none_or(|since| since >= WARNING_INTERVAL) {
            warn!(%error, "cannot accept a connection");
            self.last_warning = Some(now);
        }
        self.connections.evict(now);
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Takes over what the kernel has accepted in our name: closing the listener would reset it.
    fn accept_backlog<B: HttpBody>(&self, listener: TcpListener)
    where
        S: HttpService<B>,
    {
        // The standard library's listener is still non-blocking, so this ends.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.spawn(stream);
            }
        }
    }

    fn spawn<B: HttpBody>(&self, stream: TcpStream)
    where
        S: HttpService<B>,
    {
        let Some(place) = self.connections.admit(Instant::now()) else {
            // An answer that is readable under TLS would cost a handshake.
            if self.context.tls.is_none() {
                self.refuser.refuse(stream, &self.tasks);
            }
            return;
        };
        let (service, context) = (self.service.clone(), Arc::clone(&self.context));
        self.tasks
            .spawn(connection::serve(stream, place, service, context));
    }
}
