//! A commit of rows of which some are stored only if they repeat nothing: two flights in one
//! transaction.
//!
//! Invariant: keys are taken in the transaction that stores their rows, and in no other. Each try
//! begins with them, since the end of the one before has given them back.

use std::collections::HashSet;

use tokio::time::Instant;

use super::{End, MARKED_TRIES, Session};
use crate::commit::failure::Failure;
use crate::commit::repeats::{self, Rows};
use crate::commit::statements::{Flight, Start};
use crate::commit::store::{StoreError, Stored};
use crate::commit::trouble::{Trouble, lost, undecided, vouch, vouch_for_nothing, vouched};
use crate::commit::unseen::{Keyed, Left};
use crate::rows::marked;

/// How often a commit is tried: as it is, with marks, and without comparing.
const TRIES: usize = MARKED_TRIES + 2;

impl Session {
    /// Commits rows of which some have keys.
    pub(super) async fn commit_keyed(
        &mut self,
        keyed: &Keyed<'_>,
        until: Instant,
    ) -> Result<Stored, StoreError> {
        let mut is_blocked = false;
        for tries_left in (0..TRIES).rev() {
            is_blocked |= tries_left == 0;
            let left = self.take_keys(keyed, until).await?;
            if left.is_empty() {
                return self.commit_nothing(left, until).await;
            }
            let rows = Rows::of(left.tuples());
            let is_cautious = !self.caution.is_over(Instant::now()) && rows.concern(&self.caution);
            let stored = if is_blocked || is_cautious {
                self.store_marked(&rows, is_blocked, until).await
            } else {
                self.store_plain(&left, until).await
            };
            match stored {
                Ok(stored) => {
                    return Ok(Stored {
                        left_out: left.left_out,
                        ..stored
                    });
                }
                Err(Trouble::Repeat(Some(bucket)))
                    if !is_blocked && !self.caution.is_for(bucket) =>
                {
                    self.caution.raise(bucket, Instant::now());
                }
                Err(Trouble::Repeat(None)) if !is_blocked && !is_cautious => {
                    for bucket in rows.buckets() {
                        self.caution.raise(bucket, Instant::now());
                    }
                }
                Err(Trouble::Repeat(_) | Trouble::Blocked(_)) if !is_blocked => is_blocked = true,
                Err(trouble) => return Err(trouble.into_error()),
            }
        }
        Err(Trouble::Repeat(None).into_error())
    }

    /// Begins a transaction and takes the keys that are to be had; what is to be stored in it then.
    async fn take_keys<'a>(
        &mut self,
        keyed: &Keyed<'a>,
        until: Instant,
    ) -> Result<Left<'a>, StoreError> {
        let sql = self.statements.taking(&keyed.question());
        let take = async |session: &mut Self| session.connection.query(&sql).await;
        let reply = self.exchange(until, End::Open, take).await?;
        if let Some(error) = &reply.error {
            return Err(undecided(error));
        }
        if !reply.in_transaction {
            let told = "the end of a transaction that was only begun";
            return Err(lost(&Failure::Protocol(told)));
        }
        keyed
            .left(&reply.rows)
            .ok_or_else(|| lost(&Failure::Protocol("keys that nobody asked for")))
    }

    /// Ends a transaction in which nothing is to be stored. By COMMIT, since that waits until what
    /// the rows repeat has reached a synchronous standby, which whoever stored it may not have seen.
    async fn commit_nothing(
        &mut self,
        left: Left<'_>,
        until: Instant,
    ) -> Result<Stored, StoreError> {
        let commit = async |session: &mut Self| session.connection.query("COMMIT").await;
        let reply = self.exchange(until, End::Settled, commit).await?;
        if let Some(error) = &reply.error {
            return Err(Trouble::of(error).into_error());
        }
        vouch_for_nothing(&reply)?;
        Ok(Stored {
            left_out: left.left_out,
            ..Stored::default()
        })
    }

    async fn store_plain(&mut self, left: &Left<'_>, until: Instant) -> Result<Stored, Trouble> {
        let (flight, start) = (Flight::Commit, Start::Open);
        let reply = self.fly(flight, start, &left.bytes(), until).await?;
        vouch(&reply, left.len())?;
        Ok(Stored::default())
    }

    /// Asks which rows repeat a message that is there, in the open transaction, and stores them with
    /// marks; without asking where others are in the way.
    async fn store_marked(
        &mut self,
        rows: &Rows<'_>,
        is_blocked: bool,
        until: Instant,
    ) -> Result<Stored, Trouble> {
        let nothing = HashSet::new();
        let (flight, marks) = match rows.question(&self.caution) {
            _ if is_blocked => (Flight::Unsettled, rows.unsettled(&nothing)),
            None => (Flight::Marked, rows.with_marks(&nothing)),
            Some(question) => {
                let ask = async |session: &mut Self| session.connection.query(&question).await;
                let reply = self.exchange(until, End::Open, ask).await?;
                if let Some(error) = reply.error {
                    tracing::warn!(%error, "cannot ask which rows repeat others");
                    return Err(Trouble::Blocked(error.to_string().into()));
                }
                let there = repeats::numbers(&reply.rows);
                for bucket in rows.buckets_of(&there) {
                    self.caution.raise(bucket, Instant::now());
                }
                (Flight::Marked, rows.with_marks(&there))
            }
        };
        let tuples = marked(marks.iter().copied());
        let reply = self.fly(flight, Start::Open, &tuples, until).await?;
        Ok(vouched(&reply, &marks)?)
    }
}
