//! Decides which relations and columns a source has. Pure: what was decided before and the news in, what
//! is decided now out.
//!
//! Invariants:
//! - What is decided is only ever added to. A column keeps its type and its place.
//! - Names come from [`Naming`] alone, so that the order in which events arrive decides on none.
//! - It is bounded, whatever is sent: relations, columns of one, names of events.
//! - Of a source that is pinned, no view changes but `discards`, which looks at what did not fit.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_model::naming::{Call, Naming, Prefix};

use super::casts::ColumnType;
use super::expected::expected;
use super::shape::{Kind, Shape};
use super::shaping::Rules;
use super::subject::Subject;

/// Relations of events that a source has at most.
pub(super) const MAX_EVENT_RELATIONS: usize = 500;

/// Columns that a relation has at most beside those that are always there. PostgreSQL allows 1,600 in
/// all, and replaces a view of that many slowly.
pub(super) const MAX_COLUMNS: usize = 400;

/// Names of events that are known of a source at most, those without a relation among them.
pub(super) const MAX_EVENT_NAMES: usize = 2_000;

/// Names of events that one relation shows at most.
const MAX_NAMES_OF_ONE: usize = 100;

/// Paths that share one column at most: the spellings of one property.
const MAX_PATHS: usize = 8;

/// The key of an event that columns with a prefix are made of.
const CONTEXT: &str = "context";

/// All of a source's relations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    /// By name.
    pub(crate) relations: BTreeMap<String, Relation>,
    /// What is known of each name of a track event.
    pub(crate) events: BTreeMap<String, EventName>,
}

/// One relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) subject: Subject,
    /// The columns that were made of what was sent, in their order.
    pub(crate) columns: Vec<Column>,
}

/// A column that was made of what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) sql_type: ColumnType,
    /// Where it is in the event. Of several the first that has a value that fits.
    pub(crate) paths: Vec<Vec<String>>,
    /// Whether something was sent that may not fit its type.
    pub(crate) has_misfits: bool,
}

impl Column {
    /// Whether it is of the context.
    pub(crate) fn is_of_context(&self) -> bool {
        let first = self.paths.first().and_then(|path| path.first());
        first.is_some_and(|root| root == CONTEXT)
    }
}

/// A name of a track event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventName {
    /// What the column `event` says.
    pub(crate) slug: String,
    /// The relation that shows it; None where there were too many, or where the source is pinned.
    pub(crate) relation: Option<String>,
}

/// Something that was sent and that no relation shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeftOut {
    /// The relation that is not there, or that lacks the column.
    pub(crate) relation: String,
    pub(crate) column: Option<String>,
    pub(crate) because: Because,
    /// What was sent and where.
    pub(crate) detail: String,
}

/// What keeps something out of the relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Because {
    /// There is no room for it.
    Full,
    /// The source is pinned.
    Pinned,
}

impl Because {
    /// How the catalog calls it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "overflow",
            Self::Pinned => "held",
        }
    }
}

/// What became of some news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) decided: Decided,
    pub(crate) left_out: BTreeSet<LeftOut>,
}

impl Decided {
    /// Adds the relations that are there whatever is sent, where one is missing.
    pub(crate) fn add_built_in(&mut self, naming: Naming) {
        for (name, subject) in Subject::built_in(naming) {
            self.relations
                .entry(name.to_owned())
                .or_insert_with(|| Relation::new(subject, naming));
        }
    }

    /// The names of the events that a relation shows.
    pub(crate) fn events_of<'a>(&'a self, relation: &'a str) -> impl Iterator<Item = &'a str> {
        self.events
            .iter()
            .filter(move |(_, event)| event.relation.as_deref() == Some(relation))
            .map(|(name, _)| name.as_str())
    }

