//! The way of a request: route, bound, read, verify, decode, encode, commit, answer.
//!
//! Invariants: 200 is said after the commit. Our own trouble is 503, never a 4xx. A request is
//! judged by the configuration that is served when its body has arrived, so that a secret that is
//! gone by then verifies nothing.

mod body;
mod budget;
mod headers;
mod prepare;
mod refusal;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use tokio::time::{Instant, timeout_at};

use crate::config::{Route, Routing};
use crate::events::{EventsCommitted, RequestAnswered, RequestRefused};
use crate::instance::Instance;
use body::ReadBody;
use prepare::Delivery;

pub(crate) use budget::Budget;
pub(crate) use refusal::Refusal;

/// Time from the end of a body to the answer. Senders wait 5 s or more; what is not committed by
/// then is told to come again while they still listen.
const ANSWER_DEADLINE: Duration = Duration::from_millis(3_500);

/// A body above this is verified, decoded and encoded (up to some 50 ms of work) off the threads
/// that serve the other connections.
const LARGE_BODY_BYTES: usize = 256 << 10;

/// Answers a request.
pub(crate) async fn answer(
    instance: &Instance,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let start = Instant::now();
    let mut route = None;
    let received = AssertUnwindSafe(receive(instance, request, &mut route))
        .catch_unwind()
        .await;
    let received = received.unwrap_or(Err(Refusal::Defect));
    let source = route.map_or_else(
        || Arc::from(""),
        |route: Arc<Route>| Arc::clone(&route.source),
    );
    let response = match received {
        Ok(()) => Response::new(Full::default()),
        Err(refusal) => {
            RequestRefused {
                source: &source,
                refusal: &refusal,
            }
            .emit(&instance.events);
            refusal.response()
        }
    };
    let status = response.status().as_u16();
    RequestAnswered {
        source: &source,
        status,
        duration: start.elapsed(),
    }
    .emit(&instance.events);
    response
}

/// Takes a request in; `Ok` when its rows are committed. `found` becomes its source as soon as it is
/// known.
async fn receive(
    instance: &Instance,
    request: Request<Incoming>,
    found: &mut Option<Arc<Route>>,
) -> Result<(), Refusal> {
    let (head, mut incoming) = request.into_parts();
    let body = match read(instance, &head, &mut incoming, found).await {
        Ok(body) => body,
        Err(refusal) => {
            body::discard(&head, &mut incoming, instance.routing().as_deref()).await;
            return Err(refusal);
        }
    };
    let deadline = Instant::now() + ANSWER_DEADLINE;
    // Once more: what is served may have changed while the body arrived.
    let (routing, route) = route(instance, &head)?;
    *found = Some(Arc::clone(&route));
    let delivery = Delivery::new(route, head.headers, body, routing.limits);
    let prepared = if delivery.body_bytes() > LARGE_BODY_BYTES {
        // A panic in there is a defect of ours, as one out here is.
        tokio::task::spawn_blocking(|| delivery.prepare())
            .await
            .map_err(|_| Refusal::Defect)??
    } else {
        delivery.prepare()?
    };
    let committer = instance.committer().ok_or(Refusal::NotConfigured)?;
    let commit = committer.commit(prepared.rows, prepared.reservation);
    timeout_at(deadline, commit)
        .await
        .map_err(|_| Refusal::CommitTimeout)??;
    if let Some(route) = found {
        EventsCommitted {
            source: &route.source,
            events: prepared.events,
            repaired: prepared.repaired,
        }
        .emit(&instance.events);
    }
    Ok(())
}

/// Reads the body of a request that is worth it.
async fn read(
    instance: &Instance,
    head: &Parts,
    incoming: &mut Incoming,
    found: &mut Option<Arc<Route>>,
) -> Result<ReadBody, Refusal> {
    let (routing, route) = route(instance, head)?;
    let settings = route.settings.as_ref().map(|_| ());
    let settings = settings.map_err(|reason| Refusal::SourceUnavailable(reason.clone()));
    *found = Some(route);
    if head.method != Method::POST {
        return Err(Refusal::Method);
    }
    if let Some(encoding) = head.headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Refusal::ContentEncoding(encoding.clone()));
    }
    settings?;
    body::read(incoming, &routing.limits, &instance.budget).await
}

/// The routing table and the source that a request is for.
fn route(instance: &Instance, head: &Parts) -> Result<(Arc<Routing>, Arc<Route>), Refusal> {
    let routing = instance.routing().ok_or(Refusal::NotConfigured)?;
    let path = head.uri.path();
    let route = routing
        .route(path)
        .ok_or_else(|| Refusal::UnknownPath(path.to_owned()))?;
    let route = Arc::clone(route);
    Ok((routing, route))
}
