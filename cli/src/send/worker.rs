//! One connection and the requests that go over it, one after the other.

use std::sync::{self, Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::engine::Observer;
use super::plan::Target;
use super::progress::Counters;
use super::request::{Failure, Outcome, SentRequest};
use super::tally::Tally;
use crate::segment::{HEADERS, SIGNATURE_HEADER};

/// How long Segment waits for an answer, connection included.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read; a receiver's answers are a line.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;

/// How much of a refusal is shown.
const REFUSAL_CHARS: usize = 200;

/// What the workers of a run share.
pub(super) struct Shared {
    pub(super) target: Target,
    /// Taken from by one worker at a time, so that a slow answer holds back no other request.
    pub(super) queue: Mutex<mpsc::Receiver<SentRequest>>,
    pub(super) start: Instant,
    pub(super) stop: CancellationToken,
    pub(super) counters: Arc<Counters>,
    /// One for all, since a histogram for each of hundreds of workers would not fit a cache.
    pub(super) tally: sync::Mutex<Tally>,
    pub(super) observer: Option<Arc<Observer>>,
}

impl Shared {
    /// The tally, also after an observer's panic: nothing leaves it half counted.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends until the queue ends or the run is stopped; a request under way is always waited for.
pub(super) async fn work(shared: Arc<Shared>) {
    let headers = headers(&shared.target);
    let mut connection = None;
    loop {
        let next = async { shared.queue.lock().await.recv().await };
        let request = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            request = next => request,
        };
        let Some(request) = request else { break };
        let Some(began) = wait_until_due(&shared, &request).await else {
            break;
        };
        let exchange = exchange(&mut connection, &shared.target, &headers, &request);
        let (result, refusal) = match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(Ok((status, refusal))) => (Ok(status), refusal),
            Ok(Err(failure)) => (Err(failure), String::new()),
            Err(_) => (Err(Failure::Timeout), String::new()),
        };
        if result.is_err() {
            // Whatever state it is in, it is not used again.
            connection = None;
        }
        let outcome = Outcome {
            result,
            latency: began.elapsed(),
            refusal,
        };
        shared.counters.count(&request, &outcome);
        shared.tally().count(&request, &outcome);
        if let Some(observer) = &shared.observer {
            observer(&request, &outcome);
        }
    }
}

/// Waits for the scheduled time and says from when the latency counts: from now when it was waited
/// for (a timer that wakes late is not the receiver's doing), else from the time that was missed
/// because earlier answers took too long. None when the run was stopped meanwhile.
async fn wait_until_due(shared: &Shared, request: &SentRequest) -> Option<Instant> {
    let Some(due) = request.due.map(|due| shared.start + due) else {
        return Some(Instant::now());
    };
    if due <= Instant::now() {
        return Some(due);
    }
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        () = tokio::time::sleep_until(due) => Some(Instant::now()),
    }
}

/// The headers that every request of the run has.
fn headers(target: &Target) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // An authority out of a parsed URL is a valid header value.
    if let Ok(host) = HeaderValue::from_str(&target.authority) {
        headers.insert(HOST, host);
    }
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

/// An open connection and the task that drives it, which ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self, Failure> {
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(broken)?;
        // A request is written in one piece; waiting for more to fill a packet only costs time.
        stream.set_nodelay(true).map_err(broken)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let driver = tokio::spawn(async move {
            // The error also reaches the request that was under way, and is counted there.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }
}

/// Sends one request and reads its answer: the status, and for a refusal the text.
async fn exchange(
    connection: &mut Option<Connection>,
    target: &Target,
    headers: &HeaderMap,
    request: &SentRequest,
) -> Result<(u16, String), Failure> {
    // The receiver may close a connection that has been idle; that is no error.
    if let Some(open) = connection.as_mut()
        && open.sender.ready().await.is_err()
    {
        *connection = None;
    }
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(target).await?),
    };
    let mut message = Request::new(Full::new(request.body.clone()));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = target.path.clone();
    *message.headers_mut() = headers.clone();
    if let Some(signature) = &request.signature {
        message
            .headers_mut()
            .insert(SIGNATURE_HEADER, signature.clone());
    }
    let answer = open.sender.send_request(message).await.map_err(broken)?;
    let status = answer.status();
    let text = read(answer).await;
    if text.is_none() {
        // The status has been said and counts; the rest of the answer stays unread.
        *connection = None;
    }
    let refusal = if status.is_success() { None } else { text };
    Ok((status.as_u16(), refusal.unwrap_or_default()))
}

/// The text of an answer, shortened; none when it breaks off or is unreasonably long.
async fn read(answer: Response<Incoming>) -> Option<String> {
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES)
        .collect()
        .await
        .ok()?
        .to_bytes();
    let text = String::from_utf8_lossy(&body);
    Some(text.trim().chars().take(REFUSAL_CHARS).collect())
}

/// A failure with its whole chain of causes: hyper's own message seldom says enough.
fn broken(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    Failure::Connection(text)
}