    /// The relations that a shape is about; of a track event's the one of its name, were there room.
    pub(crate) fn about(&self, naming: Naming, shape: &Shape) -> Vec<String> {
        let Some(call) = shape.call else {
            return Vec::new();
        };
        let root = shape.path.first().map(String::as_str);
        let takes = |relation: &Relation| {
            relation.subject.call() == call
                && (root == Some(CONTEXT) || root.is_some() && relation.subject.container() == root)
        };
        match &shape.event {
            Some(event) if root != Some(CONTEXT) => vec![naming.relation(event)],
            _ => {
                let relations = self.relations.iter();
                let of_event = |relation: &Relation| relation.subject == Subject::Event;
                relations
                    .filter(|(_, it)| takes(it) && (root == Some(CONTEXT) || !of_event(it)))
                    .map(|(name, _)| name.clone())
                    .collect()
            }
        }
    }
}

impl Relation {
    /// With the columns that are expected of it.
    pub(super) fn new(subject: Subject, naming: Naming) -> Self {
        let mut relation = Self {
            subject,
            columns: Vec::new(),
        };
        for path in expected(subject.call()) {
            let path: Vec<_> = path.iter().map(|key| (*key).to_owned()).collect();
            if path.first().is_some_and(|root| relation.takes(root))
                && let Some(name) = relation.column_name(naming, &path)
            {
                relation.columns.push(Column {
                    name,
                    sql_type: ColumnType::Text,
                    paths: vec![path],
                    has_misfits: false,
                });
            }
        }
        relation
            .columns
            .sort_by(|one, other| one.name.cmp(&other.name));
        relation
    }

    fn takes(&self, root: &str) -> bool {
        root == CONTEXT || self.subject.container() == Some(root)
    }

    fn column_name(&self, naming: Naming, path: &[String]) -> Option<String> {
        let (root, keys) = path.split_first()?;
        let prefix = if root == CONTEXT {
            Prefix::Context
        } else {
            Prefix::None
        };
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        naming.column_of(self.subject.call(), prefix, &keys)
    }

    /// Takes up that a value of that kind was seen at `path`, in the relation of that name. What it does
    /// not show of it.
    fn note(
        &mut self,
        rules: Rules,
        relation: &str,
        path: &[String],
        kind: Kind,
    ) -> Option<LeftOut> {
        self.note_misfits_above(path);
        let sql_type = ColumnType::of(kind, rules.naming)?;
        let name = self.column_name(rules.naming, path)?;
        let left_out = |because, detail| LeftOut {
            relation: relation.to_owned(),
            column: Some(name.clone()),
            because,
            detail,
        };
        let held = || {
            let detail = format!("{} of {}", sql_type.as_str(), as_json(path));
            Some(left_out(Because::Pinned, detail))
        };
        if let Some(column) = self.columns.iter_mut().find(|column| column.name == name) {
            let is_shown = column.paths.iter().any(|known| known == path);
            if !is_shown && column.paths.len() < MAX_PATHS {
                if rules.is_pinned {
                    return held();
                }
                column.paths.push(path.to_vec());
            }
            column.has_misfits |= !column.sql_type.fits(kind);
            return None;
        }
        if rules.is_pinned {
            return held();
        }
        if self.columns.len() >= MAX_COLUMNS {
            let why = format!("the relation has {MAX_COLUMNS} columns of what was sent");
            let detail = format!("{}: {why}", as_json(path));
            return Some(left_out(Because::Full, detail));
        }
        let is_object_elsewhere = self
            .columns
            .iter()
            .flat_map(|column| &column.paths)
            .any(|known| known.len() > path.len() && known.starts_with(path));
        self.columns.push(Column {
            name,
            sql_type,
            paths: vec![path.to_vec()],
            has_misfits: sql_type.is_strict() && is_object_elsewhere,
        });
        None
    }

    /// What has something below it is an object, which fits no column of a single value.
    fn note_misfits_above(&mut self, path: &[String]) {
        for column in self.columns.iter_mut().filter(|it| it.sql_type.is_strict()) {
            column.has_misfits |= column
                .paths
                .iter()
                .any(|known| known.len() < path.len() && path.starts_with(known));
        }
    }
}

