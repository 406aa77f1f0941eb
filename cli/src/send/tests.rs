//! The engine against a small receiver of its own.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline_model::verification::Verification;

use super::{Content, Failure, Plan, Sender, Target};
use crate::segment::sign;
use crate::signing::preset;

/// A request as the receiver saw it.
struct Received {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// What the receiver answers to its nth request, from 0 on.
type Answer = fn(usize) -> Response<Full<Bytes>>;

#[derive(Default)]
struct Seen {
    requests: Vec<Received>,
    connections: usize,
}

/// Serves until the test ends.
async fn receiver(answer: Answer) -> (SocketAddr, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            shared.lock().unwrap().connections += 1;
            let shared = Arc::clone(&shared);
            let service = service_fn(move |request: Request<Incoming>| {
                let shared = Arc::clone(&shared);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let mut seen = shared.lock().unwrap();
                    seen.requests.push(Received {
                        method: parts.method,
                        path: parts.uri.to_string(),
                        headers: parts.headers,
                        body,
                    });
                    Ok::<_, Infallible>(answer(seen.requests.len() - 1))
                }
            });
            connections.spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, seen)
}

fn respond(status: u16, text: &'static str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::from(text))
        .unwrap()
}

fn plan(address: SocketAddr) -> Plan {
    Plan {
        target: Target::parse(&format!("http://{address}/webhooks/default/segment")).unwrap(),
        verification: preset("segment", false, &["hush"]),
        count: 100,
        rate: None,
        concurrency: NonZeroUsize::new(4).unwrap(),
        new_connections: 0.0,
        batch: None,
        content: Content::Shop,
        seed: 1,
    }
}

#[tokio::test]
async fn every_event_arrives_once_signed_and_with_segments_headers() {
    let (address, seen) = receiver(|_| respond(200, "")).await;
    let report = Sender::new(plan(address))
        .run(CancellationToken::new())
        .await;
    assert!(report.is_success());
    assert_eq!(
        (report.events, report.requests, report.acknowledged),
        (100, 100, 100)
    );
    assert_eq!(report.statuses, [(200, 100)].into());
    assert!(report.latency_ms.unwrap().p50 > 0.0);

    let seen = seen.lock().unwrap();
    assert_eq!(seen.requests.len(), 100);
    assert!(
        seen.connections <= 4,
        "connections are not kept open: {}",
        seen.connections
    );
    let bodies: HashSet<&Bytes> = seen.requests.iter().map(|request| &request.body).collect();
    assert_eq!(bodies.len(), 100);
    for request in &seen.requests {
        assert_eq!(request.method, Method::POST);
        assert_eq!(request.path, "/webhooks/default/segment");
        assert_eq!(request.headers["x-signature"], sign(b"hush", &request.body));
        assert_eq!(request.headers["user-agent"], "Segment (Actions)");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["host"], address.to_string());
        assert_eq!(
            request.headers["content-length"],
            request.body.len().to_string()
        );
    }
}

#[tokio::test]
async fn where_nothing_is_verified_nothing_is_signed() {
    let (address, seen) = receiver(|_| respond(200, "")).await;
    let plan = Plan {
        verification: Verification::None,
        count: 1,
        ..plan(address)
    };
    Sender::new(plan).run(CancellationToken::new()).await;
    assert!(
        !seen.lock().unwrap().requests[0]
            .headers
            .contains_key("x-signature")
    );
}

#[tokio::test]
async fn statuses_are_counted_and_the_first_refusal_is_kept() {
    let (address, _) = receiver(|n| match n % 4 {
        0 => respond(503, "  service unavailable\n"),
        1 => respond(400, "failed to validate the request"),
        _ => respond(200, "not shown"),
    })
    .await;
    let plan = Plan {
        batch: NonZeroUsize::new(5),
        count: 200,
        ..plan(address)
    };
    let report = Sender::new(plan).run(CancellationToken::new()).await;
    assert_eq!(report.statuses, [(200, 20), (400, 10), (503, 10)].into());
    assert_eq!(
        (report.events, report.requests, report.acknowledged),
        (200, 40, 100)
    );
    assert_eq!(report.refusals.get(&503).unwrap(), "service unavailable");
    assert_eq!(
        report.refusals.get(&400).unwrap(),
        "failed to validate the request"
    );
    assert!(!report.refusals.contains_key(&200));
    assert!(!report.is_success());
}

#[tokio::test]
async fn a_receiver_that_closes_after_each_answer_costs_connections_and_no_errors() {
    let (address, seen) = receiver(|_| {
        let mut response = respond(200, "");
        response
            .headers_mut()
            .insert("connection", "close".parse().unwrap());
        response
    })
    .await;
    let report = Sender::new(plan(address))
        .run(CancellationToken::new())
        .await;
    assert_eq!(report.statuses, [(200, 100)].into());
    assert_eq!(seen.lock().unwrap().connections, 100);
}

#[tokio::test]
async fn a_share_of_the_requests_opens_connections_of_its_own() {
    let (address, seen) = receiver(|_| respond(200, "")).await;
    let plan = Plan {
        new_connections: 0.5,
        ..plan(address)
    };
    let report = Sender::new(plan).run(CancellationToken::new()).await;
    assert_eq!(report.statuses, [(200, 100)].into());
    let connections = seen.lock().unwrap().connections;
    assert!((51..=54).contains(&connections), "{connections}");
}

