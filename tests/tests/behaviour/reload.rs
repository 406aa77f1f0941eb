//! The configuration changes under load: nothing is refused that should have been accepted, and
//! nothing accepted that should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::RwLock;
use tokio::task::JoinSet;
use trunkline_cli::segment::{EventGenerator, SIGNATURE_HEADER};
use trunkline_tests::{Client, SourceDraft, Station, events, scaled, seed, signed_single};

/// What a sender may use now. A request holds it for reading while it is under way, so that a
/// change waits for requests that rely on what it takes away.
#[derive(Debug, Clone)]
struct Allowed {
    secret: String,
    path: String,
    extra: Option<String>,
}

struct Senders {
    allowed: Arc<RwLock<Allowed>>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Senders {
    fn start(station: &Station, allowed: Allowed, seed: u64) -> Self {
        let (allowed, stop) = (
            Arc::new(RwLock::new(allowed)),
            Arc::new(AtomicBool::new(false)),
        );
        let sent = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..8_u64 {
            let mut client = station.ingester.client();
            let (allowed, stop, sent) =
                (Arc::clone(&allowed), Arc::clone(&stop), Arc::clone(&sent));
            let mut generator = EventGenerator::new(seed ^ number, jiff::Timestamp::now());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let event = generator.next_event();
                    let now = allowed.read().await;
                    let is_for_extra = number % 2 == 1;
                    let path = match &now.extra {
                        Some(extra) if is_for_extra => extra,
                        _ => &now.path,
                    };
                    let status = post(&mut client, path, &now.secret, &event.json).await;
                    assert_eq!(status.0, 200, "{path}: {}", status.1);
                    sent.fetch_add(1, Ordering::Relaxed);
                    drop(now);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        }
        Self {
            allowed,
            stop,
            sent,
            tasks,
        }
    }

    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.sent.load(Ordering::Relaxed)
    }
}

async fn post(client: &mut Client, path: &str, secret: &str, event: &str) -> (u16, String) {
    let (body, signature) = signed_single(secret.as_bytes(), event);
    let answer = client
        .post(path, &[(SIGNATURE_HEADER, &signature)], body)
        .await
        .unwrap();
    (answer.status, answer.text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_under_load_refuse_nothing_good_and_accept_nothing_revoked() {
    let seed = seed();
    let secret = |number: usize| format!("secret number {number}");
    let segment = |secrets: &[&str]| SourceDraft::segment("segment", secrets);
    let mut station = Station::with(vec![segment(&[&secret(0)])]).await;
    let allowed = Allowed {
        secret: secret(0),
        path: station.path(),
        extra: None,
    };
    let senders = Senders::start(&station, allowed, seed);
    let mut probe = station.ingester.client();
    let event = &events(seed.wrapping_add(1), 1)[0].json;
    let rounds = scaled(5, 50);
    let mut revoked = 0;
    for round in 0..rounds {
        let (old, new) = (secret(round), secret(round + 1));
        // A secret is added: both are valid.
        station.sources = vec![segment(&[&new, &old])];
        station.reload().await;
        for secret in [&old, &new] {
            assert_eq!(
                post(&mut probe, &station.path(), secret, event).await.0,
                200
            );
            revoked += 1;
        }
        senders.allowed.write().await.secret = new.clone();

        // A source is added beside it.
        let extra = SourceDraft::segment("extra", &[&new]);
        let extra_path = extra.path();
        station.sources = vec![segment(&[&new, &old]), extra];
        station.reload().await;
        senders.allowed.write().await.extra = Some(extra_path.clone());

        // The old secret is removed: from the moment that this is served it is worth nothing.
        station.sources[0] = segment(&[&new]);
        station.reload().await;
        for _ in 0..5 {
            let (status, text) = post(&mut probe, &station.path(), &old, event).await;
            assert_eq!(
                (status, text.trim()),
                (400, "failed to validate the request")
            );
        }

        // The source is removed.
        senders.allowed.write().await.extra = None;
        station.sources.truncate(1);
        station.reload().await;
        assert_eq!(post(&mut probe, &extra_path, &new, event).await.0, 404);
    }
    let sent = senders.end().await + revoked;
    let stored = station
        .database
        .count("SELECT count(*) FROM segment.events")
        .await
        + station
            .database
            .count("SELECT count(*) FROM extra.events")
            .await;
    println!(
        "{} changes, {sent} requests accepted, none wrongly refused",
        rounds * 4
    );
    assert_eq!(u64::try_from(stored).unwrap(), sent);
}

#[tokio::test]
async fn a_broken_configuration_leaves_the_last_good_in_use_and_says_so() {
    let mut station = Station::segment().await;
    let files = trunkline_model::document::Files::from([
        ("cluster.json.gz".to_owned(), b"{".to_vec()),
        ("sources-0.json.gz".to_owned(), b"not a document".to_vec()),
    ]);
    let good = station.ingester.config().await["hash"].clone();
    station.config.swap(&files);
    until_error(&station, true).await;
    assert_eq!(station.ingester.config().await["hash"], good);
    let event = &events(1, 1)[0].json;
    let mut client = station.ingester.client();
    let answer = post(&mut client, &station.path(), trunkline_tests::SECRET, event).await;
    assert_eq!(answer.0, 200);
    station.reload().await;
    until_error(&station, false).await;
}

/// Waits until `/config` has an error, or none.
async fn until_error(station: &Station, is_wanted: bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while station.ingester.config().await["error"].is_null() == is_wanted {
        assert!(Instant::now() < deadline, "{}", station.ingester.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_long_poll_answers_when_another_configuration_is_served() {
    let mut station = Station::segment().await;
    let served = station.ingester.config().await["hash"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/config?after={served}&timeout=30");
    station.sources[0].generation = 2;
    let hash = station.config.write(&station.sources);
    let answer = station.ingester.admin(&path).await.unwrap();
    let config: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(config["hash"], hash.as_str());
    assert_eq!(config["sources"][0]["generation"], 2);
    assert!(
        answer.elapsed < Duration::from_secs(5),
        "{:?}",
        answer.elapsed
    );
    assert!(!answer.text.contains(trunkline_tests::SECRET));
}
