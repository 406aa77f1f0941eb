//! One connection's worth of requests, one after the other.

use std::sync::{self, Arc, MutexGuard, PoisonError};

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::engine::Observer;
use super::progress::Counters;
use super::request::{Outcome, SentRequest};
use super::tally::Tally;
use crate::http::{Target, post};
use crate::segment::HEADERS;

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
        let mut own = None;
        let connection = if request.is_alone {
            &mut own
        } else {
            &mut connection
        };
        let headers = headers_of(&request, &headers);
        let result = post(connection, &shared.target, headers, request.body.clone()).await;
        let outcome = Outcome::new(result, began.elapsed());
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

/// The headers of one request: those of all, and what makes the source accept it.
pub(crate) fn headers_of(request: &SentRequest, of_all: &HeaderMap) -> HeaderMap {
    let mut headers = of_all.clone();
    for (name, value) in &request.proof {
        headers.insert(name.clone(), value.clone());
    }
    headers
}

/// The headers that every request of the run has.
pub(crate) fn headers(target: &Target) -> HeaderMap {
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
