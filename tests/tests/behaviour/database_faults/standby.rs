//! A server that only follows another, until it is promoted.

use trunkline_tests::{ConfigDir, Database, SECRET, SourceDraft, Standby, Station};

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_503_with_the_reason_until_it_is_promoted() {
    let primary = Database::start().await;
    let mut sources = vec![SourceDraft::segment("segment", &[SECRET])];
    primary.provision(&ConfigDir::cluster(), &mut sources).await;
    let standby = Standby::of(&primary).await;
    let url = primary.ingest_url_through(standby.port());
    let trial = Trial::unserved(Station::unready_at(&url, primary, sources).await);
    let reason = "is a standby in recovery and takes no writes";
    trial.suffers("a standby", reason).await;
    let ready = trial.station.ingester.admin("/readyz").await.unwrap();
    assert_eq!(ready.status, 503, "no database has been reached");
    standby.promote().await;
    trial.recovers("promoted").await;
    let (mut station, ledger) = trial.end().await;
    station.ingester.ready().await;
    let verdict = ledger
        .verify(&standby.connect().await, "segment.events")
        .await;
    println!("{verdict}");
    let old = station
        .database
        .count("SELECT count(*) FROM segment.events")
        .await;
    assert_eq!(old, 0, "nothing went to the other server");
}
