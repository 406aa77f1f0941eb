//! Which shapes of one source have been noted, as hashes, and what may be noted still. Pure.
//!
//! Invariant: it has a bound, whatever is sent: [`MAX_SHAPES`] shapes and as many paths, some three
//! megabytes.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Shapes of a source.
const MAX_SHAPES: usize = 50_000;

/// Event names of a source.
const MAX_EVENTS: usize = 500;

/// Paths of a group.
const MAX_PATHS: usize = 500;

/// Why something that was seen is not noted, for now or for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// As many event names as a source may have.
    Events,
    /// As many fields as an event, or a call's context, may have.
    Paths,
    /// As many shapes as a source may have.
    Shapes,
    /// More news than a source may have in this time: it is news again.
    Rate,
    /// A name or key that is too long.
    Length,
}

impl Bound {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 5] = [
        Self::Events,
        Self::Paths,
        Self::Shapes,
        Self::Rate,
        Self::Length,
    ];

    /// As a label of a metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Events => "event_names",
            Self::Paths => "fields",
            Self::Shapes => "shapes",
            Self::Rate => "rate",
            Self::Length => "length",
        }
    }
}

/// What paths are counted by: an event of track, another call, the context of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) hash: u64,
    /// Whether it counts as an event name.
    pub(super) is_event: bool,
}

/// Something that was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    pub(super) group: Group,
    /// The group and the path; none for the group as such.
    pub(super) path: Option<u64>,
    /// The group, the path and the kind.
    pub(super) shape: u64,
}

/// What has been noted.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Shapes and paths.
    hashes: HashSet<u64, BuildHasherDefault<AsItIs>>,
    shapes: usize,
    /// How many paths each group has.
    groups: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    events: usize,
}

impl Known {
    /// Whether a shape has been noted.
    #[inline]
    pub(super) fn has(&self, shape: u64) -> bool {
        self.hashes.contains(&shape)
    }

    /// The bound, if there is one, that leaves no room for what is not known.
    pub(super) fn bound(&self, seen: Sighting) -> Option<Bound> {
        if self.shapes >= MAX_SHAPES {
            return Some(Bound::Shapes);
        }
        match (self.groups.get(&seen.group.hash), seen.path) {
            (None, _) if seen.group.is_event && self.events >= MAX_EVENTS => Some(Bound::Events),
            (Some(&paths), Some(path)) if paths >= MAX_PATHS && !self.hashes.contains(&path) => {
                Some(Bound::Paths)
            }
            _ => None,
        }
    }

    /// Adds what is not known and has room.
    pub(super) fn add(&mut self, seen: Sighting) {
        let is_new_group = !self.groups.contains_key(&seen.group.hash);
        self.events += usize::from(is_new_group && seen.group.is_event);
        let is_new_path = seen.path.is_some_and(|path| self.hashes.insert(path));
        *self.groups.entry(seen.group.hash).or_default() += usize::from(is_new_path);
        self.shapes += usize::from(self.hashes.insert(seen.shape));
    }

    /// Makes a shape news again. Its group and its path go on counting.
    pub(super) fn remove(&mut self, shape: u64) {
        self.shapes -= usize::from(self.hashes.remove(&shape));
    }
}

/// The hasher of what is a hash already.
#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Numbers come by `write_u64`; anything else would still work.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(group: u64, is_event: bool, path: u64, kind: u64) -> Sighting {
        Sighting {
            group: Group {
                hash: group,
                is_event,
            },
            path: Some(group << 40 | path << 8),
            shape: group << 40 | path << 8 | kind,
        }
    }

    fn event(number: u64) -> Sighting {
        Sighting {
            path: None,
            ..field(number, true, 0, 1)
        }
    }

    fn note(known: &mut Known, seen: Sighting) -> Option<Bound> {
        assert!(!known.has(seen.shape));
        let bound = known.bound(seen);
        if bound.is_none() {
            known.add(seen);
            assert!(known.has(seen.shape));
        }
        bound
    }

    #[test]
    fn a_source_has_so_many_event_names_and_any_call_besides() {
        let mut known = Known::default();
        for number in 1..=500 {
            assert_eq!(note(&mut known, event(number)), None);
        }
        assert_eq!(note(&mut known, event(501)), Some(Bound::Events));
        assert_eq!(
            note(&mut known, field(501, true, 1, 1)),
            Some(Bound::Events)
        );
        assert_eq!(note(&mut known, field(500, true, 1, 2)), None);
        assert_eq!(note(&mut known, field(502, false, 1, 1)), None);
    }

    #[test]
    fn a_group_has_so_many_paths_each_of_several_kinds() {
        let mut known = Known::default();
        for path in 1..=500 {
            assert_eq!(note(&mut known, field(1, true, path, 1)), None);
        }
        assert_eq!(note(&mut known, field(1, true, 501, 1)), Some(Bound::Paths));
        assert_eq!(note(&mut known, field(1, true, 500, 2)), None);
        assert_eq!(note(&mut known, field(2, true, 501, 1)), None);
        // What was seen at all has no path.
        let seen = Sighting {
            path: None,
            ..field(1, true, 0, 9)
        };
        assert_eq!(note(&mut known, seen), None);
    }

    #[test]
    fn a_source_has_so_many_shapes() {
        let mut known = Known::default();
        for group in 1..=100 {
            for path in 1..=500 {
                assert_eq!(note(&mut known, field(group, true, path, 1)), None);
            }
        }
        assert_eq!(note(&mut known, field(1, true, 1, 2)), Some(Bound::Shapes));
        assert_eq!(note(&mut known, event(101)), Some(Bound::Shapes));
        known.remove(field(7, true, 7, 1).shape);
        assert_eq!(note(&mut known, field(7, true, 7, 1)), None);
    }

    #[test]
    fn what_is_forgotten_is_news_and_does_not_count_twice() {
        let mut known = Known::default();
        for path in 1..=500 {
            note(&mut known, field(1, true, path, 1));
        }
        let last = field(1, true, 500, 1);
        for _ in 0..3 {
            known.remove(last.shape);
            assert!(!known.has(last.shape));
            known.remove(last.shape);
            assert_eq!(note(&mut known, last), None);
        }
        assert_eq!((known.shapes, known.events), (500, 1));
        assert_eq!(note(&mut known, field(1, true, 501, 1)), Some(Bound::Paths));
    }

    #[test]
    fn every_bound_has_a_label_of_its_own() {
        let labels: HashSet<_> = Bound::ALL.iter().map(|bound| bound.label()).collect();
        assert_eq!(labels.len(), Bound::ALL.len());
        for (index, bound) in Bound::ALL.into_iter().enumerate() {
            assert_eq!(bound as usize, index);
        }
    }
}
