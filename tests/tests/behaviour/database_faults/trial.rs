//! A station under load while its database has a fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_cli::segment::SIGNATURE_HEADER;
use trunkline_tests::{
    Client, Ledger, Load, LoadOptions, LoadReport, SECRET, Station, events, seed, signed_single,
};

/// How soon after a fault's end an event is acknowledged. On a machine that does nothing else it is
/// within 5 s.
const RECOVERY: Duration = Duration::from_secs(15);

/// How long a fault may take until every sender meets it and its owner can read of it.
const ONSET: Duration = Duration::from_secs(20);

/// How long a fault is watched.
const WATCHED: Duration = Duration::from_secs(2);

/// How long Segment waits for an answer.
const SENDERS_PATIENCE: Duration = Duration::from_secs(5);

/// Senders that retry, and what they were told.
pub(crate) struct Trial {
    pub(crate) station: Station,
    ledger: Arc<Ledger>,
    load: Load,
}

impl Trial {
    /// Begins with a database that takes events.
    pub(crate) async fn begin(station: Station) -> Self {
        let trial = Self::unserved(station);
        trial.recovers("start").await;
        trial
    }

    /// Begins with one that may take none.
    pub(crate) fn unserved(station: Station) -> Self {
        let ledger = Arc::default();
        let options = LoadOptions {
            senders: 8,
            ..LoadOptions::for_station(&station, seed())
        };
        let load = Load::start(&options, &ledger);
        Self {
            station,
            ledger,
            load,
        }
    }

    /// Waits until the page that operators read gives this reason, then watches for a while: every
    /// sender is refused in time, with 503, and the page, the metric and the log stay with it.
    pub(crate) async fn suffers(&self, what: &str, reason: &str) {
        let begun = Instant::now();
        let log = || self.station.ingester.log();
        loop {
            let database = self.database_state().await;
            let said = database["reason"].as_str().unwrap_or_default();
            if database["state"] == "unavailable" && said.contains(reason) {
                println!("{what}: told after {:?}: {said}", begun.elapsed());
                break;
            }
            let log = log();
            assert!(begun.elapsed() < ONSET, "{what}: {database}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = async || {
            let database = self.database_state().await;
            assert_eq!(database["state"], "unavailable", "{what}: {database}");
        };
        self.refuses_all(what, seen).await;
        let up = "trunkline_ingester_database_up";
        assert_eq!(self.station.ingester.metric(up, "").await, 0.0, "{what}");
        assert!(log().contains(reason), "{what}: {}", log());
    }

    /// The same for a database that takes events, but not those of the source.
    pub(crate) async fn lacks_a_partition(&self, what: &str) {
        let refusals = async || {
            let metric = "trunkline_ingester_refusals_total";
            let label = "reason=\"no_partition\"";
            self.station.ingester.metric(metric, label).await
        };
        let before = refusals().await;
        self.refuses_all(what, async || {}).await;
        assert!(refusals().await > before, "{what}");
        let log = self.station.ingester.log();
        assert!(log.contains("no partition takes rows"), "{what}: {log}");
    }

    /// Once no event is acknowledged any more: watches that each is refused in time, with 503.
    async fn refuses_all(&self, what: &str, look: impl AsyncFn()) {
        self.quiet(what, Duration::from_secs(1)).await;
        drop(self.load.lap());
        let (before, watched) = (self.ledger.acknowledged_events(), Instant::now());
        while watched.elapsed() < WATCHED {
            look().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let report = self.load.lap();
        assert_eq!(self.ledger.acknowledged_events(), before, "{what}");
        let slowest = report.slowest.get(&503).copied().unwrap_or_default();
        println!("{what}: {:?}, slowest 503 {slowest:?}", report.statuses);
        assert!(
            report.statuses.keys().all(|status| *status == 503),
            "{what}: {report:?}"
        );
        assert!(slowest < SENDERS_PATIENCE, "{what}: {report:?}");
    }

    /// Watches that every event is acknowledged, while `beside` happens.
    pub(crate) async fn goes_on(&self, what: &str, beside: impl Future<Output = ()>) {
        drop(self.load.lap());
        let before = self.ledger.acknowledged_events();
        tokio::join!(tokio::time::sleep(WATCHED), beside);
        let report = self.load.lap();
        assert!(self.ledger.acknowledged_events() > before, "{what}");
        assert!(
            report.statuses.keys().all(|status| *status == 200),
            "{what}: {report:?}"
        );
    }

    /// Waits until nothing has been acknowledged for so long.
    pub(crate) async fn quiet(&self, what: &str, lasting: Duration) {
        let begun = Instant::now();
        let mut before = None;
        while before != Some(self.ledger.acknowledged_events()) {
            assert!(
                begun.elapsed() < ONSET + lasting,
                "{what}: still acknowledged"
            );
            before = Some(self.ledger.acknowledged_events());
            tokio::time::sleep(lasting).await;
        }
    }

    /// Waits until an event is acknowledged again. To be called right after the fault's end.
    pub(crate) async fn recovers(&self, what: &str) {
        let (begun, before) = (Instant::now(), self.ledger.acknowledged_events());
        while self.ledger.acknowledged_events() == before {
            let log = self.station.ingester.log();
            assert!(begun.elapsed() < RECOVERY, "{what}: not back\n{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("{what}: 200 after {:?}", begun.elapsed());
        loop {
            let database = self.database_state().await;
            if database["state"] == "ready" {
                break;
            }
            assert!(begun.elapsed() < RECOVERY, "{what}: {database}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{what}: told as ready after {:?}", begun.elapsed());
    }

    /// Ends the load. Every sender was told 200 or 503.
    pub(crate) async fn end(self) -> (Station, Arc<Ledger>) {
        let report = self.load.stop().await;
        assert_only_200_and_503(&report);
        println!("{report:?}");
        (self.station, self.ledger)
    }

    /// The same, and what was acknowledged is there.
    pub(crate) async fn end_with_all_there(self) {
        let (station, ledger) = self.end().await;
        let database = station.database.connect().await;
        let verdict = ledger.verify(&database, "segment.events").await;
        println!("{verdict}");
        assert!(verdict.acknowledged_events > 0);
    }

    /// What the page that operators read says; null before it is there.
    async fn database_state(&self) -> serde_json::Value {
        match self.station.ingester.admin("/config").await {
            Some(page) => {
                let mut page: serde_json::Value = serde_json::from_str(&page.text).unwrap();
                page["database"].take()
            }
            None => serde_json::Value::Null,
        }
    }
}

fn assert_only_200_and_503(report: &LoadReport) {
    report.assert_nobody_was_blamed();
    assert_eq!(report.broken(), 0, "{report:?}");
    let known = |status: &u16| matches!(status, 200 | 503);
    assert!(report.statuses.keys().all(known), "{report:?}");
}

/// Posts one event beside the load's, and says what was answered.
pub(crate) async fn post(client: &mut Client, path: &str) -> u16 {
    let event = &events(rand::random(), 1)[0];
    let (body, signature) = signed_single(SECRET.as_bytes(), &event.json);
    let headers = [(SIGNATURE_HEADER, signature.as_str())];
    client.post(path, &headers, body).await.unwrap().status
}
