//! One connection, from its first byte to its end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::Place;
use super::settings::Timeouts;
use super::stream::{Protocol, Watched, sniff};
use super::watch::Watch;
use super::{Context, HttpBody, HttpService};

/// Bound on the head of a request, its first line and its headers, and on reads from the socket: a
/// connection keeps a buffer of up to twice the size. hyper's own bound on their number
/// is 100 under HTTP/1.1; under HTTP/2 each counts 32 bytes more, so that there are fewer than 1,024.
const HEAD_BYTES: u16 = 32 << 10;

/// Requests that an HTTP/2 connection may have under way at once.
const MAX_STREAMS: u32 = 100;

/// Streams of a connection that its sender has reset before they were looked at, or that were reset
/// for an error of its, before the connection is closed (CVE-2023-44487 and its like).
const MAX_RESET_STREAMS: usize = 20;

/// Requests of an HTTP/2 connection that its sender may leave unfinished. Then the connection is asked
/// to end, and closed after as many more: each costs us more than it costs the sender.
const MAX_ABANDONED: u32 = 100;

/// What a peer may send of one HTTP/2 request, and of all of a connection, before we have taken it.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Bound on the answers that a peer under HTTP/2 does not read.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// How often a peer under HTTP/2 is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection stays open after a stop, with each answer asking for its end. It
/// catches requests that were under way when the stop came.
const LINGER: Duration = Duration::from_millis(250);

/// How long a connection may take to end that was asked to and has no request on it.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a connection until it ends, or, after a stop, until its requests are answered.
pub(super) async fn serve<B: HttpBody>(
    stream: TcpStream,
    place: Place,
    inner: impl HttpService<B>,
    context: Arc<Context>,
) {
    // Without it an answer may wait for the peer's delayed acknowledgement. A failure costs time only.
    let _ = stream.set_nodelay(true);
    let watch = &place.watch;
    let Some(tls) = &context.tls else {
        return converse(stream, watch, inner, &context).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let handshake = acceptor.accept(stream);
    if let Some(Ok(stream)) =
        patiently(handshake, context.timeouts.handshake, watch, &context).await
    {
        watch.handshake_done();
        converse(stream, watch, inner, &context).await;
    }
}

/// Waits for something without which there is no request yet; `None` when the connection has to end
/// before.
async fn patiently<T>(
    first: impl Future<Output = T>,
    patience: Duration,
    watch: &Watch,
    context: &Context,
) -> Option<T> {
    tokio::select! {
        biased;
        first = first => Some(first),
        () = sleep(patience) => None,
        () = watch.evicted() => None,
        () = context.cut.cancelled() => None,
        () = lingered(&context.stop) => None,
    }
}

/// Speaks HTTP over a stream until it ends.
async fn converse<S, B>(
    mut stream: S,
    watch: &Arc<Watch>,
    inner: impl HttpService<B>,
    context: &Context,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: HttpBody,
{
    let first = sniff(&mut stream);
    let first = patiently(first, context.timeouts.headers, watch, context).await;
    let Some(Ok((protocol, begun))) = first else {
        return;
    };
    let requests = Arc::clone(watch);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let in_flight = requests.begin_request();
        let is_multiplexed = request.version() == Version::HTTP_2;
        if is_multiplexed {
            name_host(&mut request);
        }
        let answer = inner.call(request);
        async move {
            let mut answer = answer.await;
            // A stream that is reset in the middle of a body is answered too, although to nobody.
            let is_late = |answer: &Response<B>| answer.status() == StatusCode::REQUEST_TIMEOUT;
            let is_finished = !answer.as_ref().is_ok_and(is_late);
            if in_flight.answered(is_finished)
                && !is_multiplexed
                && let Ok(answer) = &mut answer
            {
                answer
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
    });
    match protocol {
        Protocol::Http1 => {
            let stream = Watched::new(begun, stream, Some(Arc::clone(watch)));
            let connection = http1::Builder::new()
                // The watch has a deadline for the headers, without a timer for each request.
                .header_read_timeout(None)
                .max_buf_size(usize::from(HEAD_BYTES))
                .max_header_size(usize::from(HEAD_BYTES))
                .serve_connection(TokioIo::new(stream), service);
            drive(connection, protocol, watch, context).await;
        }
        Protocol::Http2 => {
            // Frames arrive on idle connections too, and are no request.
            let stream = Watched::new(begun, stream, None);
            let streams = Streams {
                tasks: context.tasks.clone(),
                cut: context.cut.clone(),
            };
            let connection = http2::Builder::new(streams)
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::from(HEAD_BYTES))
                .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
                .max_local_error_reset_streams(MAX_RESET_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_send_buf_size(SEND_BUFFER_BYTES)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            drive(connection, protocol, watch, context).await;
        }
    }
}

/// Gives a request of HTTP/2 the header that HTTP/1.1 calls its authority by (RFC 9113 §8.3.1), so
/// that what is stored and verified does not depend on the way in.
fn name_host(request: &mut Request<Incoming>) {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// Drives a connection to its end, which it is asked for when its time is over.
async fn drive(
    connection: impl GracefulConnection,
    protocol: Protocol,
    watch: &Watch,
    context: &Context,
) {
    let mut connection = pin!(connection);
    let patience = Patience {
        timeouts: &context.timeouts,
        abandoned: MAX_ABANDONED,
        least: Instant::now(),
    };
    let linger = async {
        match protocol {
            Protocol::Http1 => lingered(&context.stop).await,
            // The goodbye of HTTP/2 names the last request that is taken: none is lost.
            Protocol::Http2 => context.stop.cancelled().await,
        }
    };
    tokio::select! {
        biased;
        end = ended(connection.as_mut(), watch, &patience) => match (end, protocol) {
            (End::Closed, _) | (End::Overdue, Protocol::Http1) => return,
            (End::Overdue, Protocol::Http2) => {}
        },
        () = context.cut.cancelled() => return,
        () = watch.evicted() => {}
        () = linger => {}
    }
    connection.as_mut().graceful_shutdown();
    let patience = Patience {
        abandoned: 2 * MAX_ABANDONED,
        least: Instant::now() + GOODBYE,
        ..patience
    };
    tokio::select! {
        _ = ended(connection, watch, &patience) => {}
        () = context.cut.cancelled() => {}
    }
}

/// Ends a while after a stop.
async fn lingered(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LINGER).await;
}

/// What a connection is borne with.
struct Patience<'a> {
    timeouts: &'a Timeouts,
    /// Requests that its peer may leave unfinished.
    abandoned: u32,
    /// No deadline is earlier.
    least: Instant,
}

impl Patience<'_> {
    fn deadline(&self, watch: &Watch) -> Option<Instant> {
        let deadline = watch.deadline(self.timeouts)?;
        Some(deadline.max(self.least))
    }
}

