//! Two hosts: what senders are told while the primary dies and its standby takes over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_model::secret::SecretBytes;
use trunkline_tests::{
    ConfigDir, Database, IngesterProcess, Ledger, Load, LoadOptions, SECRET, SourceDraft, Standby,
    Station, scaled, seed,
};
use trunkline_warehouse::{Error, Warehouse, failover};

/// How soon after the promotion a POST is answered with 200.
const RECOVERY: Duration = Duration::from_secs(5);

/// A primary, its synchronous standby, and an ingester that knows both.
struct Pair {
    /// Its database is the primary.
    station: Station,
    standby: Standby,
}

impl Pair {
    async fn start() -> Self {
        let primary = Database::start().await;
        let mut sources = vec![SourceDraft::segment("segment", &[SECRET])];
        primary.provision(&ConfigDir::cluster(), &mut sources).await;
        let standby = Standby::of(&primary).await;
        // What its owner is told beforehand, while nobody waits for the standby.
        let warehouse = primary.warehouse().await;
        let mut server = warehouse.preflight().await.unwrap();
        while server.standbys == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            server = warehouse.preflight().await.unwrap();
        }
        let finding = failover(&server).unwrap_err();
        assert_eq!(finding.standbys, 1, "{finding}");
        // Only now: the copy itself would wait for it.
        primary.set("synchronous_standby_names", "*").await;
        assert_eq!(failover(&warehouse.preflight().await.unwrap()), Ok(()));
        let url = both(primary.ingest_url(), primary.port(), standby.port());
        let mut station = Station::unready_at(&url, primary, sources).await;
        station.ingester.ready().await;
        Self { station, standby }
    }

    fn load(&self, ledger: &Arc<Ledger>) -> Load {
        let options = LoadOptions {
            address: self.station.ingester.address(),
            path: self.station.path(),
            secret: SECRET.to_owned(),
            senders: 8,
            batches: 20,
            largest_batch: 20,
            large: 0,
            poison: 0,
            retry: true,
            fresh_connections: false,
            seed: seed(),
        };
        Load::start(&options, ledger)
    }
}

/// A URL that names a second server of this machine behind the first.
fn both(url: &str, first: u16, second: u16) -> String {
    let own = format!("127.0.0.1:{first}/");
    assert!(url.contains(&own));
    let hosts = url.replace(&own, &format!("127.0.0.1:{first},127.0.0.1:{second}/"));
    let separator = if hosts.contains('?') { '&' } else { '?' };
    format!("{hosts}{separator}target_session_attrs=read-write")
}

/// Waits until more is acknowledged than was at the call.
async fn acknowledged_again(ledger: &Ledger, ingester: &IngesterProcess) -> Duration {
    let (begun, before) = (Instant::now(), ledger.acknowledged_events());
    while ledger.acknowledged_events() == before {
        assert!(begun.elapsed() < RECOVERY, "{}", ingester.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_failover_is_on_the_new_primary() {
    let pair = Pair::start().await;
    let owner = both(
        &pair.station.database.url(),
        pair.station.database.port(),
        pair.standby.port(),
    );
    let owner = SecretBytes::new(owner);
    let warehouse = Warehouse::connect(&owner).await.unwrap();
    let ledger = Arc::new(Ledger::default());
    let load = pair.load(&ledger);
    let wanted = scaled(1_000, 10_000);
    while ledger.acknowledged_events() < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pair.station.database.kill();
    // Nobody takes writes for a while.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let error = warehouse.ensure_layout().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoPrimary { .. } | Error::ConnectionLost { .. }
        ),
        "{error}"
    );
    let error = Warehouse::connect(&owner).await.unwrap_err();
    assert!(matches!(error, Error::NoPrimary { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&pair.standby.port().to_string()), "{text}");
    pair.standby.promote().await;
    let elapsed = acknowledged_again(&ledger, &pair.station.ingester).await;
    println!("200 again {elapsed:?} after the promotion");
    // The owner, too, finds the new primary with the connection that it had.
    let layout = warehouse.ensure_layout().await.unwrap();
    assert!(layout.changed.is_empty(), "{layout:?}");
    while ledger.acknowledged_events() < 2 * wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = load.stop().await;
    report.assert_nobody_was_blamed();
    let others: Vec<_> = report
        .statuses
        .keys()
        .filter(|status| !matches!(status, 200 | 503))
        .collect();
    assert_eq!(others, Vec::<&u16>::new());
    assert!(report.statuses.contains_key(&503), "{report:?}");
    let verdict = ledger
        .verify(&pair.standby.connect().await, "segment.events")
        .await;
    println!("{verdict}\n{report:?}");
    assert!(verdict.acknowledged_events >= 2 * wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_closed_for_writes_is_left_for_the_next_host() {
    let pair = Pair::start().await;
    let ledger = Arc::new(Ledger::default());
    let load = pair.load(&ledger);
    acknowledged_again(&ledger, &pair.station.ingester).await;
    // A switchover: the old primary stays up, and takes no more writes.
    pair.station
        .database
        .set("default_transaction_read_only", "on")
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = ledger.acknowledged_events();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ledger.acknowledged_events(), before, "it takes no writes");
    pair.standby.promote().await;
    let elapsed = acknowledged_again(&ledger, &pair.station.ingester).await;
    println!("200 again {elapsed:?} after the promotion");
    let report = load.stop().await;
    report.assert_nobody_was_blamed();
    ledger
        .verify(&pair.standby.connect().await, "segment.events")
        .await;
}