/// Takes up the news of one source.
pub(crate) fn decide(rules: Rules, known: &Decided, news: &[Shape]) -> Decision {
    let mut deciding = Deciding {
        rules,
        decided: known.clone(),
        left_out: BTreeSet::new(),
    };
    // Should they not have been made yet, what is sent is still theirs.
    deciding.decided.add_built_in(rules.naming);
    let mut news: Vec<_> = news.iter().collect();
    news.sort_by_key(|shape| (shape.noted_at, shape.kind));
    for shape in news {
        deciding.take(shape);
    }
    let Deciding {
        mut decided,
        left_out,
        ..
    } = deciding;
    // What is new comes behind what there is, by name.
    for (name, relation) in &mut decided.relations {
        let there = known.relations.get(name).map_or(0, |it| it.columns.len());
        if let Some(new) = relation.columns.get_mut(there..) {
            new.sort_by(|one, other| one.name.cmp(&other.name));
        }
    }
    Decision { decided, left_out }
}

struct Deciding {
    rules: Rules,
    decided: Decided,
    left_out: BTreeSet<LeftOut>,
}

impl Deciding {
    fn take(&mut self, shape: &Shape) {
        if let (Some(Call::Track), Some(event)) = (shape.call, &shape.event)
            && !self.has_relation(event)
        {
            return;
        }
        if shape.path.is_empty() {
            return;
        }
        for name in self.decided.about(self.rules.naming, shape) {
            let Some(relation) = self.decided.relations.get_mut(&name) else {
                continue;
            };
            if !shape.path.first().is_some_and(|root| relation.takes(root)) {
                continue;
            }
            let left_out = relation.note(self.rules, &name, &shape.path, shape.kind);
            // Of the context, `tracks` tells it for the relations of all events.
            if relation.subject != Subject::Event
                || shape.path.first().is_none_or(|root| root != CONTEXT)
            {
                self.left_out.extend(left_out);
            }
        }
    }

    /// Whether an event has a relation. One that has none gets it, where there is room.
    fn has_relation(&mut self, event: &str) -> bool {
        let known = self.decided.events.get(event);
        if known.is_some_and(|known| known.relation.is_some()) {
            return true;
        }
        let is_new = known.is_none();
        let name = self.rules.naming.relation(event);
        let all = self.decided.events.len();
        let full = if self.rules.is_pinned {
            None
        } else if is_new && all >= MAX_EVENT_NAMES {
            Some(format!("{all} names of events are known"))
        } else if self.decided.relations.contains_key(&name) {
            let names = self.decided.events_of(&name).count();
            (names >= MAX_NAMES_OF_ONE).then(|| format!("the relation shows {names} names"))
        } else {
            let relations = self.decided.relations.values();
            let events = relations.filter(|it| it.subject == Subject::Event).count();
            (events >= MAX_EVENT_RELATIONS)
                .then(|| format!("there are {events} relations of events"))
        };
        let sent = as_json(&[event]);
        let left_out = match full {
            Some(why) => Some((Because::Full, format!("{sent}: {why}"))),
            None => self.rules.is_pinned.then_some((Because::Pinned, sent)),
        };
        let is_shown = left_out.is_none();
        if let Some((because, detail)) = left_out {
            self.left_out.insert(LeftOut {
                relation: name.clone(),
                column: None,
                because,
                detail,
            });
        } else if !self.decided.relations.contains_key(&name) {
            let relation = self.new_event_relation();
            self.decided.relations.insert(name.clone(), relation);
        }
        if !is_new || all < MAX_EVENT_NAMES {
            let event_name = EventName {
                slug: self.rules.naming.slug(event),
                relation: is_shown.then_some(name),
            };
            self.decided.events.insert(event.to_owned(), event_name);
        }
        is_shown
    }

    /// With what is known of the context of track events.
    fn new_event_relation(&self) -> Relation {
        let mut relation = Relation::new(Subject::Event, self.rules.naming);
        let tracks = self.decided.relations.get("tracks");
        let columns = tracks.into_iter().flat_map(|tracks| &tracks.columns);
        for column in columns.filter(|column| column.is_of_context()) {
            match relation
                .columns
                .iter_mut()
                .find(|it| it.name == column.name)
            {
                Some(known) => *known = column.clone(),
                None => relation.columns.push(column.clone()),
            }
        }
        relation
    }
}

/// Keys as a JSON array: the same only for the same keys, whatever is in them.
pub(super) fn as_json<S: AsRef<str>>(keys: &[S]) -> String {
    let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
    serde_json::Value::from(keys).to_string()
}