/// Why a connection is driven no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has ended.
    Closed,
    /// It has been silent for too long, or left too much unfinished.
    Overdue,
}

/// Drives a connection until it ends or the patience with it does.
///
/// One alarm serves all deadlines. One that rings too early looks again; it is set anew only when a
/// deadline comes closer, which a request that arrives in one piece never makes it do.
async fn ended<C: GracefulConnection>(
    mut connection: Pin<&mut C>,
    watch: &Watch,
    patience: &Patience<'_>,
) -> End {
    let idle = patience.timeouts.idle;
    let mut alarm = pin!(sleep_until(Instant::now() + idle));
    poll_fn(|cx| {
        // Errors of a connection are its peer's: it went away, or it does not speak HTTP.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Closed);
        }
        if watch.abandoned() >= patience.abandoned {
            return Poll::Ready(End::Overdue);
        }
        if let Some(deadline) = patience.deadline(watch)
            && deadline < alarm.deadline()
        {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match patience.deadline(watch) {
                Some(deadline) if deadline <= now => return Poll::Ready(End::Overdue),
                Some(deadline) => alarm.as_mut().reset(deadline),
                None => alarm.as_mut().reset(now + idle),
            }
        }
        Poll::Pending
    })
    .await
}

/// Runs the requests of an HTTP/2 connection, each in a task that a stop waits for.
#[derive(Debug, Clone)]
struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                _ = stream => {}
                () = cut.cancelled() => {}
            }
        });
    }
}
