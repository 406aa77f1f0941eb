//! A connection that takes commits: opened, checked, and given up when it cannot be trusted.
//!
//! Invariants: every exchange with the server has a deadline. After a missed one, or a broken
//! connection, a session is never used again. Nothing is sent twice.

mod keyed;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use trunkline_pgconn::{Address, DialError, Endpoint, Target};

use super::error::Reason;
use super::failure::Failure;
use super::login::{CancelKey, login};
use super::repeats::{self, Caution, Rows};
use super::settings::{self, ServerSettings};
use super::statements::{Flight, Start, Statements, asking};
use super::store::{Store, StoreError, Stored};
use super::trouble::{Trouble, lost, vouch, vouched};
use super::unseen::Keyed;
use super::wire::{Connection, Reply};
use crate::rows::{EncodedRows, Mark, marked};

/// Bound on one attempt to connect to one address, when the URL sets no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bound on one commit. The ingester answers within 4 s, and Segment gives up after 5.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3);

/// How often a commit with repeats is sent with marks, before what is left is left to the owner.
const MARKED_TRIES: usize = 3;

/// Bound on anything else that an open session asks.
const QUERY_DEADLINE: Duration = Duration::from_secs(2);

/// What an exchange leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// No transaction.
    Settled,
    /// One that goes on.
    Open,
}

/// An open session.
pub(crate) struct Session {
    connection: Connection,
    cancel: CancelKey,
    settings: ServerSettings,
    statements: Box<Statements>,
    caution: Caution,
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
        let mut session = Self {
            connection,
            cancel,
            settings,
            statements: Box::new(Statements::new(settings)),
            caution: Caution::default(),
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
                *self.statements = Statements::new(settings);
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
        let reply = self
            .connection
            .copy(self.statements.of(Flight::Check, Start::New), &[])
            .await?;
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
    async fn fly(
        &mut self,
        flight: Flight,
        start: Start,
        tuples: &[&[u8]],
        until: Instant,
    ) -> Result<Reply, Trouble> {
        let fly = async |session: &mut Self| {
            let sql = session.statements.of(flight, start);
            session.connection.copy(sql, tuples).await
        };
        let reply = self.exchange(until, End::Settled, fly).await?;
        match &reply.error {
            None => Ok(reply),
            Some(error) => Err(Trouble::of(error)),
        }
    }

    /// Asks which rows repeat what is there. None when the server cannot say.
    async fn ask(
        &mut self,
        questions: &str,
        until: Instant,
    ) -> Result<Option<HashSet<usize>>, StoreError> {
        let ask = async |session: &mut Self| session.connection.query(&asking(questions)).await;
        let reply = self.exchange(until, End::Settled, ask).await?;
        match reply.error {
            None => Ok(Some(repeats::numbers(&reply.rows))),
            Some(error) => {
                tracing::warn!(%error, "cannot ask which rows repeat others");
                Ok(None)
            }
        }
    }

    /// One exchange within the deadline of a commit, whose errors of the server are in the reply, and
    /// the end of what it leaves behind: of its transaction unless that is to stay open and no error
    /// came. What runs after the deadline is cancelled.
    async fn exchange(
        &mut self,
        until: Instant,
        end: End,
        talk: impl AsyncFnOnce(&mut Self) -> Result<Reply, Failure>,
    ) -> Result<Reply, StoreError> {
        let exchange = async {
            let reply = talk(self).await?;
            if end == End::Settled || reply.error.is_some() {
                self.settle(&reply).await?;
            }
            Ok(reply)
        };
        match timeout_at(until, exchange).await {
            Ok(done) => done.map_err(|failure| lost(&failure)),
            Err(_) => {
                tokio::spawn(self.cancel.clone().cancel());
                Err(lost(&Failure::Deadline(COMMIT_DEADLINE)))
            }
        }
    }

    /// Commits rows of which some may repeat others, with marks.
    async fn commit_marked(
        &mut self,
        rows: &Rows<'_>,
        until: Instant,
    ) -> Result<Stored, StoreError> {
        let mut there = HashSet::new();
        // Each time for one bucket more: the server names one.
        for _ in 0..MARKED_TRIES {
            if let Some(questions) = rows.question(&self.caution) {
                match self.ask(&questions, until).await? {
                    Some(numbers) => there = numbers,
                    None => break,
                }
            }
            for bucket in rows.buckets_of(&there) {
                self.caution.raise(bucket, Instant::now());
            }
            let marks = rows.with_marks(&there);
            match self
                .fly(
                    Flight::Marked,
                    Start::New,
                    &marked(marks.iter().copied()),
                    until,
                )
                .await
            {
                Ok(reply) => return vouched(&reply, &marks),
                Err(Trouble::Repeat(Some(bucket))) if !self.caution.is_for(bucket) => {
                    self.caution.raise(bucket, Instant::now());
                }
                Err(Trouble::Repeat(_) | Trouble::Blocked(_)) => break,
                Err(Trouble::Store(error)) => return Err(error),
            }
        }
        self.commit_unsettled(rows, &there, until).await
    }

    /// Commits rows that cannot be compared now, so that their senders need not wait for it.
    async fn commit_unsettled(
        &mut self,
        rows: &Rows<'_>,
        there: &HashSet<usize>,
        until: Instant,
    ) -> Result<Stored, StoreError> {
        let marks = rows.unsettled(there);
        let tuples = marked(marks.iter().copied());
        match self
            .fly(Flight::Unsettled, Start::New, &tuples, until)
            .await
        {
            Ok(reply) => vouched(&reply, &marks),
            Err(trouble) => Err(trouble.into_error()),
        }
    }
}

impl Store for Session {
    async fn commit(&mut self, deliveries: &[&EncodedRows]) -> Result<Stored, StoreError> {
        let now = Instant::now();
        let until = now + COMMIT_DEADLINE;
        if let Some(keyed) = Keyed::of(deliveries) {
            return self.commit_keyed(&keyed, until).await;
        }
        if !self.caution.is_over(now) {
            let rows = Rows::new(deliveries);
            if rows.concern(&self.caution) {
                return self.commit_marked(&rows, until).await;
            }
        }
        let tuples: Vec<_> = deliveries.iter().map(|rows| rows.bytes()).collect();
        let trouble = match self.fly(Flight::Commit, Start::New, &tuples, until).await {
            Ok(reply) => {
                let sent = deliveries.iter().map(|rows| rows.len()).sum();
                return vouch(&reply, sent).map(|()| Stored::default());
            }
            Err(trouble) => trouble,
        };
        let rows = Rows::new(deliveries);
        let buckets = match trouble {
            Trouble::Repeat(Some(bucket)) => HashSet::from([bucket]),
            Trouble::Repeat(None) => rows.buckets(),
            Trouble::Blocked(_) => {
                return self.commit_unsettled(&rows, &HashSet::new(), until).await;
            }
            Trouble::Store(error) => return Err(error),
        };
        for bucket in buckets {
            self.caution.raise(bucket, now);
        }
        self.commit_marked(&rows, until).await
    }

    async fn probe(&mut self, rows: &[&[u8]]) -> Result<(), StoreError> {
        // As repeats, which no index holds: what is looked for is what a row is made of.
        let tuples = marked(rows.iter().map(|row| (*row, Mark::Repeat)));
        let until = Instant::now() + COMMIT_DEADLINE;
        match self.fly(Flight::Probe, Start::New, &tuples, until).await {
            Ok(_) => Ok(()),
            Err(trouble) => Err(trouble.into_error()),
        }
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
