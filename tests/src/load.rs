//! [`Load`]: many senders that behave as Segment does, and retry what is not acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use trunkline_cli::segment::{Event, EventGenerator, HEADERS, SIGNATURE_HEADER, sign};

use crate::client::Client;
use crate::ledger::Ledger;
use crate::station::{SECRET, Station};

/// Pause before a retry. Segment waits longer; here nothing is learnt from it.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How long a request that is not acknowledged yet is retried after the end of the load.
const PATIENCE: Duration = Duration::from_secs(15);

/// Events of a large batch: more than 256 KiB of them, each of about 1.1 KB.
const LARGE_BATCH: usize = 300;

/// Values that are JSON and that jsonb refuses.
const POISON: [&str; 3] = [r#""\u0000""#, r#""\ud800""#, "1e400000"];

/// What to send.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where to.
    pub address: SocketAddr,
    /// The source's path.
    pub path: String,
    /// Its secret.
    pub secret: String,
    /// Senders, each with a connection of its own.
    pub senders: u64,
    /// How many of 100 requests are batches, of 2 to [`LoadOptions::largest_batch`] events.
    pub batches: u32,
    /// The largest batch.
    pub largest_batch: usize,
    /// How many of 100 requests are batches that take the lane of the large ones.
    pub large: u32,
    /// How many of 100 events hold what jsonb refuses.
    pub poison: u32,
    /// Whether a request that was not acknowledged is sent again.
    pub retry: bool,
    /// Whether each request has a connection of its own.
    pub fresh_connections: bool,
    /// Where the events come from. No two loads on one source may share it.
    pub seed: u64,
}

impl LoadOptions {
    /// Singles and batches to the first source of a station.
    #[must_use]
    pub fn for_station(station: &Station, seed: u64) -> Self {
        Self {
            address: station.ingester.address(),
            path: station.path(),
            secret: SECRET.to_owned(),
            senders: 16,
            batches: 20,
            largest_batch: 40,
            large: 0,
            poison: 0,
            retry: true,
            fresh_connections: false,
            seed,
        }
    }
}

/// What the senders were told.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// The slowest answer by status.
    pub slowest: BTreeMap<u16, Duration>,
    /// Requests without an answer because nobody listened.
    pub refused_connections: u64,
    /// Requests without an answer because the connection broke, and why.
    pub broken: BTreeMap<String, u64>,
    /// Texts of answers that blame the sender.
    pub blamed: BTreeMap<String, u64>,
}

impl LoadReport {
    /// Nobody was told that a good request is the sender's fault.
    pub fn assert_nobody_was_blamed(&self) {
        assert!(self.blamed.is_empty(), "{self:?}");
    }

    /// How many requests had no answer because the connection broke.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken.values().sum()
    }
}

/// Senders at work.
#[derive(Debug)]
pub struct Load {
    workers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<LoadReport>>,
    secret: watch::Sender<String>,
}

impl Load {
    /// Starts to send.
    #[must_use]
    pub fn start(options: &LoadOptions, ledger: &Arc<Ledger>) -> Self {
        let (stop, report) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let secret = watch::Sender::new(options.secret.clone());
        let mut workers = JoinSet::new();
        for number in 0..options.senders {
            // Far apart, since neighbours of a test's seed belong to its other loads.
            let seed = options.seed ^ (number + 1).rotate_right(16);
            let sender = Sender {
                client: Client::new(options.address),
                generator: EventGenerator::new(seed, jiff::Timestamp::now()),
                rng: StdRng::seed_from_u64(seed),
                options: options.clone(),
                ledger: Arc::clone(ledger),
                stop: Arc::clone(&stop),
                report: Arc::clone(&report),
                secret: secret.subscribe(),
            };
            workers.spawn(sender.work());
        }
        Self {
            workers,
            stop,
            report,
            secret,
        }
    }

    /// Signs with another secret from the next attempt on.
    pub fn sign_with(&self, secret: &str) {
        self.secret.send_replace(secret.to_owned());
    }

    /// What was answered since the start or the last lap; the senders go on.
    #[must_use]
    pub fn lap(&self) -> LoadReport {
        std::mem::take(&mut *self.report.lock().unwrap())
    }

    /// Sends nothing new, waits for what is under way, and says what was answered since the last
    /// lap.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.report.lock().unwrap())
    }
}

struct Sender {
    client: Client,
    generator: EventGenerator,
    rng: StdRng,
    options: LoadOptions,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<LoadReport>>,
    secret: watch::Receiver<String>,
}

impl Sender {
    async fn work(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let kind = self.rng.random_range(0..100);
            let LoadOptions { batches, large, .. } = self.options;
            let count = if kind < large {
                LARGE_BATCH
            } else if kind < large + batches {
                self.rng.random_range(2..=self.options.largest_batch)
            } else {
                1
            };
            let events: Vec<Event> = (0..count).map(|_| self.next_event()).collect();
            let body = if count > 1 {
                let elements: Vec<_> = events.iter().map(|event| event.json.as_str()).collect();
                Bytes::from(format!("[{}]", elements.join(",")))
            } else {
                Bytes::from(events[0].json.clone())
            };
            let noted = events
                .iter()
                .map(|event| (event.message_id.as_str(), event.json.as_str()));
            let number = self.ledger.sending(noted);
            if self.deliver(body, events[0].json.as_bytes()).await {
                self.ledger.acknowledged(number);
            }
        }
    }

    fn next_event(&mut self) -> Event {
        let mut event = self.generator.next_event();
        if self.rng.random_range(0..100) < self.options.poison {
            let poison = POISON[self.rng.random_range(0..POISON.len())];
            event.json.insert_str(1, &format!("\"poison\":{poison},"));
        }
        event
    }

    /// Whether the request was acknowledged in the end. `signed` is what Segment signs of it.
    async fn deliver(&mut self, body: Bytes, signed: &[u8]) -> bool {
        let mut give_up = None;
        loop {
            let signature = sign(self.secret.borrow().as_bytes(), signed);
            let mut headers = HEADERS.to_vec();
            headers.push((SIGNATURE_HEADER, signature.as_str()));
            let answer = self
                .client
                .post(&self.options.path, &headers, body.clone())
                .await;
            if self.options.fresh_connections {
                self.client.disconnect();
            }
            if let Some(is_acknowledged) = self.note(&answer) {
                return is_acknowledged;
            }
            if self.stop.load(Ordering::Relaxed) {
                let deadline = *give_up.get_or_insert_with(|| Instant::now() + PATIENCE);
                if Instant::now() > deadline {
                    return false;
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Counts an answer. None when the request is to be sent again.
    fn note(
        &self,
        answer: &Result<crate::client::Answer, crate::client::NoAnswer>,
    ) -> Option<bool> {
        use crate::client::NoAnswer;
        let mut report = self.report.lock().unwrap();
        match answer {
            Ok(answer) => {
                *report.statuses.entry(answer.status).or_default() += 1;
                let slowest = report.slowest.entry(answer.status).or_default();
                *slowest = (*slowest).max(answer.elapsed);
                match answer.status {
                    200..=299 => return Some(true),
                    // What Segment retries.
                    408 | 429 | 500.. => {}
                    _ => {
                        let blame = format!("{} {}", answer.status, answer.text.trim());
                        *report.blamed.entry(blame).or_default() += 1;
                        return Some(false);
                    }
                }
            }
            Err(NoAnswer::Connect(_)) => report.refused_connections += 1,
            Err(error) => *report.broken.entry(error.to_string()).or_default() += 1,
        }
        if self.options.retry {
            None
        } else {
            Some(false)
        }
    }
}
