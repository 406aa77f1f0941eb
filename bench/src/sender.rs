//! The sender: one thread that writes requests to raw sockets and reads answers.
//!
//! It is lean so that little of what is measured is its own. In a closed loop each connection sends
//! its next request after the answer to its last. Paced, requests have times at which they are due,
//! whatever the receiver does: one that meets no free connection waits, and its latency counts from
//! when it was due.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use trunkline_bench::process;
use trunkline_cli::segment::{HEADERS, SIGNATURE_HEADER};

use crate::pool::{Pool, SignedEvent};
use crate::stalls::{LIMIT, Wait};

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// Requests go to these in turn.
    pub(crate) paths: Vec<String>,
    pub(crate) connections: usize,
    /// Events in a request; 1 is an object, more are an array.
    pub(crate) batch: usize,
    /// Requests a second; `None` is as fast as they are answered.
    pub(crate) rate: Option<f64>,
    /// No request begins after this.
    pub(crate) duration: Duration,
    /// Whether events are sent again once all have been: a long run needs more than memory holds.
    pub(crate) repeats: bool,
}

/// What came of it. Every request was answered with 200.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) events: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// In microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Paced requests that had to wait for a free connection.
    pub(crate) late: u64,
    /// Time on a processor that the sender itself took.
    pub(crate) cpu: Duration,
    /// When the first request was due.
    pub(crate) start: Instant,
    /// What took longer than [`LIMIT`].
    pub(crate) waits: Vec<Wait>,
}

/// Sends on a thread of its own.
pub(crate) async fn send(load: Load, pool: &Arc<Pool>) -> anyhow::Result<Sent> {
    let pool = Arc::clone(pool);
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        LocalSet::new().block_on(&runtime, send_here(load, pool))
    };
    let thread = thread::Builder::new().name("sender".into()).spawn(run)?;
    tokio::task::spawn_blocking(|| thread.join())
        .await?
        .map_err(|_| anyhow!("the sender panicked"))?
}

/// What the connections share.
struct Sender {
    load: Load,
    pool: Arc<Pool>,
    start: Instant,
    /// Requests begun.
    begun: Cell<u64>,
    late: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    last_answer: Cell<Instant>,
    waits: RefCell<Vec<Wait>>,
}

async fn send_here(load: Load, pool: Arc<Pool>) -> anyhow::Result<Sent> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        let stream = TcpStream::connect(load.address)
            .await
            .context("connecting to the receiver")?;
        stream.set_nodelay(true)?;
        connections.push(stream);
    }
    let batch = load.batch as u64;
    let cpu = process::cpu_of_thread()?;
    let start = Instant::now();
    let sender = Rc::new(Sender {
        load,
        pool,
        start,
        begun: Cell::default(),
        late: Cell::default(),
        latency: RefCell::new(Histogram::new(3)?),
        last_answer: Cell::new(start),
        waits: RefCell::default(),
    });
    let mut tasks = JoinSet::new();
    for stream in connections {
        tasks.spawn_local(Rc::clone(&sender).work(stream));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let elapsed = sender.start.elapsed();
    let latency = sender.latency.borrow().clone();
    Ok(Sent {
        events: latency.len() * batch,
        elapsed,
        latency,
        late: sender.late.get(),
        cpu: process::cpu_of_thread()?.saturating_sub(cpu),
        start,
        waits: sender.waits.take(),
    })
}

impl Sender {
    /// One connection, until the time is up or the events are.
    async fn work(self: Rc<Self>, mut stream: TcpStream) -> anyhow::Result<()> {
        let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(1024));
        while let Some(turn) = self.turn() {
            let Some(events) = self.events() else {
                break;
            };
            let path = &self.load.paths[turn.number as usize % self.load.paths.len()];
            compose(&mut request, path, events);
            let from = self.wait(&turn).await;
            stream.write_all(&request).await?;
            read_ok(&mut stream, &mut answer).await?;
            self.note(from, Instant::now())?;
        }
        Ok(())
    }

    fn events(&self) -> Option<&[SignedEvent]> {
        let events = self.pool.take(self.load.batch);
        if events.is_none() && self.load.repeats {
            self.pool.rewind();
            return self.pool.take(self.load.batch);
        }
        events
    }

    /// Notes an answer: how long it took, and how long no other had come.
    fn note(&self, from: Instant, answered: Instant) -> anyhow::Result<()> {
        let took = answered.duration_since(from);
        self.latency
            .borrow_mut()
            .record(u64::try_from(took.as_micros())?)?;
        let silent_since = self.last_answer.replace(answered);
        let wait = |from: Instant, is_silence| Wait {
            from: from.saturating_duration_since(self.start),
            until: answered.saturating_duration_since(self.start),
            is_silence,
        };
        let waits = [wait(from, false), wait(silent_since, true)];
        let is_long = |wait: &Wait| wait.took() > LIMIT;
        self.waits
            .borrow_mut()
            .extend(waits.into_iter().filter(is_long));
        Ok(())
    }

    fn turn(&self) -> Option<Turn> {
        let number = self.begun.get();
        let due = match self.load.rate {
            None => Instant::now(),
            Some(rate) => self.start + Duration::from_secs_f64(number as f64 / rate),
        };
        if due.duration_since(self.start) >= self.load.duration {
            return None;
        }
        self.begun.set(number + 1);
        Some(Turn { number, due })
    }

    /// Waits until a request is due. The latency counts from what this returns: the time at which
    /// the request was due, if no connection was free then; else the time at which it is sent,
    /// since the timer's millisecond is not the receiver's.
    async fn wait(&self, turn: &Turn) -> Instant {
        let now = Instant::now();
        if self.load.rate.is_none() {
            return now;
        }
        if turn.due <= now {
            self.late.set(self.late.get() + 1);
            return turn.due;
        }
        tokio::time::sleep_until(turn.due.into()).await;
        Instant::now()
    }
}

