//! The faults, each from its beginning to its end.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::rngs::StdRng;
use tokio_postgres::Client;
use trunkline_tests::{Behaviour, Load};

use crate::stage::{Route, Stage};

/// How long a fault lasts that has a length: within what a commit is given, and beyond.
const LENGTH_MILLIS: std::ops::Range<u64> = 100..5_000;

/// Sessions of the ingester, on either route.
const SESSIONS: &str = "FROM pg_stat_activity WHERE usename ~ '_ingest_a$'";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// `kill -9` of one process of the server that serves the ingester; the server then ends all
    /// sessions and recovers.
    BackendKilled,
    /// `kill -9` of all processes of the server.
    ServerKilled,
    /// As an administrator ends sessions.
    SessionsEnded,
    /// As an administrator cancels statements.
    StatementsCancelled,
    ServerFrozen,
    /// Nothing comes through on the way to the database, and nobody hears of it.
    BlackHole,
    /// Connections are reset and refused.
    Refused,
    CommitAnswersLost,
    /// `kill -9` of PgBouncer; on the direct route of the ingester.
    PoolerKilled,
    IngesterKilled,
    /// As a kubelet ends and starts it.
    IngesterRestarted,
    SecretRotated,
    /// By an administrator.
    TableLocked,
}

const ALL: [Fault; 13] = [
    Fault::BackendKilled,
    Fault::ServerKilled,
    Fault::SessionsEnded,
    Fault::StatementsCancelled,
    Fault::ServerFrozen,
    Fault::BlackHole,
    Fault::Refused,
    Fault::CommitAnswersLost,
    Fault::PoolerKilled,
    Fault::IngesterKilled,
    Fault::IngesterRestarted,
    Fault::SecretRotated,
    Fault::TableLocked,
];

/// What may strike while another fault lasts.
const ON_TOP: [Fault; 4] = [
    Fault::ServerKilled,
    Fault::PoolerKilled,
    Fault::IngesterKilled,
    Fault::IngesterRestarted,
];

impl Fault {
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        ALL[rng.random_range(0..ALL.len())]
    }
}

impl Stage {
    /// Strikes, and returns when the cause has ended.
    pub(crate) async fn strike(&mut self, fault: Fault, rng: &mut StdRng, load: &Load) {
        match fault {
            Fault::BackendKilled => {
                let owner = self.owner().await;
                let sql = format!("SELECT pid {SESSIONS} ORDER BY random() LIMIT 1");
                // It may be between two sessions.
                if let Ok(Some(row)) = owner.query_opt(&sql, &[]).await {
                    let _ = kill(Pid::from_raw(row.get(0)), Signal::SIGKILL);
                    self.recovered(&owner).await;
                }
            }
            Fault::SessionsEnded => self.administer("pg_terminate_backend").await,
            Fault::StatementsCancelled => self.administer("pg_cancel_backend").await,
            Fault::ServerFrozen => {
                self.station.database.freeze();
                self.last(rng).await;
                self.station.database.thaw();
            }
            Fault::BlackHole => self.misbehave(Behaviour::BlackHole, rng).await,
            Fault::Refused => self.misbehave(Behaviour::Refuse, rng).await,
            Fault::CommitAnswersLost => {
                let every = rng.random_range(1..20);
                let lossy = Behaviour::LoseCommitAnswer { every };
                self.misbehave(lossy, rng).await;
            }
            Fault::SecretRotated => {
                let secret = self.rotate().await;
                load.sign_with(&secret);
                // What is signed with the one before is answered before that one goes.
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Fault::TableLocked => {
                let mut owner = self.owner().await;
                if let Ok(lock) = locked(&mut owner).await {
                    self.last(rng).await;
                    // Fails when the server has ended meanwhile, and the lock with it.
                    let _ = lock.rollback().await;
                }
            }
            Fault::ServerKilled
            | Fault::PoolerKilled
            | Fault::IngesterKilled
            | Fault::IngesterRestarted => self.replace(fault).await,
        }
    }

    /// Waits until the server has ended this session with all others, and lets its owner in again.
    async fn recovered(&self, owner: &Client) {
        let begun = Instant::now();
        // The process may have ended before the signal came.
        while !owner.is_closed() && begun.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.owner().await;
    }

    /// Ends a process and starts it again.
    async fn replace(&mut self, fault: Fault) {
        let station = &mut self.station;
        match fault {
            Fault::ServerKilled => {
                station.database.kill();
                station.database.start_again().await;
            }
            Fault::PoolerKilled if self.route == Route::Pooled => self.pooler.start_again().await,
            Fault::IngesterRestarted => {
                station.ingester.terminate();
                station.ingester.ended().await;
                station.ingester.start_again();
            }
            _ => station.ingester.start_again(),
        }
    }

    /// Lets a fault last. Now and then another strikes on top of it.
    async fn last(&mut self, rng: &mut StdRng) {
        let length = Duration::from_millis(rng.random_range(LENGTH_MILLIS));
        tokio::time::sleep(length / 2).await;
        if rng.random_range(0..3) == 0 {
            let other = ON_TOP[rng.random_range(0..ON_TOP.len())];
            println!("and {other:?}");
            self.replace(other).await;
        }
        tokio::time::sleep(length / 2).await;
    }

    async fn misbehave(&mut self, behaviour: Behaviour, rng: &mut StdRng) {
        self.proxy().behave(behaviour);
        self.last(rng).await;
        self.proxy().behave(Behaviour::Pass);
    }

    /// Calls a function of an administrator's for each session of the ingester.
    async fn administer(&self, function: &str) {
        let sql = format!("SELECT {function}(pid) {SESSIONS}");
        let owner = self.owner().await;
        owner.execute(&sql, &[]).await.unwrap();
    }
}

async fn locked(
    owner: &mut Client,
) -> Result<tokio_postgres::Transaction<'_>, tokio_postgres::Error> {
    let lock = owner.transaction().await?;
    lock.batch_execute("LOCK TABLE trunkline.events IN ACCESS EXCLUSIVE MODE")
        .await?;
    Ok(lock)
}
