//! Takes up news of shapes: relations of events that are new, columns of properties that are.
//!
//! Invariants:
//! - Without news it costs one query on an index that is empty then, and nothing is written.
//! - News is handled once everything that it asks for is there. A relation that somebody reads for
//!   long, or that cannot be made, keeps its own news alone waiting, with pauses that grow.
//! - What it logs and what its steps are called does not name what senders named.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use trunkline_model::names::{ClusterName, SourceName};

use super::change::Definition;
use super::decide::{Decided, Decision, decide};
use super::handled::handle;
use super::known::{self, Known};
use super::shape::{Kind, Shape, call_of};
use super::shaping::Rules;
use super::view::Origin;
use crate::Warehouse;
use crate::apply::{field, read, try_once};
use crate::catalog::{self, SourceRow};
use crate::claim::Held;
use crate::error::{Error, chain};
use crate::layout;
use crate::materialize;
use crate::roles::Role;
use crate::step::{Outcome, PendingReason};

/// News taken up at once; what is more comes next.
const NEWS_AT_ONCE: usize = 10_000;

/// First and longest pause before a relation is tried again that could not be changed.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// How often a relation is found locked before that is worth telling: some ten seconds.
const TOLD_AFTER: u32 = 5;

/// Takes up what ingesters have noted of the sources of a cluster, on a connection of its own.
///
/// It keeps in mind which relations had to wait, and nothing else: another one takes up the rest.
#[derive(Debug)]
pub struct Relator {
    warehouse: Warehouse,
    waiting: HashMap<(i32, String), Waiting>,
}

/// A relation that could not be changed.
#[derive(Debug)]
struct Waiting {
    source: String,
    failures: u32,
    until: Instant,
    /// What its owner should know.
    why: Option<String>,
}

/// What was taken up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Relations that were made or changed.
    pub changed: usize,
    /// Whether there was no room for something, or something was held back.
    pub left_out: bool,
    /// What keeps relations from being made or changed, for the owner of each source.
    pub troubles: BTreeMap<SourceName, Vec<String>>,
}

impl Relator {
    /// How often to look. With the noting before it and the transaction behind it, a new event is found
    /// well within two seconds.
    pub const EVERY: Duration = Duration::from_millis(500);

    /// Works over the connection of `warehouse`.
    #[must_use]
    pub fn new(warehouse: Warehouse) -> Self {
        Self {
            warehouse,
            waiting: HashMap::new(),
        }
    }

    /// Takes up what is new. To be called every half second or so, and between
    /// [`Warehouse::ensure_sources`], which makes what is always there.
    ///
    /// # Errors
    /// When the database is not reached or not prepared. What one relation is refused is its trouble.
    pub async fn poll(&mut self, cluster: &ClusterName) -> Result<News, Error> {
        let Self { warehouse, waiting } = self;
        let lease = warehouse.connection.lease().await?;
        let (database, shapes) = news(&lease, cluster).await?;
        let mut polled = Poll {
            client: &lease,
            database: &database,
            waiting,
            met: BTreeSet::new(),
            reshaped: BTreeSet::new(),
            news: News::default(),
        };
        if !shapes.is_empty() {
            layout::require(&lease).await?;
            polled.take_up(shapes).await?;
            polled.follow().await?;
        }
        let news = polled.finish();
        lease.give_back();
        Ok(news)
    }
}

/// Reads what is new, by the number of the source, and the name of the database.
async fn news(
    client: &Client,
    cluster: &ClusterName,
) -> Result<(String, BTreeMap<i32, Vec<Shape>>), Error> {
    let doing = "look for shapes of events that are new";
    let sql = format!(
        "SELECT s.bucket, n.id::text, n.call, n.event, array_remove(n.path, NULL), n.kind, \
         (extract(epoch FROM n.noted_at) * 1000000)::bigint, current_database()::text \
         FROM trunkline.shapes n JOIN trunkline.sources s ON s.source = n.source \
         WHERE n.handled_at IS NULL AND s.cluster = $1 AND s.layout IS NOT NULL \
         AND s.removed_at IS NULL ORDER BY n.noted_at LIMIT {NEWS_AT_ONCE}"
    );
    let cluster = cluster.to_string();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&cluster, Type::TEXT)];
    let rows = read(client, doing, &sql, &parameters).await?;
    let (mut database, mut shapes) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    for row in &rows {
        database = field(row, doing, 7)?;
        shapes
            .entry(field(row, doing, 0)?)
            .or_default()
            .push(shape(row, doing)?);
    }
    Ok((database, shapes))
}

