//! A server whose connections are all taken by others.

use std::time::Duration;

use trunkline_tests::{Database, SECRET, SourceDraft, Station};

use super::trial::Trial;

/// Ends every session of the ingester.
const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                            WHERE application_name = 'trunkline-ingester'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_free_connection_is_503_with_the_reason_until_there_is_one() {
    let database = Database::start_with(&[("max_connections", "20")]).await;
    let sources = vec![SourceDraft::segment("segment", &[SECRET])];
    let trial = Trial::begin(Station::around(database, sources).await).await;
    let database = &trial.station.database;
    let admin = database.connect().await;
    admin
        .batch_execute("CREATE ROLE crowd LOGIN PASSWORD 'of the crowd'")
        .await
        .unwrap();
    let crowd = format!(
        "host=127.0.0.1 port={} user=crowd password='of the crowd' dbname=trunkline",
        database.port()
    );
    let mut taken = Vec::new();
    // The ingester connects again at once; whoever is faster has the place. A session that has just
    // begun has no name yet, and so one look that finds none is not enough.
    let mut looks_without_one = 0;
    while looks_without_one < 10 {
        let ended = admin.execute(END_SESSIONS, &[]).await.unwrap();
        looks_without_one = if ended > 0 { 0 } else { looks_without_one + 1 };
        while let Ok((client, connection)) =
            tokio_postgres::connect(&crowd, tokio_postgres::NoTls).await
        {
            tokio::spawn(connection);
            taken.push(client);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{} connections of others", taken.len());
    trial.suffers("no free connection", "SQLSTATE 53300").await;
    taken.clear();
    trial.recovers("free connections").await;

    // The same for the role alone.
    let role: String = admin
        .query_one(
            "SELECT usename::text FROM pg_stat_activity \
             WHERE application_name = 'trunkline-ingester' LIMIT 1",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let limit = async |limit: i32| {
        let sql = format!("ALTER ROLE {role} CONNECTION LIMIT {limit}");
        admin.batch_execute(&sql).await.unwrap();
    };
    limit(0).await;
    admin.execute(END_SESSIONS, &[]).await.unwrap();
    trial
        .suffers("a limit on the role", "too many connections for role")
        .await;
    limit(-1).await;
    trial.recovers("no limit").await;
    trial.end_with_all_there().await;
}
