//! What a source needs, as steps, and what it means when one of them cannot be done.

use tokio_postgres::Client;
use trunkline_model::names::{RelationName, SourceName};

use crate::apply::{run, run_or_fail};
use crate::catalog::Marks;
use crate::claim::{self, Held};
use crate::error::{Error, chain};
use crate::found::{Found, Place};
use crate::indexes;
use crate::layout::{EVENTS, create_schema};
use crate::own_views::{self, KeptView, OwnWork};
use crate::partitions::{self, Bucket, Occasion};
use crate::ranges::Range;
use crate::reader_rights;
use crate::readers::Readers;
use crate::record;
use crate::relations::{self, Definition, Known, WarehouseLayout};
use crate::roles::Role;
use crate::source_error::SourceError;
use crate::sources::DesiredSource;
use crate::step::{Report, Step};
use crate::views::EventsView;

/// One step of a source, and what it means when others hold its lock.
pub(crate) enum Work {
    /// Nothing can be stored without it: the source fails.
    Essential(Step),
    /// It can come later.
    Deferrable(Step),
    /// It can come later, and there is more than one way to do it.
    View(EventsView, Step),
    /// A listed reader's, whose trouble is a warning.
    Reader(Step),
    /// One of the analysts' relations, whose trouble is a warning.
    Relation(Box<Definition>, Step),
    /// Of what there is to tell of them, whose trouble is a warning.
    Listing(Step),
    /// Of a view of the source's own, whose trouble is that view's.
    Own(OwnWork),
}

impl Work {
    pub(crate) fn step(&self) -> &Step {
        match self {
            Self::Essential(step)
            | Self::Deferrable(step)
            | Self::View(_, step)
            | Self::Reader(step)
            | Self::Listing(step)
            | Self::Relation(_, step) => step,
            Self::Own(work) => work.step(),
        }
    }

    async fn run(&self, client: &Client) -> Result<Report, Error> {
        match self {
            Self::Essential(step) => run_or_fail(client, step).await,
            Self::Deferrable(step) | Self::Reader(step) | Self::Listing(step) => {
                Ok(Report::of(step, run(client, step).await?))
            }
            Self::View(view, _) => view.ensure(client).await,
            Self::Relation(definition, _) => definition.ensure(client).await,
            Self::Own(work) => work.run(client).await,
        }
    }
}

/// Everything that a bucket may need that several sources share.
pub(crate) fn shared_bucket(bucket: Bucket, occasion: Occasion, taken: &[Range]) -> Vec<Work> {
    let table = partitions::bucket_table(bucket.number);
    let mut work = vec![Work::Essential(partitions::finish_detach(EVENTS, &table))];
    work.extend(tables(bucket, None, occasion, taken));
    work
}

/// What all readers share, where we make roles.
pub(crate) fn of_readers(place: Place<'_>) -> Vec<Work> {
    let steps = place
        .readers()
        .map(|_| reader_rights::of_everybody(place.database));
    steps.into_iter().flatten().map(Work::Deferrable).collect()
}

/// What a bucket needs that is new and that several sources will share.
pub(crate) fn new_shared_bucket(bucket: Bucket, occasion: Occasion) -> Vec<Step> {
    let work = tables(bucket, None, occasion, &[]);
    work.iter().map(|work| work.step().clone()).collect()
}

/// The tables of a bucket, of one source or of several: attached last.
fn tables(
    bucket: Bucket,
    source: Option<&SourceName>,
    occasion: Occasion,
    taken: &[Range],
) -> Vec<Work> {
    let create = partitions::create_bucket(bucket.number, source);
    let leaves = partitions::leaves(bucket, occasion, taken);
    let mut work = vec![Work::Essential(create)];
    work.extend(leaves.into_iter().map(Work::Deferrable));
    work.push(Work::Essential(partitions::attach_bucket(bucket.number)));
    work
}

/// Everything that a source may need that may have been here before.
pub(crate) fn of_source(
    place: Place<'_>,
    found: &Found,
    source: &DesiredSource,
    held: Held,
    taken: &[Range],
) -> Vec<Work> {
    let Held { number, mut bucket } = held;
    let mut all = Vec::new();
    if !bucket.is_shared {
        bucket.by = source.partition_by.unwrap_or(bucket.by);
        bucket.tells_repeats = source.tells_repeats(bucket.tells_repeats);
        bucket.indexes = source.indexes.unwrap_or(bucket.indexes);
        let table = partitions::bucket_table(bucket.number);
        all.push(Work::Essential(partitions::finish_detach(EVENTS, &table)));
    }
    let held = Held { number, bucket };
    let none = Known::default();
    let known = found.relations.get(&number).unwrap_or(&none);
    all.extend(steps(place, source, held, taken, &found.roles, known));
    let relation = source.schema.events();
    let given = found.given.get(&number).map_or(&[][..], Vec::as_slice);
    let made = found.own_views.get(&number).map_or(&[][..], Vec::as_slice);
    let there = made.iter().filter(|made| made.is_there);
    let views: Vec<_> = there.map(|made| made.name.clone()).collect();
    let group = place.reader_group(source);
    let readers = Readers {
        views: &views,
        ..readers(number, &relation, group.as_ref(), source)
    };
    let revocations = readers.revocations(given, place.database);
    all.extend(revocations.into_iter().map(Work::Reader));
    let grantees = readers.grantees(&found.roles);
    let grants = own_views::let_read(source, made, &grantees);
    all.extend(grants.into_iter().map(Work::Reader));
    let unwanted = own_views::drop_unwanted(source, number, made);
    all.extend(unwanted.into_iter().map(Work::Own));
    let current = record::record_current(number, place.cluster, source);
    all.push(Work::Deferrable(current));
    all.extend(indexes::record(number, source).map(Work::Deferrable));
    all
}

