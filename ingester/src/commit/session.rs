//! A connection that takes commits: opened, checked, and given up when it cannot be trusted.
//!
//! Invariants: every exchange with the server has a deadline. After a missed one, or a broken
//! connection, a session is never used again. Nothing is sent twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use trunkline_pgconn::{Address, DialError, Endpoint, Target};

use super::error::Reason;
use super::failure::{Failure, Fault};
use super::login::{CancelKey, login};
use super::settings::{self, ServerSettings};
use super::store::{Store, StoreError};
use super::wire::{Connection, Reply};
use crate::rows::{EncodedRows, copy_statement};

/// Bound on one attempt to connect to one address, when the URL sets no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bound on one commit. The ingester answers within 4 s, and Segment gives up after 5.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3);

/// Bound on anything else that an open session asks.
const QUERY_DEADLINE: Duration = Duration::from_secs(2);

/// How long a probe waits for a lock on the parent, in milliseconds: less than any deadline of
/// ours, so that the owner reads of a lock and not of a server that does not answer.
const PROBE_LOCK_TIMEOUT_MS: u32 = 1_000;

/// An open session.
pub(crate) struct Session {
    connection: Connection,
    cancel: CancelKey,
    settings: ServerSettings,
    /// The Query of a commit.
    commit: String,
    /// The same up to its end, which rolls back.
    probe: String,
}

impl Session {
    /// Opens a session with the first address of the first endpoint that takes writes. The text of the error speaks of
    /// every endpoint.
    pub(crate) async fn open(target: &Arc<Target>) -> Result<Self, OpenError> {
        let mut error = OpenError {
            reason: String::new(),
            is_settled: false,
        };
        let patience = target.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        for endpoint in target.endpoints() {
            let addresses = match timeout(patience, endpoint.addresses()).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(failure)) => {
                    error.add(endpoint, &failure.into());
                    continue;
                }
                Err(_) => {
                    error.add(endpoint, &Failure::Deadline(patience));
                    continue;
                }
            };
            for address in addresses {
                let attempt = timeout(patience, Self::open_at(&address, target)).await;
                match attempt.unwrap_or(Err(Failure::Deadline(patience))) {
                    Ok(session) => return Ok(session),
                    Err(failure) => error.add(endpoint, &failure),
                }
            }
        }
        Err(error)
    }

    async fn open_at(address: &Address, target: &Arc<Target>) -> Result<Self, Failure> {
        let (mut connection, cancel) = login(address, target).await?;
        let settings = ask_settings(&mut connection).await?;
        let (commit, probe) = statements(settings);
        let mut session = Self {
            connection,
            cancel,
            settings,
            commit,
            probe,
        };
        session.try_empty_copy().await?;
        Ok(session)
    }

    /// What the server said of itself last.
    pub(super) fn settings(&self) -> ServerSettings {
        self.settings
    }

    /// Looks at the server's settings again, and whether it takes writes.
    pub(super) async fn check(&mut self) -> Result<(), Failure> {
        let check = async {
            let settings = ask_settings(&mut self.connection).await?;
            if settings != self.settings {
                self.settings = settings;
                (self.commit, self.probe) = statements(settings);
            }
            self.try_empty_copy().await
        };
        timeout(QUERY_DEADLINE, check)
            .await
            .unwrap_or(Err(Failure::Deadline(QUERY_DEADLINE)))
    }

    /// Waits until the server ends the idle session.
    pub(super) async fn ended(&mut self) -> Failure {
        self.connection.ended().await
    }

    /// Runs statements other than commits, in one flight. After an error the session must not be
    /// used again.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), Reason> {
        let exchange = async {
            let reply = self.connection.query(sql).await?;
            self.settle(&reply).await?;
            reply
                .error
                .map_or(Ok(()), |error| Err(Failure::Server(error)))
        };
        timeout(QUERY_DEADLINE, exchange)
            .await
            .unwrap_or(Err(Failure::Deadline(QUERY_DEADLINE)))
            .map_err(|failure| failure.to_string().into())
    }

    /// Ends the session in good order.
    pub(crate) async fn close(self) {
        // A frozen server does not take even a goodbye.
        let _ = timeout(QUERY_DEADLINE, self.connection.terminate()).await;
    }

    /// A COPY of no row finds a missing table, column or permission and a read-only server before
    /// a delivery does, and lets the backend load what it knows of the table.
    async fn try_empty_copy(&mut self) -> Result<(), Failure> {
        let reply = self.connection.copy(&self.probe, &[]).await?;
        self.settle(&reply).await?;
        reply
            .error
            .map_or(Ok(()), |error| Err(Failure::Server(error)))
    }

    /// Ends the transaction that an error has left open.
    async fn settle(&mut self, reply: &Reply) -> Result<(), Failure> {
        if reply.in_transaction && self.connection.query("ROLLBACK").await?.in_transaction {
            return Err(Failure::Protocol(
                "a transaction that ROLLBACK does not end",
            ));
        }
        Ok(())
    }

    /// Sends one flight and ends what it leaves behind.
    async fn fly(&mut self, end: End, tuples: &[&[u8]]) -> Result<Reply, StoreError> {
        let exchange = async {
            let sql = match end {
                End::Commit => &self.commit,
                End::RollBack => &self.probe,
            };
            let reply = self.connection.copy(sql, tuples).await?;
            self.settle(&reply).await?;
            Ok(reply)
        };
        let outcome = timeout(COMMIT_DEADLINE, exchange).await;
        let failure = match outcome {
            Ok(Ok(reply)) => match &reply.error {
                None => return Ok(reply),
                Some(error) => {
                    return Err(match Fault::of(error) {
                        Fault::Row => StoreError::Rows(error.code.clone()),
                        Fault::Passing => StoreError::Refused(error.to_string().into()),
                        Fault::Server => StoreError::Barred(error.to_string().into()),
                    });
                }
            },
            Ok(Err(failure)) => failure,
            Err(_) => {
                tokio::spawn(self.cancel.clone().cancel());
                Failure::Deadline(COMMIT_DEADLINE)
            }
        };
        let is_silent = matches!(failure, Failure::Deadline(_));
        Err(StoreError::Lost {
            reason: failure.to_string().into(),
            is_silent,
        })
    }
}

