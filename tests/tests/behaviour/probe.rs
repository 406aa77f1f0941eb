//! The account of `trunkline probe` is right: when nothing is lost, and when something on the way
//! loses, repeats or refuses requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trunkline_cli::probe::{Account, Options, Probe, RowsAt};
use trunkline_cli::send::Target;
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{Behaviour, Client, ConfigDir, Proxy, Station};

/// The limit of a body that every size has.
const BODY_LIMIT: usize = 6 << 20;
/// The relation of the station's source.
const RELATION: &str = "segment.events";

/// What something between the sender and the ingester does with its nth request, from 1 on.
type Fault = fn(usize) -> Middle;

#[derive(Clone, Copy)]
enum Middle {
    /// Passes it on.
    Pass,
    /// Says 200 and keeps it.
    Swallow,
    /// Passes it on twice.
    Repeat,
    /// Answers itself, as a proxy does.
    Answer(u16, &'static str),
}

/// Starts something that sits before the ingester at `upstream`.
async fn in_between(upstream: SocketAddr, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let number = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = Arc::clone(&number);
            let service = service_fn(move |request: Request<Incoming>| {
                let number = number.fetch_add(1, Ordering::Relaxed) + 1;
                async move { Ok::<_, Infallible>(treat(upstream, fault(number), request).await) }
            });
            tokio::spawn(async move {
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn treat(
    upstream: SocketAddr,
    middle: Middle,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path();
    match middle {
        Middle::Swallow => answer(200, ""),
        Middle::Answer(status, text) => answer(status, text),
        Middle::Pass => pass(upstream, path, &head.headers, body).await,
        Middle::Repeat => {
            pass(upstream, path, &head.headers, body.clone()).await;
            pass(upstream, path, &head.headers, body).await
        }
    }
}

fn answer(status: u16, text: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::from(text.to_owned()))
        .unwrap()
}

async fn pass(
    upstream: SocketAddr,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Full<Bytes>> {
    let signature = headers["x-signature"].to_str().unwrap();
    let mut client = Client::new(upstream);
    let headers = [("x-signature", signature)];
    let passed = client.post(path, &headers, body).await.unwrap();
    answer(passed.status, &passed.text)
}

/// A probe of the station's source by way of `address`: a second at 100 events a second.
fn options(station: &Station, address: SocketAddr) -> Options {
    let url = format!("http://{address}{}", station.path());
    Options {
        target: Target::parse(&url).unwrap(),
        verification: station.sources[0].settings.verification.clone(),
        splits_arrays: true,
        first_request: BODY_LIMIT,
        duration: Duration::from_secs(1),
        rate: 100.0,
        concurrency: NonZeroUsize::new(16).unwrap(),
        new_connections: 0.5,
        rows: Some(RowsAt {
            login: SecretBytes::new(station.database.url()).into(),
            relation: station.sources[0]
                .name
                .default_schema(&ConfigDir::cluster())
                .unwrap()
                .events(),
        }),
        seed: trunkline_tests::seed(),
    }
}

async fn probe(options: Options) -> Account {
    let account = Probe::new(options)
        .run(CancellationToken::new())
        .await
        .unwrap();
    println!("{account:?}");
    account
}

async fn probe_through(fault: Fault) -> Account {
    let station = Station::segment().await;
    let address = in_between(station.ingester.address(), fault).await;
    probe(options(&station, address)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_lost_is_accounted_for_to_the_last_event() {
    let station = Station::segment().await;
    let account = probe(options(&station, station.ingester.address())).await;
    assert!(account.is_success());
    let first = account.first_request.as_ref().unwrap();
    assert_eq!((first.bytes, first.status), (BODY_LIMIT, Some(200)));
    let rows = account.rows.as_ref().unwrap();
    assert_eq!(account.sent, 100 + first.events as u64);
    assert_eq!((rows.found, rows.missing), (account.sent, 0));
    assert_eq!((rows.duplicated, rows.late, rows.unacknowledged), (0, 0, 0));
    assert_eq!(account.statuses, [(200, 101)].into());
    assert!(account.longest_gap_ms >= 9.0 && account.latency_ms.is_some());

    let sql = format!(
        "SELECT count(*) FROM {RELATION} WHERE event = 'Trunkline Probe' AND message_id LIKE '{}%'",
        account.message_id_prefix
    );
    assert_eq!(station.database.count(&sql).await, account.sent as i64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_and_not_there_is_missing() {
    let account = probe_through(|number| match number {
        7 | 20 => Middle::Swallow,
        _ => Middle::Pass,
    })
    .await;
    let rows = account.rows.as_ref().unwrap();
    assert_eq!(account.acknowledged, account.sent);
    assert_eq!((rows.missing, rows.found), (2, account.sent - 2));
    assert_eq!(rows.missing_ids.len(), 2);
    assert!(!account.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_repeated_on_the_way_is_duplicated() {
    let account = probe_through(|number| match number {
        5..=9 => Middle::Repeat,
        _ => Middle::Pass,
    })
    .await;
    let rows = account.rows.as_ref().unwrap();
    assert_eq!((rows.duplicated, rows.missing), (5, 0));
    assert!(account.is_success(), "a repetition loses nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_counted_by_its_status() {
    let account = probe_through(|number| match number {
        10..=12 => Middle::Answer(503, "no healthy upstream"),
        13 => Middle::Answer(404, "default backend"),
        _ => Middle::Pass,
    })
    .await;
    assert_eq!(account.statuses, [(200, 97), (503, 3), (404, 1)].into());
    assert_eq!(account.refusals[&503], "no healthy upstream");
    assert_eq!(account.acknowledged, account.sent - 4);
    let rows = account.rows.as_ref().unwrap();
    assert_eq!((rows.found, rows.missing), (account.acknowledged, 0));
    assert!(!account.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_takes_no_large_body_is_found_by_the_first_request() {
    let account = probe_through(|number| match number {
        1 => Middle::Answer(413, "<h1>413 Request Entity Too Large</h1>"),
        _ => Middle::Pass,
    })
    .await;
    let first = account.first_request.as_ref().unwrap();
    assert_eq!(first.status, Some(413));
    let advice = first.advice.as_ref().unwrap();
    assert!(advice.contains("proxy-body-size"), "{advice}");
    assert_eq!(account.statuses, [(200, 100), (413, 1)].into());
    assert!(!account.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_that_breaks_for_a_while_costs_answers_and_no_rows() {
    let station = Station::segment().await;
    let proxy = Proxy::start(station.ingester.address().port()).await;
    let address = SocketAddr::from(([127, 0, 0, 1], proxy.port()));
    let run = probe(options(&station, address));
    let fault = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        proxy.behave(Behaviour::Refuse);
        tokio::time::sleep(Duration::from_millis(200)).await;
        proxy.behave(Behaviour::Pass);
    };
    let (account, ()) = tokio::join!(run, fault);
    assert!(account.no_answer > 0 && account.first_failure.is_some());
    assert!(account.longest_gap_ms >= 150.0);
    let rows = account.rows.as_ref().unwrap();
    assert_eq!((rows.found, rows.missing), (account.acknowledged, 0));
    assert!(!account.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_probe_accounts_for_what_it_sent() {
    let station = Station::segment().await;
    let options = Options {
        duration: Duration::from_secs(600),
        ..options(&station, station.ingester.address())
    };
    let stop = CancellationToken::new();
    let canceller = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        canceller.cancel();
    });
    let account = Probe::new(options).run(stop).await.unwrap();
    assert!(account.interrupted && account.is_success());
    assert_eq!(account.unsent, 0);
    assert_eq!(account.rows.unwrap().found, account.sent);
}

#[tokio::test]
async fn without_a_database_nothing_is_sent() {
    let station = Station::segment().await;
    let mut options = options(&station, station.ingester.address());
    options.rows.as_mut().unwrap().login =
        SecretBytes::new("postgres://u:hunter2@127.0.0.1:9/d").into();
    let error = Probe::new(options)
        .run(CancellationToken::new())
        .await
        .unwrap_err();
    let text = format!("{error:#} {error:?}");
    assert!(
        text.contains("rows cannot be looked for") && !text.contains("hunter2"),
        "{text}"
    );
    let sql = format!("SELECT count(*) FROM {RELATION}");
    assert_eq!(station.database.count(&sql).await, 0);
}
