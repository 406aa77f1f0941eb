//! Materialised rows: the relations for analysts of a source that wants it, kept in tables of their own
//! for the partitions whose time is over, so that a query over many days reads no JSON.
//!
//! ```text
//! keep (upkeep, with time)                  follow (beside news)      release (before retention)
//!   tables, keys, views  ◄────────────────────┘                         views, partitions
//!   the latest partition that lacks something: begin, fill, freeze, views, attach, views
//! ```
//!
//! Invariants:
//! - What a relation shows is at every moment what it would show without: a view reads a partition of a
//!   table while that has everything the view asks of it, and the events otherwise.
//! - What changes an event changes its copies in the same transaction (`catalog.rs`), and who adds rows
//!   to a partition whose time is not over pays nothing.
//! - Nobody waits: what is long is done on what nobody reads yet, what locks a view is tried as news is.
//! - Whatever ends it early, the next call goes on: what a partition lacks is in the catalog.

mod catalog;
mod leaf;
mod release;
mod show;
mod state;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;
use trunkline_pgconn::{Connected, Target};

use crate::apply::{run, run_long};
use crate::connection;
use crate::error::Error;
use crate::step::{Outcome, PendingReason, PendingStep, Report, Step};
use crate::upkeep::then_pause;
use leaf::{Closed, Leaf, attach, begin, drop_leaf, fill, find_keys, leaf_name};
use show::{name_times, show};
use state::State;
use table::{Table, drop_table};

pub(crate) use catalog::{WHOLE, catalog};
pub(crate) use release::{drop_all, release};

/// Does all that is due, of one source after another, and says what it did.
pub(crate) async fn keep(client: &Client, owner: &Target) -> Result<Report, Error> {
    let mut keeper = Keeper {
        client,
        owner,
        connected: None,
        report: Report::default(),
        failure: None,
    };
    for number in state::numbers(client).await? {
        match Box::pin(State::read(client, number)).await? {
            Some(_) => Box::pin(keeper.keep_one(number)).await?,
            None => keeper.forget_gone(number).await?,
        }
    }
    keeper.analyze().await?;
    keeper.failure.map_or(Ok(keeper.report), Err)
}

/// Takes up at once what news of a source has changed of its relations, without reading an event.
pub(crate) async fn follow(client: &Client, number: i32) -> Result<Report, Error> {
    let mut report = Report::default();
    let Some(state) = State::read(client, number).await? else {
        return Ok(report);
    };
    for (relation, wanted) in &state.wanted {
        let table = state.tables.get(relation).filter(|it| !wanted.outgrows(it));
        // What has none yet comes with its first partition.
        if let Some(step) = table.and_then(|it| wanted.step(number, relation, Some(it))) {
            report.add(&step, run(client, &step).await?);
        }
    }
    if let Some(state) = State::read(client, number).await? {
        report.absorb(show(client, &state, &BTreeSet::new()).await?);
    }
    Ok(report)
}

/// One call of [`keep`].
struct Keeper<'a> {
    client: &'a Client,
    owner: &'a Target,
    /// For what takes long; opened where something does.
    connected: Option<Connected>,
    report: Report,
    failure: Option<Error>,
}