fn shape(row: &Row, doing: &str) -> Result<Shape, Error> {
    let (call, kind): (String, String) = (field(row, doing, 2)?, field(row, doing, 5)?);
    Ok(Shape {
        id: field(row, doing, 1)?,
        call: call_of(&call),
        event: field(row, doing, 3)?,
        path: field(row, doing, 4)?,
        kind: Kind::from_catalog(&kind),
        noted_at: field(row, doing, 6)?,
    })
}

/// One look at the news.
struct Poll<'a> {
    client: &'a Client,
    database: &'a str,
    waiting: &'a mut HashMap<(i32, String), Waiting>,
    /// The relations that wait, as far as this look has met them.
    met: BTreeSet<(i32, String)>,
    /// Sources with materialised rows of which a relation has changed.
    reshaped: BTreeSet<i32>,
    news: News,
}

impl Poll<'_> {
    /// Lets relations that have changed read again what is materialised of them.
    async fn follow(&self) -> Result<(), Error> {
        for number in &self.reshaped {
            match Box::pin(materialize::follow(self.client, *number)).await {
                // They read events meanwhile, and upkeep tries it again.
                Err(error) if error.is_local() => {
                    let error = chain(&error);
                    tracing::debug!(error, "relations read events until upkeep has looked");
                }
                done => drop(done?),
            }
        }
        Ok(())
    }

    async fn take_up(&mut self, shapes: BTreeMap<i32, Vec<Shape>>) -> Result<(), Error> {
        let numbers: Vec<_> = shapes.keys().copied().collect();
        let (rows, mut relations) = tokio::try_join!(
            biased;
            catalog::sources(self.client),
            known::read(self.client, Some(&numbers))
        )?;
        let rows: HashMap<_, _> = rows.iter().map(|row| (row.number, row)).collect();
        for (number, shapes) in shapes {
            let known = relations.remove(&number).unwrap_or_default();
            if let (Some(row), Some(rules)) = (rows.get(&number), known.rules()) {
                self.take_up_one(row, rules, &known, &shapes).await?;
            }
        }
        Ok(())
    }

    /// The news of one source.
    async fn take_up_one(
        &mut self,
        row: &SourceRow,
        rules: Rules<'_>,
        known: &Known,
        shapes: &[Shape],
    ) -> Result<(), Error> {
        let origin = Origin {
            source: &row.source,
            schema: &row.schema,
            held: Held {
                number: row.number,
                bucket: row.bucket(),
            },
            naming: rules.naming,
        };
        let group = Role::reader(self.database, &row.schema);
        let Decision {
            mut decided,
            left_out,
        } = decide(rules, &known.decided, shapes);
        let mut blocked = BTreeSet::new();
        for name in changed(&known.decided, &decided) {
            let definition = Definition::of_relation(origin, &group, known, &decided, &name);
            let Some(definition) = definition else {
                continue;
            };
            if !self.attempt(origin, &definition).await? {
                blocked.insert(name);
            } else if known.is_materialized && definition.changes_view() {
                self.reshaped.insert(row.number);
            }
        }
        let is_there = |shape: &&Shape| {
            let about = decided.about(rules.naming, shape);
            about.iter().all(|name| !blocked.contains(name))
        };
        let handled: Vec<_> = shapes.iter().filter(is_there).collect();
        leave_as_known(&mut decided, known, &blocked);
        let discards = Definition::of_discards(origin, &group, known, &decided);
        if discards.changes_view() && !self.attempt(origin, &discards).await? {
            // What it is to show is known of columns, and no shape's alone.
            return Ok(());
        }
        if handled.is_empty() {
            return Ok(());
        }
        self.news.left_out |= !left_out.is_empty();
        let step = handle(origin, known, &decided, &left_out, &handled);
        // What is not marked now is found again, and asks for nothing more.
        match try_once(self.client, &step).await {
            Err(error) if !error.is_local() => Err(error),
            _ => Ok(()),
        }
    }

    /// Tries to bring a relation to its definition, unless it is to wait. Whether it is there.
    async fn attempt(
        &mut self,
        origin: Origin<'_>,
        definition: &Definition,
    ) -> Result<bool, Error> {
        let key = (origin.held.number, definition.relation.clone());
        self.met.insert(key.clone());
        if self
            .waiting
            .get(&key)
            .is_some_and(|it| Instant::now() < it.until)
        {
            return Ok(false);
        }
        let step = definition.step_of_news();
        let (why, is_known) = match definition.attempt(self.client, &step).await {
            Ok(Outcome::Done) => {
                self.waiting.remove(&key);
                self.news.changed += usize::from(definition.changes_view());
                return Ok(true);
            }
            // Somebody else was faster, or it is of another layout still.
            Ok(Outcome::NotNeeded) => (None, false),
            Ok(Outcome::Locked) => {
                let pending = definition.pending(PendingReason::Locked);
                (Some(pending.to_string()), false)
            }
            Err(error) if error.is_local() => (Some(chain(&error)), true),
            Err(error) => return Err(error),
        };
        let waiting = self.waiting.entry(key).or_insert_with(|| Waiting {
            source: origin.source.to_owned(),
            failures: 0,
            until: Instant::now(),
            why: None,
        });
        waiting.until = Instant::now() + pause(waiting.failures);
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.why = why.filter(|_| is_known || waiting.failures >= TOLD_AFTER);
        Ok(false)
    }

    /// What there is to tell. Whatever waits no longer is forgotten.
    fn finish(self) -> News {
        let Self {
            waiting,
            met,
            mut news,
            ..
        } = self;
        waiting.retain(|key, _| met.contains(key));
        let mut told: Vec<_> = waiting
            .values()
            .filter_map(|it| Some((it.source.parse::<SourceName>().ok()?, it.why.clone()?)))
            .collect();
        told.sort();
        for (source, why) in told {
            news.troubles.entry(source).or_default().push(why);
        }
        news
    }
}

