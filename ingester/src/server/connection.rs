//! One connection, from its first byte to its end.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{HttpBody, HttpService};

/// How long a new connection may take to send the headers of its first request.
const FIRST_HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be idle between two requests, the headers of the next included.
///
/// Above the 60 s after which nginx and the clouds' load balancers close an idle connection of
/// theirs: whoever sends must be the one who closes, or a request meets a closed connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Bound on the headers of a request, and the size of reads from the socket.
const BUFFER_BYTES: usize = 64 << 10;

/// How long an idle connection stays open after a stop, with each answer asking for its end. It
/// catches requests that were under way when the stop came.
const LINGER: Duration = Duration::from_millis(250);

/// Serves a connection until it ends, or, after `stop`, until its request is answered.
pub(super) async fn serve<B: HttpBody>(
    stream: TcpStream,
    inner: impl HttpService<B>,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    // Without it an answer may wait for the peer's delayed acknowledgement. A failure costs time only.
    let _ = stream.set_nodelay(true);
    let has_begun = AtomicBool::new(false);
    let service = service_fn(|request| {
        has_begun.store(true, Ordering::Relaxed);
        let answer = inner.call(request);
        let stop = &stop;
        async move {
            let mut answer = answer.await;
            if let Ok(answer) = &mut answer
                && stop.is_cancelled()
            {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut silence = pin!(silence(&has_begun));
    // Errors of a connection are its peer's: it went away, or it does not speak HTTP.
    tokio::select! {
        biased;
        _ = &mut connection => return,
        () = &mut silence => return,
        () = cut.cancelled() => return,
        () = async { stop.cancelled().await; tokio::time::sleep(LINGER).await } => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = silence => {}
        () = cut.cancelled() => {}
    }
}

/// Ends when a new connection has not sent the headers of a request in time.
async fn silence(has_begun: &AtomicBool) {
    tokio::time::sleep(FIRST_HEADERS_TIMEOUT).await;
    if has_begun.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