/// How a flight ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    RollBack,
}

impl Store for Session {
    async fn commit(&mut self, deliveries: &[&EncodedRows]) -> Result<(), StoreError> {
        let tuples: Vec<_> = deliveries.iter().map(|rows| rows.bytes()).collect();
        let sent: usize = deliveries.iter().map(|rows| rows.len()).sum();
        let reply = self.fly(End::Commit, &tuples).await?;
        let doubt = if !reply.committed {
            "the server did not say that it committed"
        } else if reply.warned_at_commit {
            "the server warned while it committed; a synchronous standby may lack the rows"
        } else if reply.copied != u64::try_from(sent).ok() {
            "the server kept fewer rows than it was sent; drop the triggers and rules of \
             trunkline.events"
        } else {
            return Ok(());
        };
        Err(StoreError::Doubtful(doubt.into()))
    }

    async fn probe(&mut self, tuples: &[u8]) -> Result<(), StoreError> {
        self.fly(End::RollBack, &[tuples]).await.map(drop)
    }
}

async fn ask_settings(connection: &mut Connection) -> Result<ServerSettings, Failure> {
    let reply = connection.query(settings::QUERY).await?;
    if let Some(error) = reply.error {
        return Err(Failure::Server(error));
    }
    let answer =
        settings::read(&reply.rows).ok_or(Failure::Protocol("settings of an unknown form"))?;
    if answer.in_recovery {
        Err(Failure::Standby)
    } else {
        Ok(answer.settings)
    }
}

/// The Query of a commit and of a probe. The isolation level is set because a database's default
/// of `serializable` would cost much and gain nothing for a transaction that only adds rows.
fn statements(settings: ServerSettings) -> (String, String) {
    let level = settings.synchronous_commit.of_commits().as_str();
    let copy = copy_statement();
    let begin =
        format!("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = {level}; ");
    let commit = format!("{begin}{copy}; COMMIT");
    // A commit goes without: its deadline cancels it, and a statement less is time for everyone.
    let probe =
        format!("{begin}SET LOCAL lock_timeout = {PROBE_LOCK_TIMEOUT_MS}; {copy}; ROLLBACK");
    (commit, probe)
}

/// Why no endpoint could be opened.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) reason: String,
    /// Every server has answered and will not change its mind within a second: the password is
    /// wrong, for instance.
    pub(super) is_settled: bool,
}

impl OpenError {
    fn add(&mut self, endpoint: &Endpoint, failure: &Failure) {
        use std::fmt::Write;
        let is_first = self.reason.is_empty();
        let is_settled = match failure {
            Failure::Login(_) | Failure::Dial(DialError::Tls(_)) => true,
            Failure::Server(error) => {
                matches!(error.code.code().get(..2), Some("28" | "3D" | "42"))
            }
            _ => false,
        };
        self.is_settled = is_settled && (is_first || self.is_settled);
        if !is_first {
            self.reason.push_str("; ");
        }
        // Writing to a string cannot fail.
        let _ = write!(self.reason, "{endpoint}: {failure}");
    }
}
