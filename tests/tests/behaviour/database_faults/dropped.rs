//! Tables that an administrator has dropped by hand.

use std::time::{Duration, Instant};

use trunkline_tests::{ConfigDir, SECRET, SourceDraft, Station};

use super::trial::{Trial, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_partition_costs_its_own_source_alone_until_the_next_look() {
    let sources = ["segment", "doomed"].map(|name| SourceDraft::segment(name, &[SECRET]));
    let mut trial = Trial::begin(Station::with(sources.to_vec()).await).await;
    let bucket = trial.station.sources[1].settings.bucket;
    let path = trial.station.sources[1].path();
    let mut client = trial.station.ingester.client();
    let admin = trial.station.database.connect().await;
    assert_eq!(post(&mut client, &path).await, 200);
    let day = |ahead: i32| {
        format!(
            "EXECUTE format('DROP TABLE trunkline_data.bucket_{bucket}_%s', \
             to_char(now() AT TIME ZONE 'UTC' + interval '{ahead} days', 'YYYYMMDD'));"
        )
    };
    for (what, drop) in [
        // Tomorrow's too, in case it is nearly midnight.
        ("a day", format!("DO $$ BEGIN {} {} END $$", day(0), day(1))),
        (
            "a bucket",
            format!("DROP TABLE trunkline_data.bucket_{bucket} CASCADE"),
        ),
    ] {
        admin.batch_execute(&drop).await.unwrap();
        let refused = async {
            for _ in 0..20 {
                assert_eq!(post(&mut client, &path).await, 503, "{what}");
            }
        };
        trial.goes_on(what, refused).await;
        let log = trial.station.ingester.log();
        assert!(log.contains("no partition takes rows"), "{what}: {log}");

        let Station {
            database, sources, ..
        } = &mut trial.station;
        database.mend(&ConfigDir::cluster(), sources).await;
        assert_eq!(sources[1].settings.bucket, bucket);
        let begun = Instant::now();
        while post(&mut client, &path).await != 200 {
            assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
        }
        println!("{what}: 200 after {:?}", begun.elapsed());
        let stored = database.count("SELECT count(*) FROM doomed.events").await;
        assert_eq!(stored, 1, "{what}");
    }
    trial.end_with_all_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_parent_is_503_with_the_reason_until_the_next_look() {
    let mut trial = Trial::begin(Station::segment().await).await;
    let admin = trial.station.database.connect().await;
    admin
        .batch_execute("DROP TABLE trunkline.events CASCADE")
        .await
        .unwrap();
    let reason = "relation \"trunkline.events\" does not exist";
    trial.suffers("no parent", reason).await;
    let Station {
        database, sources, ..
    } = &mut trial.station;
    database.mend(&ConfigDir::cluster(), sources).await;
    trial.recovers("mended").await;
    let (station, _) = trial.end().await;
    let stored = "SELECT count(*) FROM segment.events";
    assert!(station.database.count(stored).await > 0);
}