struct Turn {
    number: u64,
    due: Instant,
}

/// A request as Segment sends it: a single event, or an array of which element 0 is signed.
fn compose(request: &mut Vec<u8>, path: &str, events: &[SignedEvent]) {
    let is_batch = events.len() > 1;
    // A comma or a bracket goes with each element of an array, and one bracket besides.
    let bytes: usize = events.iter().map(|event| event.json.len()).sum();
    let length = bytes + if is_batch { events.len() + 1 } else { 0 };
    let signature = events.first().map_or("", |event| &*event.signature);
    request.clear();
    let mut put = |parts: &[&str]| {
        for part in parts {
            request.extend_from_slice(part.as_bytes());
        }
    };
    put(&["POST ", path, " HTTP/1.1\r\nhost: localhost\r\n"]);
    for (name, value) in HEADERS {
        put(&[name, ": ", value, "\r\n"]);
    }
    put(&[SIGNATURE_HEADER, ": ", signature, "\r\n"]);
    put(&["content-length: ", &length.to_string(), "\r\n\r\n"]);
    for (position, event) in events.iter().enumerate() {
        if is_batch {
            request.push(if position == 0 { b'[' } else { b',' });
        }
        request.extend_from_slice(&event.json);
    }
    if is_batch {
        request.push(b']');
    }
}

/// Reads an answer, which has to be a 200 without a body.
async fn read_ok(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the receiver closed a connection");
        }
        if answer.ends_with(b"\r\n\r\n") && answer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        if !b"HTTP/1.1 200 ".starts_with(&answer[..answer.len().min(13)]) {
            bail!("the receiver answered {}", String::from_utf8_lossy(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> SignedEvent {
        SignedEvent {
            json: json.as_bytes().into(),
            signature: "ab".into(),
        }
    }

    fn composed(events: &[SignedEvent]) -> (usize, String) {
        let mut request = b"the request before".to_vec();
        compose(&mut request, "/path", events);
        let request = String::from_utf8(request).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /path HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nx-signature: ab\r\n"), "{head}");
        let length = head.rsplit(' ').next().unwrap().parse().unwrap();
        (length, body.to_owned())
    }

    #[test]
    fn a_request_announces_the_length_of_its_body() {
        for (events, expected) in [
            (vec![event("{}")], "{}"),
            (vec![event("{}"), event("[1]"), event("3")], "[{},[1],3]"),
        ] {
            let (length, body) = composed(&events);
            assert_eq!(body, expected);
            assert_eq!(length, body.len());
        }
    }

    #[tokio::test]
    async fn only_a_200_counts() {
        for (answer, is_ok) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\n", false),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let answering = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut read = Vec::new();
            let (read, ()) = tokio::join!(read_ok(&mut stream, &mut read), answering);
            assert_eq!(read.is_ok(), is_ok, "{answer}");
        }
    }

    fn one_at_a_time(listener: &tokio::net::TcpListener) -> Load {
        Load {
            address: listener.local_addr().unwrap(),
            paths: vec!["/".to_owned()],
            connections: 1,
            batch: 1,
            rate: None,
            duration: Duration::from_secs(60),
            repeats: false,
        }
    }

    /// Answers `count` requests without a body, the last one late.
    async fn answer_late(listener: tokio::net::TcpListener, count: usize, late: Duration) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        for number in 1..=count {
            read.clear();
            while !read.ends_with(b"{}") {
                stream.read_buf(&mut read).await.unwrap();
            }
            if number == count {
                tokio::time::sleep(late).await;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_late_answer_is_a_wait_of_its_request_and_a_silence() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let load = one_at_a_time(&listener);
        let pool = Arc::new(Pool::of(vec![event("{}"), event("{}"), event("{}")]));
        let late = LIMIT * 3;
        let answering = tokio::spawn(answer_late(listener, 3, late));
        let sent = send(load, &pool).await.unwrap();
        answering.await.unwrap();
        let long: Vec<_> = sent
            .waits
            .iter()
            .filter(|wait| wait.took() >= late)
            .collect();
        assert_eq!(
            long.iter().map(|wait| wait.is_silence).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(sent.events, 3);
    }

    #[tokio::test]
    async fn a_run_that_repeats_sends_more_than_there_are() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let load = Load {
            rate: Some(50.0),
            duration: Duration::from_millis(100),
            repeats: true,
            ..one_at_a_time(&listener)
        };
        let pool = Arc::new(Pool::of(vec![event("{}"), event("{}")]));
        let answering = tokio::spawn(answer_late(listener, 5, Duration::ZERO));
        let sent = send(load, &pool).await.unwrap();
        answering.await.unwrap();
        assert_eq!(sent.events, 5);
    }
}
