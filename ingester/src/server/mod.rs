//! Accepts connections and serves HTTP/1.1 on them.
//!
//! An accept loop of our own, because `axum::serve` sets no header timeout.
//!
//! Invariant: a stop answers every request whose connection the kernel had accepted, and closes no
//! connection with a request on it before its deadline.

mod connection;

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

/// Pause after a failed accept, which mostly means that the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    stop: CancellationToken,
    tasks: TaskTracker,
    cut: DropGuard,
}

/// What a service of a [`Server`] is.
pub(crate) trait HttpService<B>:
    Service<
        Request<Incoming>,
        Response = Response<B>,
        Error: Into<Box<dyn StdError + Send + Sync>>,
        Future: Send,
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
            Future: Send,
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
    pub(crate) fn start<B: HttpBody>(listener: Listener, service: impl HttpService<B>) -> Self {
        let stop = CancellationToken::new();
        let cut = CancellationToken::new();
        let tasks = TaskTracker::new();
        let acceptor = Acceptor {
            service,
            stop: stop.clone(),
            cut: cut.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(acceptor.run(listener.listener));
        Self {
            address: listener.address,
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
    stop: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl<S> Acceptor<S> {
    async fn run<B: HttpBody>(self, listener: TcpListener)
    where
        S: HttpService<B>,
    {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => break,
                () = self.cut.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => self.spawn(stream),
                // The connection ended before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.accept_backlog(listener);
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
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        self.tasks
            .spawn(connection::serve(stream, self.service.clone(), stop, cut));
    }
}
