//! A role that may no longer write, or no longer log in.

use tokio_postgres::Client;
use trunkline_tests::Station;

use super::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_taken_away_are_503_with_the_reason_until_they_are_given_back() {
    let trial = Trial::begin(Station::segment().await).await;
    let admin = trial.station.database.connect().await;
    let [group, login] = roles(&admin).await;
    let run = async |sql: String| admin.batch_execute(&sql).await.expect(&sql);
    // Sessions that are logged in stay so.
    let end_sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE application_name = 'trunkline-ingester'";

    run(format!("REVOKE INSERT ON trunkline.events FROM {group}")).await;
    trial
        .suffers("INSERT revoked", "permission denied for table events")
        .await;
    run(format!("GRANT INSERT ON trunkline.events TO {group}")).await;
    trial.recovers("INSERT granted").await;

    let verifier: String = admin
        .query_one(
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1",
            &[&login],
        )
        .await
        .unwrap()
        .get(0);
    // Two statements: in one transaction, sessions would end before it is another.
    run(format!("ALTER ROLE {login} PASSWORD 'another'")).await;
    run(end_sessions.to_owned()).await;
    trial
        .suffers("another password", "password authentication failed")
        .await;
    run(format!("ALTER ROLE {login} PASSWORD '{verifier}'")).await;
    trial.recovers("the password again").await;

    run(format!("ALTER ROLE {login} NOLOGIN")).await;
    run(end_sessions.to_owned()).await;
    trial.suffers("NOLOGIN", "is not permitted to log in").await;
    run(format!("ALTER ROLE {login} LOGIN")).await;
    trial.recovers("LOGIN").await;
    trial.end_with_all_there().await;
}

/// The group that may insert, and the login of the ingesters.
async fn roles(admin: &Client) -> [String; 2] {
    let rows = admin
        .query(
            "SELECT rolname::text FROM pg_roles WHERE rolname ~ '_ingest(_a)?$' ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    names.try_into().unwrap()
}
