//! Decides which relations and columns a source has. Pure: what was decided before and the news in, what
//! is decided now out.
//!
//! Invariants:
//! - What is decided is only ever added to. A column keeps its type and its place.
//! - Names come from [`Naming`] alone, so that the order in which events arrive decides on none.
//! - It is bounded, whatever is sent: relations, columns of one, names of events.
//! - Of a source that is pinned, no view changes but `discards`, which looks at what did not fit.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_model::naming::{Call, Naming};

use super::relation::{Because, CONTEXT, LeftOut, Relation, as_json};
use super::shape::Shape;
use super::shaping::Rules;
use super::subject::Subject;

/// Relations of events that a source has at most.
pub(super) const MAX_EVENT_RELATIONS: usize = 500;

/// Names of events that are known of a source at most, those without a relation among them.
pub(super) const MAX_EVENT_NAMES: usize = 2_000;

/// Names of events that one relation shows at most.
const MAX_NAMES_OF_ONE: usize = 100;

/// All of a source's relations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    /// By name.
    pub(crate) relations: BTreeMap<String, Relation>,
    /// What is known of each name of a track event.
    pub(crate) events: BTreeMap<String, EventName>,
}

/// A name of a track event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventName {
    /// What the column `event` says.
    pub(crate) slug: String,
    /// The relation that shows it; None where there were too many, or where the source is pinned.
    pub(crate) relation: Option<String>,
}

/// What became of some news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) decided: Decided,
    pub(crate) left_out: BTreeSet<LeftOut>,
}

impl Decided {
    /// Adds the relations that are there whatever is sent, where one is missing.
    pub(crate) fn add_built_in(&mut self, rules: Rules<'_>) {
        for (name, subject) in Subject::built_in(rules.naming) {
            self.relations
                .entry(name.to_owned())
                .or_insert_with(|| Relation::new(name, subject, rules));
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

/// Takes up the news of one source.
pub(crate) fn decide(rules: Rules<'_>, known: &Decided, news: &[Shape]) -> Decision {
    let mut deciding = Deciding {
        rules,
        decided: known.clone(),
        left_out: BTreeSet::new(),
    };
    // Should they not have been made yet, what is sent is still theirs.
    deciding.decided.add_built_in(rules);
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

struct Deciding<'a> {
    rules: Rules<'a>,
    decided: Decided,
    left_out: BTreeSet<LeftOut>,
}

impl Deciding<'_> {
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
            let relation = self.new_event_relation(&name);
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
    fn new_event_relation(&self, name: &str) -> Relation {
        let mut relation = Relation::new(name, Subject::Event, self.rules);
        let tracks = self.decided.relations.get("tracks");
        let columns = tracks.into_iter().flat_map(|tracks| &tracks.columns);
        for column in columns.filter(|column| column.is_of_context()) {
            relation.adopt(name, column, self.rules);
        }
        relation
    }
}
