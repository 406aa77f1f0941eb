//! The floor: the least that a receiver of signed events has to do, written as directly as it can
//! be. What the ingester takes longer than this is the price of everything else that it does.
//!
//! It verifies the signature, checks that the body is UTF-8 and JSON without an escaped NUL, writes
//! the rows that the ingester writes, and answers after COMMIT. It has no limits, no deadlines, no
//! reload, no metrics, no repair of JSON, and no way to go on after an error. Nobody should run it
//! for anything but a comparison.

mod rows;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use hmac::{Hmac, KeyInit};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha1::Sha1;
use tokio::net::{TcpListener, TcpStream};
use trunkline_bench::routes::Routes;

use writer::Queue;

/// The floor: the least that a receiver of signed events has to do. For comparisons only.
#[derive(Debug, Parser)]
struct Arguments {
    /// File with the database, the secret and the sources, as JSON
    #[arg(long, value_name = "FILE")]
    routes: PathBuf,
    /// Address that senders post to
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Threads that serve connections
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// Threads that write, each with one connection to the database
    #[arg(long, value_name = "N", default_value_t = 2)]
    writers: usize,
}

/// What every request needs.
struct Floor {
    routes: Routes,
    /// The keyed state, cloned for each signature.
    key: Hmac<Sha1>,
    queue: Arc<Queue>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let text = std::fs::read(&arguments.routes)
        .with_context(|| format!("reading {}", arguments.routes.display()))?;
    let routes: Routes = serde_json::from_slice(&text)
        .with_context(|| format!("parsing {}", arguments.routes.display()))?;
    let queue = Arc::new(Queue::default());
    for number in 0..arguments.writers {
        writer::start(number, &routes.database, &queue)?;
    }
    let floor = Floor {
        key: Hmac::new_from_slice(routes.secret.as_bytes())?,
        routes,
        queue,
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.workers)
        .enable_all()
        .build()?
        .block_on(serve(arguments.listen, Arc::new(floor)))
}

async fn serve(address: SocketAddr, floor: Arc<Floor>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}; choose another with --listen"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, Arc::clone(&floor)));
    }
}

async fn connection(stream: TcpStream, floor: Arc<Floor>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let floor = Arc::clone(&floor);
        async move { floor.answer(request).await }
    });
    // An error means that the sender has gone.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Floor {
    async fn answer(&self, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let status = match self.routes.sources.get(head.uri.path()) {
            None => StatusCode::NOT_FOUND,
            Some(source) => match rows::encode(&self.key, source, &head.headers, &body) {
                None => StatusCode::BAD_REQUEST,
                Some(rows) => match self.queue.commit(rows).await {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                },
            },
        };
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Ok(response)
    }
}