impl Keeper<'_> {
    /// Everything that is due of one source, partition by partition.
    async fn keep_one(&mut self, number: i32) -> Result<(), Error> {
        let mut tried = BTreeSet::new();
        loop {
            let Some(mut state) = Box::pin(self.prepare(number)).await? else {
                return Ok(());
            };
            let shown = show(self.client, &state, &BTreeSet::new()).await;
            let is_changed = shown.as_ref().is_ok_and(|it| !it.changed.is_empty());
            self.note(shown)?;
            if is_changed {
                // Who changes a view has to know what it is.
                match State::read(self.client, number).await? {
                    Some(changed) => state = changed,
                    None => return Ok(()),
                }
            }
            let due = |closed: &&Closed| {
                closed.is_settled && !tried.contains(&closed.partition) && state.is_due(closed)
            };
            let Some(closed) = state.closed.iter().find(due) else {
                return Ok(());
            };
            tried.insert(closed.partition.clone());
            Box::pin(self.build(&state, closed)).await?;
        }
    }

    /// Brings the tables to what is wanted, and drops what nobody needs. What there is then.
    async fn prepare(&mut self, number: i32) -> Result<Option<State>, Error> {
        let Some(mut state) = State::read(self.client, number).await? else {
            return Ok(None);
        };
        if self.fit_tables(number, &state).await? {
            match State::read(self.client, number).await? {
                Some(changed) => state = changed,
                None => return Ok(None),
            }
        }
        let mut is_changed = false;
        for (leaf, condition) in state.without_keys() {
            let doing = format!("look for keys in trunkline_data.{}", leaf.partition);
            let sql = format!("SET LOCAL search_path = ''; {}", find_keys(leaf, condition));
            is_changed |= self.long(&doing, &sql).await? == Some(Outcome::Done);
        }
        self.vacuum_changed(&state).await?;
        if is_changed {
            return State::read(self.client, number).await;
        }
        Ok(Some(state))
    }

    /// Makes, changes and drops tables. Whether something was done.
    async fn fit_tables(&mut self, number: i32, state: &State) -> Result<bool, Error> {
        let all = &state.wanted;
        let is_wanted = |relation: &String, table: &Table| {
            all.get(relation).is_some_and(|it| !it.outgrows(table))
        };
        let mut is_changed = false;
        for leaf in state.all_leaves() {
            let table = state.tables.get(&leaf.relation);
            let is_kept = table.is_some_and(|table| is_wanted(&leaf.relation, table));
            let is_spoilt = leaf.is_changed && !leaf.is_ready;
            if !is_kept || is_spoilt || state.closed_of(leaf).is_none() {
                is_changed |= self.step(&drop_leaf(leaf)).await? == Some(Outcome::Done);
            }
        }
        for (relation, table) in &state.tables {
            if !is_wanted(relation, table) {
                is_changed |= self.step(&drop_table(&table.name)).await? == Some(Outcome::Done);
            }
        }
        for (relation, wanted) in all {
            let table = state.tables.get(relation);
            let is_kept = table.is_none_or(|table| is_wanted(relation, table));
            let step = wanted.step(number, relation, table);
            if let Some(step) = step.filter(|_| is_kept) {
                is_changed |= self.step(&step).await? == Some(Outcome::Done);
            }
        }
        Ok(is_changed)
    }

    /// Makes what the tables lack of one partition.
    async fn build(&mut self, state: &State, closed: &Closed) -> Result<(), Error> {
        let relations = state.wanted.keys();
        let there = relations.filter_map(|relation| state.leaf(relation, closed));
        let outdated: BTreeMap<_, _> = there
            .filter(|leaf| leaf.is_ready && state.lacks_something(leaf))
            .map(|leaf| (leaf.id, leaf))
            .collect();
        if !outdated.is_empty() {
            let without = outdated.keys().copied().collect();
            let shown = show(self.client, state, &without).await;
            self.note(shown)?;
            for leaf in outdated.values() {
                self.step(&drop_leaf(leaf)).await?;
            }
        }
        for relation in state.wanted.keys() {
            let leaf = state.leaf(relation, closed);
            match leaf.filter(|leaf| !outdated.contains_key(&leaf.id)) {
                Some(leaf) if leaf.is_ready => {}
                leaf => {
                    if !self.build_one(state, relation, closed, leaf).await? {
                        // Nor does any other get the lock of the partition.
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes one partition of a table, or goes on with what is `there`. False where somebody holds the lock
    /// of the partition of events.
    async fn build_one(
        &mut self,
        state: &State,
        relation: &str,
        closed: &Closed,
        there: Option<&Leaf>,
    ) -> Result<bool, Error> {
        let Some(table) = state.tables.get(relation) else {
            return Ok(true);
        };
        let name = leaf_name(&table.name, &closed.partition);
        if there.is_none() && self.step(&begin(table, closed)).await? == Some(Outcome::Locked) {
            return Ok(false);
        }
        if there.is_none_or(|it| !it.is_filled) {
            let doing = format!("fill trunkline_data.{name}");
            let sql = fill(&table.name, &closed.partition);
            self.long(&doing, &sql).await?;
        }
        let doing = format!("freeze trunkline_data.{name}");
        let sql = format!("VACUUM (FREEZE, ANALYZE) trunkline_data.{name}");
        self.long(&doing, &sql).await?;
        let named = name_times(self.client, state, relation).await;
        self.note(named)?;
        let attached = self.step(&attach(&table.name, closed)).await?;
        if attached == Some(Outcome::NotNeeded) {
            // Somebody's snapshot is older, or somebody reads for long a view that reads the whole table.
            self.report.pending.push(PendingStep {
                step: format!("attach trunkline_data.{name}"),
                reason: PendingReason::Locked,
            });
        }
        Ok(attached != Some(Outcome::Locked))
    }

    /// Vacuums partitions in which rows have changed: what was deleted of a person is to be gone.
    async fn vacuum_changed(&mut self, state: &State) -> Result<(), Error> {
        for leaf in state
            .all_leaves()
            .filter(|it| it.is_ready && it.was_changed)
        {
            let doing = format!("vacuum trunkline_data.{}", leaf.name);
            let sql = format!("VACUUM (FREEZE, ANALYZE) trunkline_data.{}", leaf.name);
            if self.long(&doing, &sql).await? == Some(Outcome::Done) {
                self.step(&leaf::forget_changes(leaf)).await?;
            }
        }
        Ok(())
    }

    /// Keeps the statistics of tables over their partitions, which PostgreSQL does not.
    async fn analyze(&mut self) -> Result<(), Error> {
        for table in state::unknown(self.client).await? {
            let doing = format!("analyze trunkline_data.{table}");
            let sql = format!("ANALYZE trunkline_data.{table}");
            self.long(&doing, &sql).await?;
        }
        Ok(())
    }

    /// Drops the tables of a source that there is no more.
    async fn forget_gone(&mut self, number: i32) -> Result<(), Error> {
        if release::is_forgotten(self.client, number).await? {
            let dropped = drop_all(self.client, number).await;
            self.note(dropped)?;
        }
        Ok(())
    }

    /// Does a step. None where it failed.
    async fn step(&mut self, step: &Step) -> Result<Option<Outcome>, Error> {
        let outcome = run(self.client, step).await;
        let is = outcome.as_ref().ok().copied();
        self.note(outcome.map(|outcome| Report::of(step, outcome)))?;
        Ok(is)
    }

    /// Runs what takes long, and pauses. None where it failed.
    async fn long(&mut self, doing: &str, sql: &str) -> Result<Option<Outcome>, Error> {
        if self.connected.is_none() {
            self.connected = Some(connection::open(self.owner).await?);
        }
        let Some(connected) = &self.connected else {
            return Ok(None);
        };
        match then_pause(run_long(connected, doing, sql)).await {
            Ok(outcome) => {
                tracing::debug!(step = doing, ?outcome, "materialised rows");
                if outcome == Outcome::Done {
                    self.report.changed.push(doing.to_owned());
                }
                Ok(Some(outcome))
            }
            Err(error) => {
                self.note(Err(error))?;
                Ok(None)
            }
        }
    }

    /// Keeps what became of something; only what concerns all of them ends the work.
    fn note(&mut self, done: Result<Report, Error>) -> Result<(), Error> {
        match done {
            Ok(report) => self.report.absorb(report),
            // Somebody else has dropped it, and it is looked for anew.
            Err(error) if error.is_gone() => {}
            Err(error) if error.is_local() => {
                self.failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