/// The relations that are new, or of which something is.
fn changed(before: &Decided, after: &Decided) -> Vec<String> {
    let events = after.events.iter();
    let events: BTreeSet<_> = events
        .filter(|(name, event)| before.events.get(*name) != Some(*event))
        .filter_map(|(_, event)| event.relation.as_deref())
        .collect();
    let relations = after.relations.iter();
    relations
        .filter(|(name, relation)| {
            before.relations.get(*name) != Some(*relation) || events.contains(name.as_str())
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// Takes back what was decided of relations that could not be changed.
fn leave_as_known(decided: &mut Decided, known: &Known, blocked: &BTreeSet<String>) {
    for name in blocked {
        match known.decided.relations.get(name) {
            Some(relation) => {
                decided.relations.insert(name.clone(), relation.clone());
            }
            None => {
                decided.relations.remove(name);
            }
        }
    }
    decided.events.retain(|name, event| {
        let is_blocked = |relation: &String| blocked.contains(relation);
        if event.relation.as_ref().is_some_and(is_blocked) {
            match known.decided.events.get(name) {
                Some(before) => *event = before.clone(),
                None => return false,
            }
        }
        true
    });
}

/// The pause after so many failures before this one, a quarter longer or shorter by chance.
fn pause(failures: u32) -> Duration {
    let [first, longest] = PAUSES;
    let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    let nominal = first.saturating_mul(doubled).min(longest);
    nominal.mul_f64(rand::rng().random_range(0.75..1.25))
}
