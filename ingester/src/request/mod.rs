//! The way of a request: route, bound, read, verify, decode, encode, commit, answer.
//!
//! Invariants: 200 is said after the commit. Our own trouble is 503 or 429, never another 4xx. A request is
//! judged by the configuration that is served when its body has arrived, so that a secret that is
//! gone by then verifies nothing.

mod body;
mod budget;
mod coding;
mod cors;
mod decode;
mod decompress;
mod form;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod headers;
mod large;
mod prepare;
mod rate;
mod refusal;
mod source_use;
mod trace;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::time::{Instant, timeout_at};

use crate::config::{Route, Routing};
use crate::events::{EventsCommitted, RequestAnswered, RequestRefused, UnverifiedStored};
use crate::instance::Instance;
use crate::shapes;
use body::ReadBody;
use budget::Bounds;
use coding::Coding;
use cors::CorsHeaders;
use prepare::Delivery;

pub(crate) use budget::Budget;
pub(crate) use large::Places;
pub(crate) use rate::RateMeter;
pub(crate) use refusal::Refusal;
pub(crate) use source_use::SourceUse;
pub(crate) use trace::Trace;

/// Time from the end of a body to the answer. Senders wait 5 s or more; what is not committed by
/// then is told to come again while they still listen.
const ANSWER_DEADLINE: Duration = Duration::from_millis(3_500);

/// Answers a request.
pub(crate) async fn answer(
    instance: &Instance,
    request: Request<Incoming>,
    trace: Trace,
) -> Response<Full<Bytes>> {
    let start = Instant::now();
    let mut found = Found::default();
    let received = AssertUnwindSafe(receive(instance, request, &mut found, &trace))
        .catch_unwind()
        .await;
    let received = received.unwrap_or(Err(Refusal::Defect));
    let source = found
        .route
        .map_or_else(|| Arc::from(""), |route| Arc::clone(&route.source));
    let mut response = match received {
        Ok(response) => response,
        Err(refusal) => {
            RequestRefused {
                source: &source,
                refusal: &refusal,
            }
            .emit(&instance.events);
            trace.refused(refusal.reason());
            refusal.response()
        }
    };
    found.cors.apply(&mut response);
    let status = response.status().as_u16();
    trace.end(&source, status);
    RequestAnswered {
        source: &source,
        status,
        duration: start.elapsed(),
    }
    .emit(&instance.events);
    response
}

/// What is known of a request, for its answer, whatever becomes of it.
#[derive(Default)]
struct Found {
    route: Option<Arc<Route>>,
    cors: CorsHeaders,
}

/// What a request turned out to be once it was read.
enum Read {
    /// A delivery.
    Body(ReadBody),
    /// Something that is answered without one.
    Answer(Response<Full<Bytes>>),
}

/// Takes a request in; for a delivery `Ok` when its rows are committed. `found` is filled in as soon
/// as its source is known.
async fn receive(
    instance: &Instance,
    request: Request<Incoming>,
    found: &mut Found,
    trace: &Trace,
) -> Result<Response<Full<Bytes>>, Refusal> {
    trace.phase("receive");
    let (head, mut incoming) = request.into_parts();
    let body = match read(instance, &head, &mut incoming, found).await {
        Ok(Read::Body(body)) => body,
        Ok(Read::Answer(response)) => return Ok(response),
        Err(refusal) => {
            body::discard(&head, &mut incoming, instance.routing().as_deref()).await;
            return Err(refusal);
        }
    };
    let deadline = Instant::now() + ANSWER_DEADLINE;
    // Once more: what is served may have changed while the body arrived.
    let (routing, route) = route(instance, &head)?;
    found.route = Some(Arc::clone(&route));
    let delivery = Delivery::new(route, head.headers, body, routing.limits, trace);
    let prepared = if delivery.is_large() {
        let in_use = Arc::clone(delivery.in_use());
        let turn = timeout_at(deadline, large::turn(&instance.large, &in_use.large))
            .await
            .map_err(|_| Refusal::Overloaded)?;
        let work = move || {
            let prepared = delivery.prepare();
            drop(turn);
            prepared
        };
        // A panic in there is a defect of ours, as one out here is.
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Refusal::Defect)??
    } else {
        delivery.prepare()?
    };
    trace.phase("commit");
    let committer = instance.committer().ok_or(Refusal::NotConfigured)?;
    let commit = committer.commit(prepared.rows, prepared.reservation);
    let committed = timeout_at(deadline, commit)
        .await
        .map_err(|_| Refusal::CommitTimeout)??;
    if let Some(route) = &found.route {
        if let Some(shapes) = &route.shapes {
            shapes.live_in(committer.era());
        }
        if let Some(news) = prepared.news {
            shapes::tell(instance, news);
        }
        EventsCommitted {
            source: &route.source,
            events: prepared.events,
            repaired: prepared.repaired,
            left_out: committed.left_out as u64,
        }
        .emit(&instance.events);
        if let Some(reason) = prepared.unverified {
            UnverifiedStored {
                source: &route.source,
                reason,
            }
            .emit(&instance.events);
        }
    }
    Ok(Response::new(Full::default()))
}

/// Reads the body of a request that is worth it.
async fn read(
    instance: &Instance,
    head: &Parts,
    incoming: &mut Incoming,
    found: &mut Found,
) -> Result<Read, Refusal> {
    body::check_framing(&head.headers)?;
    let (routing, route) = route(instance, head)?;
    let policy = &route.http;
    found.cors = CorsHeaders::of(policy, &head.headers);
    found.route = Some(Arc::clone(&route));
    if !policy.takes(head.method.as_str()) {
        return cors::preflight(policy, &found.cors, head)
            .map(Read::Answer)
            .ok_or_else(|| Refusal::Method(policy.allow()));
    }
    let coding = Coding::of(&head.headers)?;
    if let Err(reason) = &route.settings {
        return Err(Refusal::SourceUnavailable(reason.clone()));
    }
    let (limits, timeouts) = (&routing.limits, &instance.timeouts);
    let bounds = Bounds::new(limits, routing.sources.len());
    let reservation = instance.budget.open(&route.in_use, bounds);
    let headers = &head.headers;
    let body = body::read(incoming, headers, coding, limits, reservation, timeouts).await?;
    Ok(Read::Body(body))
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