/// What a source needs that is new, in a fixed order, once it has its place.
pub(crate) fn new_source(
    place: Place<'_>,
    source: &DesiredSource,
    held: Held,
    existing_roles: &Marks,
) -> Vec<Step> {
    let layout = source.layout.and_then(WarehouseLayout::naming);
    let known = Known::of_new(layout, source.shaping.as_ref());
    let record = layout.map(|_| relations::record_layout(held.number, source, layout));
    let shape = relations::record_shaping(held.number, source, None, layout);
    // Nothing is to be written where there are none.
    let asks = source.indexes.is_some_and(|it| !it.is_empty());
    let indexed = indexes::record(held.number, source).filter(|_| asks);
    let work = steps(place, source, held, &[], existing_roles, &known);
    let steps = work.iter().map(|work| work.step().clone());
    let records = record.into_iter().chain(shape).chain(indexed);
    records.chain(steps).collect()
}

/// Everything that a source has, storage of its own first: a relation that can be seen can be read.
fn steps(
    place: Place<'_>,
    source: &DesiredSource,
    held: Held,
    taken: &[Range],
    existing_roles: &Marks,
    known: &Known,
) -> Vec<Work> {
    let DesiredSource {
        name,
        schema,
        body,
        header_columns,
        ..
    } = source;
    let Held { number, bucket } = held;
    let relation = schema.events();
    let mark = claim::mark(name);
    let schema_step = create_schema(schema.as_str(), &mark, place.database);
    let mut work = vec![Work::Essential(schema_step)];
    if !bucket.is_shared {
        work.extend(tables(bucket, Some(name), place.occasion, taken));
    }
    let view = EventsView::new(name, relation.clone(), held, *body, header_columns);
    let view_step = view.create_or_replace();
    work.push(Work::View(view, view_step));
    let group = place.reader_group(source);
    if group.is_some() {
        let steps = reader_rights::of_group(place.database, &relation);
        work.extend(steps.into_iter().map(Work::Deferrable));
    }
    let readers = readers(number, &relation, group.as_ref(), source);
    let grants = readers.grants(existing_roles);
    work.extend(grants.into_iter().map(Work::Reader));
    let grantees = readers.grantees(existing_roles);
    let roles: Vec<_> = grantees.iter().map(String::as_str).collect();
    let of_relations = relations::work(place, source, held, known, &roles);
    work.extend(of_relations.definitions.into_iter().map(|definition| {
        let step = definition.step();
        Work::Relation(Box::new(definition), step)
    }));
    work.extend(of_relations.grants.into_iter().map(Work::Reader));
    work.extend(of_relations.list.map(Work::Listing));
    let own_views = source.views.iter().flat_map(|views| &views.views);
    work.extend(
        own_views.map(|view| Work::Own(KeptView::new(view, source, held, grantees.clone()).work())),
    );
    work
}

/// Those who are to read the source of that number.
pub(crate) fn readers<'a>(
    number: i32,
    relation: &'a RelationName,
    group: Option<&'a Role>,
    source: &'a DesiredSource,
) -> Readers<'a> {
    Readers {
        number,
        relation,
        group,
        listed: &source.readers,
        views: &[],
    }
}

/// What of some work is to be done, by the next verdicts, one for each step.
pub(crate) fn due<'a>(
    work: &'a [Work],
    verdicts: &mut impl Iterator<Item = bool>,
) -> Vec<&'a Work> {
    work.iter()
        .filter(|_| verdicts.next().unwrap_or_default())
        .collect()
}

/// What became of some work.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) report: Report,
    /// What could not be done for readers.
    pub(crate) refused: Vec<String>,
    /// What could not be done, or not yet, of the source's own views.
    pub(crate) views: Vec<String>,
}

/// Does one source's work. The outer error ends the run, the inner one this source.
pub(crate) async fn run_all(
    client: &Client,
    work: Vec<&Work>,
) -> Result<Result<Done, SourceError>, Error> {
    let mut all = Done::default();
    for item in work {
        match (item.run(client).await, item) {
            (Ok(done), Work::Own(_)) => {
                let Report { changed, pending } = done;
                all.report.changed.extend(changed);
                all.views.extend(pending.iter().map(ToString::to_string));
            }
            (Ok(done), _) => all.report.absorb(done),
            (Err(error), Work::Own(_)) if error.is_local() => all.views.push(chain(&error)),
            (Err(error), Work::Reader(_) | Work::Relation(..) | Work::Listing(_))
                if error.is_local() =>
            {
                all.refused.push(chain(&error));
            }
            (Err(error), _) if error.is_local() => {
                return Ok(Err(SourceError::Database(Box::new(error))));
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(Ok(all))
}
