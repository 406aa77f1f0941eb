//! Finds the news in the events of one delivery.
//!
//! An event that holds no news, which is almost every one, costs one look-up for each of its fields.
//! Texts are made for news alone.
//!
//! Invariants:
//! - What is told was committed. News that is dropped untold is news again.
//! - No value of an event gets into it.

use std::sync::Arc;

use arc_swap::Guard;

use super::known::{Bound, Group, Known, Sighting};
use super::shape::{Call, Shape};
use super::source::SourceShapes;
use crate::json::{Envelope, Field, Kind, Outline, Root, hash};

/// Bytes of an event name above which it is not noted.
const MAX_EVENT_BYTES: usize = 1_000;

/// What stands for an event name in the group of a call without one, and in that of a context.
const NO_EVENT: u64 = 0x1F83_D9AB_FB41_BD6B;
const CONTEXT: u64 = 0x5BE0_CD19_137E_2179;

/// How often each bound was met.
pub(super) type Counts = [u64; Bound::ALL.len()];

/// What a delivery has to tell.
#[derive(Debug)]
pub(crate) struct News {
    /// The source, as `namespace/name`.
    pub(super) name: Arc<str>,
    pub(super) unnoted: Counts,
    /// Each with its hash.
    pub(super) shapes: Vec<(u64, Shape)>,
    source: Arc<SourceShapes>,
}

impl Drop for News {
    fn drop(&mut self) {
        if !self.shapes.is_empty() {
            self.source.change(|known| {
                for (hash, _) in &self.shapes {
                    known.remove(*hash);
                }
            });
        }
    }
}

/// Looks at the elements of one delivery.
pub(crate) struct Noting<'s> {
    source: &'s Arc<SourceShapes>,
    known: Guard<Arc<Known>>,
    news: News,
}

/// Something that was seen, and for a field which and of what kind.
type Found<'f> = (Sighting, Option<(&'f Field, Kind)>);

impl<'s> Noting<'s> {
    /// `name` is that of the source.
    pub(crate) fn new(source: &'s Arc<SourceShapes>, name: &Arc<str>) -> Self {
        Self {
            source,
            known: source.known(),
            news: News {
                name: Arc::clone(name),
                unnoted: Counts::default(),
                shapes: Vec::new(),
                source: Arc::clone(source),
            },
        }
    }

    /// Looks at an element. `body` is what its outline was made in.
    pub(crate) fn element(&mut self, envelope: &Envelope<'_>, outline: &Outline, body: &str) {
        let Some(call) = envelope.r#type.as_deref().and_then(Call::of) else {
            return;
        };
        let event = Event::new(call, envelope.event.as_deref());
        self.count(Bound::Length, event.own.is_none().into());
        self.count(Bound::Length, outline.long_keys());
        self.count(Bound::Paths, outline.surplus());
        let is_news = |seen: Sighting| !self.known.has(seen.shape);
        let has_news = event.itself().is_some_and(is_news)
            || outline
                .fields()
                .any(|(field, kind)| event.field(field, kind).is_some_and(is_news));
        if has_news {
            self.take(&event, outline, body);
        }
    }

    /// What the delivery has to tell, if anything.
    pub(crate) fn finish(self) -> Option<News> {
        let news = self.news;
        let is_something = !news.shapes.is_empty() || news.unnoted != Counts::default();
        is_something.then_some(news)
    }

    fn count(&mut self, bound: Bound, times: u64) {
        self.news.unnoted[bound as usize] += times;
    }

    /// Takes the news of an event that has some, as far as there is room for it.
    #[cold]
    fn take(&mut self, event: &Event<'_>, outline: &Outline, body: &str) {
        let wanted = self.wanted(event, outline);
        if wanted.is_empty() {
            return;
        }
        let name: Option<Arc<str>> = event.name.map(Arc::from);
        let (source, news) = (self.source, &mut self.news);
        source.change(|known| {
            for (seen, field) in wanted {
                // Another request may have been faster.
                if known.has(seen.shape) {
                    continue;
                }
                let bound = known.bound(seen);
                if let Some(bound) = bound.or_else(|| (!source.admit_news()).then_some(Bound::Rate))
                {
                    news.unnoted[bound as usize] += 1;
                    continue;
                }
                known.add(seen);
                let is_own = Some(seen.group) == event.own;
                let shape = Shape {
                    source: Arc::clone(&news.name),
                    call: event.call,
                    event: name.as_ref().filter(|_| is_own).map(Arc::clone),
                    path: field.map_or_else(Vec::new, |(field, _)| outline.path(field, body)),
                    kind: field.map(|(_, kind)| kind),
                };
                news.shapes.push((seen.shape, shape));
            }
        });
        self.known = self.source.known();
    }

    /// What of an event is news and seems to have room, by what was known a moment ago: so that
    /// a flood of names for which there is no room takes no lock.
    fn wanted<'o>(&mut self, event: &Event<'_>, outline: &'o Outline) -> Vec<Found<'o>> {
        let itself = event.itself().map(|seen| (seen, None));
        let fields = outline
            .fields()
            .filter_map(|(field, kind)| Some((event.field(field, kind)?, Some((field, kind)))));
        let may_have_news = self.source.may_have_news();
        let mut wanted: Vec<Found<'o>> = Vec::new();
        let mut refused_group = None;
        for (seen, field) in itself.into_iter().chain(fields) {
            // The fields of an event that is not noted itself are not counted one by one.
            if self.known.has(seen.shape) || refused_group == Some(seen.group) {
                continue;
            }
            let bound = self.known.bound(seen);
            match bound.or_else(|| (!may_have_news).then_some(Bound::Rate)) {
                None => wanted.push((seen, field)),
                Some(bound) => {
                    self.count(bound, 1);
                    refused_group = field.is_none().then_some(seen.group).or(refused_group);
                }
            }
        }
        wanted
    }
}

/// What an event says of itself, and the groups that its fields belong to.
struct Event<'e> {
    call: &'static Call,
    name: Option<&'e str>,
    /// None when its name is too long.
    own: Option<Group>,
    context: Group,
}

impl<'e> Event<'e> {
    fn new(call: &'static Call, event: Option<&'e str>) -> Self {
        let name = event.filter(|_| call.has_event);
        let base = hash::fold(hash::seed() ^ call.number);
        let named = match name {
            None => Some(NO_EVENT),
            Some(name) if name.len() > MAX_EVENT_BYTES => None,
            Some(name) => Some(hash::hash(hash::seed(), name.as_bytes(), 0, name.len())),
        };
        Self {
            call,
            name,
            own: named.map(|named| Group {
                hash: hash::fold(base ^ named),
                is_event: name.is_some(),
            }),
            context: Group {
                hash: hash::fold(base ^ CONTEXT),
                is_event: false,
            },
        }
    }

    /// That it was seen at all.
    fn itself(&self) -> Option<Sighting> {
        self.own.map(|group| Sighting {
            group,
            path: None,
            shape: hash::fold(group.hash),
        })
    }

    /// A field of it, if it is one that is noted.
    #[inline]
    fn field(&self, field: &Field, kind: Kind) -> Option<Sighting> {
        let group = match field.root {
            Root::Context => self.context,
            // Without its name, nobody knows which relation the fields of an event belong to.
            _ if self.call.has_event && self.name.is_none() => return None,
            root if self.call.root == Some(root) => self.own?,
            _ => return None,
        };
        let path = group.hash ^ field.path;
        Some(Sighting {
            group,
            path: Some(path),
            shape: hash::fold(path.wrapping_add(kind as u64)),
        })
    }
}
