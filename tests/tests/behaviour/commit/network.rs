//! A network that fails between the ingester and the database, and a list of hosts.

use std::time::Duration;

use trunkline_ingester::commit::CommitError;
use trunkline_pgconn::Target;
use trunkline_tests::{Behaviour, Proxy, ReservedPort};

use super::harness::{Fixture, ready, start, target, timed, until_committed};

fn through(proxy: &Proxy, fixture: &Fixture) -> Target {
    target(&fixture.database.ingest_url_through(proxy.port()))
}

#[tokio::test]
async fn a_lost_commit_answer_is_an_unknown_outcome_and_never_repeated() {
    let fixture = Fixture::start().await;
    let proxy = Proxy::start(fixture.database.port()).await;
    let committer = start(through(&proxy, &fixture), 1);
    ready(&committer).await;
    for round in 0..10 {
        proxy.behave(Behaviour::LoseCommitAnswer { every: 1 });
        let body = format!(r#"{{"messageId":"lost{round}"}}"#);
        let answer = committer.commit(fixture.delivery(&body), ()).await;
        assert!(
            matches!(answer, Err(CommitError::UnknownOutcome(_))),
            "{answer:?}"
        );
        proxy.behave(Behaviour::Pass);
        until_committed(&fixture, &committer).await;
    }
    let lost = "message_id LIKE 'lost%'";
    assert_eq!(fixture.count(lost).await, 10, "each was committed once");
}

#[tokio::test]
async fn an_unreachable_database_is_answered_for_in_time_and_used_again_when_it_is_back() {
    let fixture = Fixture::start().await;
    let proxy = Proxy::start(fixture.database.port()).await;
    let committer = start(through(&proxy, &fixture), 1);
    ready(&committer).await;
    proxy.behave(Behaviour::BlackHole);
    let (answer, took) = timed(committer.commit(fixture.delivery("{}"), ())).await;
    assert!(
        matches!(answer, Err(CommitError::UnknownOutcome(_))),
        "{answer:?}"
    );
    assert!(took < Duration::from_millis(3_800), "{took:?}");
    let (answer, took) = timed(committer.commit(fixture.delivery("{}"), ())).await;
    assert!(
        matches!(answer, Err(CommitError::Unavailable(_))),
        "{answer:?}"
    );
    assert!(took < Duration::from_millis(100), "{took:?}");
    proxy.behave(Behaviour::Pass);
    let took = until_committed(&fixture, &committer).await;
    // The attempt to connect that was swallowed has its own two seconds.
    assert!(took < Duration::from_millis(2_500), "{took:?}");
}

#[tokio::test]
async fn the_next_host_is_tried_when_one_refuses() {
    let fixture = Fixture::start().await;
    let refused = ReservedPort::any().unwrap();
    let port = fixture.database.port();
    let both = format!("{},127.0.0.1:{port}", refused.address());
    let url = fixture.database.ingest_url();
    let url = url.replace(&format!("127.0.0.1:{port}"), &both);
    let committer = start(target(&url), 1);
    ready(&committer).await;
    committer.commit(fixture.delivery("{}"), ()).await.unwrap();
}