#[tokio::test]
async fn a_refused_connection_is_counted_apart_and_said_in_words() {
    let unused = crate::ReservedPort::any().unwrap();
    let report = Sender::new(plan(unused.address()))
        .run(CancellationToken::new())
        .await;
    assert_eq!((report.connection_errors, report.requests), (100, 100));
    assert!(report.statuses.is_empty() && report.latency_ms.is_none());
    let text = report.connection_error.unwrap();
    assert!(text.to_lowercase().contains("refused"), "{text}");
}

#[tokio::test]
async fn a_connection_that_breaks_before_its_answer_is_an_error_and_no_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let mut requests = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut start = [0; 4];
            if stream.read_exact(&mut start).await.is_ok() && &start == b"POST" {
                requests += 1;
            }
            if requests == 10 {
                break;
            }
        }
        requests
    });
    let plan = Plan {
        count: 10,
        concurrency: NonZeroUsize::MIN,
        ..plan(address)
    };
    let report = Sender::new(plan).run(CancellationToken::new()).await;
    assert_eq!((report.connection_errors, report.requests), (10, 10));
    assert_eq!(requests.await.unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_silent_receiver_is_given_up_after_ten_seconds() {
    // The kernel completes the handshake; nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = Plan {
        count: 3,
        ..plan(listener.local_addr().unwrap())
    };
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&outcomes);
    let sender =
        Sender::new(plan).observe(move |_, outcome| notes.lock().unwrap().push(outcome.clone()));
    let report = sender.run(CancellationToken::new()).await;
    assert_eq!((report.timeouts, report.connection_errors), (3, 0));
    for outcome in outcomes.lock().unwrap().iter() {
        assert_eq!(outcome.result, Err(Failure::Timeout));
        assert!(
            outcome.latency >= Duration::from_secs(10),
            "{:?}",
            outcome.latency
        );
    }
}

#[tokio::test]
async fn the_observer_learns_of_every_event_what_was_sent_and_answered() {
    let (address, seen) = receiver(|n| respond(if n == 3 { 503 } else { 200 }, "")).await;
    let notes = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&notes);
    let plan = Plan {
        batch: NonZeroUsize::new(10),
        ..plan(address)
    };
    let sender = Sender::new(plan).observe(move |request, outcome| {
        for event in request.events() {
            let json = String::from_utf8(request.json(event).to_vec()).unwrap();
            sink.lock()
                .unwrap()
                .push((event.message_id.clone(), json, outcome.is_acknowledged()));
        }
    });
    let counters = sender.counters();
    let report = sender.run(CancellationToken::new()).await;
    let notes = notes.lock().unwrap();
    assert_eq!(notes.len(), 100);
    let acknowledged = notes
        .iter()
        .filter(|(_, _, acknowledged)| *acknowledged)
        .count() as u64;
    assert_eq!(
        (acknowledged, report.acknowledged, counters.acknowledged()),
        (90, 90, 90)
    );
    assert_eq!(counters.events(), 100);
    let sent: String = {
        let seen = seen.lock().unwrap();
        seen.requests
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect()
    };
    for (message_id, json, _) in notes.iter() {
        assert!(json.contains(message_id) && sent.contains(json));
    }
}

#[tokio::test]
async fn a_rate_spreads_the_events_over_the_time_it_takes() {
    let (address, _) = receiver(|_| respond(200, "")).await;
    let plan = Plan {
        count: 31,
        rate: Some(100.0),
        ..plan(address)
    };
    let report = Sender::new(plan).run(CancellationToken::new()).await;
    // The last event is due 300 ms after the first.
    assert!(
        (0.3..5.0).contains(&report.elapsed_seconds),
        "{}",
        report.elapsed_seconds
    );
    assert_eq!(report.acknowledged, 31);
}

#[tokio::test]
async fn a_request_that_was_late_counts_from_when_it_was_due() {
    let (address, _) = receiver(|n| {
        if n == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        respond(200, "")
    })
    .await;
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&latencies);
    let plan = Plan {
        count: 3,
        rate: Some(1_000.0),
        concurrency: NonZeroUsize::MIN,
        ..plan(address)
    };
    Sender::new(plan)
        .observe(move |_, outcome| notes.lock().unwrap().push(outcome.latency))
        .run(CancellationToken::new())
        .await;
    // All three were due within 2 ms, and the first answer held the others back.
    for latency in latencies.lock().unwrap().iter() {
        assert!(*latency >= Duration::from_millis(290), "{latency:?}");
    }
}

#[tokio::test]
async fn a_stopped_run_reports_what_it_sent() {
    let (address, seen) = receiver(|_| respond(200, "")).await;
    let stop = CancellationToken::new();
    let plan = Plan {
        count: 1_000_000,
        rate: Some(1_000.0),
        ..plan(address)
    };
    let sender = Sender::new(plan);
    let counters = sender.counters();
    let canceller = stop.clone();
    tokio::spawn(async move {
        while counters.events() < 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        canceller.cancel();
    });
    let report = sender.run(stop).await;
    assert!(report.interrupted && report.is_success());
    assert!((20..10_000).contains(&report.events), "{}", report.events);
    assert_eq!(seen.lock().unwrap().requests.len() as u64, report.requests);
}
