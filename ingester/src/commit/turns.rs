//! The order in which sources are served: turns, measured in bytes.
//!
//! Deficit round robin (Shreedhar and Varghese, "Efficient Fair Queuing using Deficit Round Robin",
//! 1995): each source that has something waiting gets a turn, and each turn the same number of
//! bytes. What one source has waiting therefore never delays another by more than a turn, however
//! much it is, and the order within a source is that of arrival.
//!
//! Pure. Invariant: a source has a turn exactly while something of it waits.

use std::collections::{HashMap, VecDeque};

use crate::rows::SourceKey;

/// What a commit can hold.
pub(super) trait Weighed {
    fn source(&self) -> SourceKey;
    fn rows(&self) -> usize;
    fn bytes(&self) -> usize;
}

/// Bounds on what one commit takes. What alone exceeds them is taken alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Queues of sources without any, kept because a lone event would else allocate one each time.
const SPARE_QUEUES: usize = 16;

/// Places in a spare queue. One that a flood has made longer is freed.
const SPARE_PLACES: usize = 64;

/// What waits, by source.
#[derive(Debug)]
pub(super) struct Turns<T> {
    sources: HashMap<SourceKey, Waiting<T>>,
    /// Those of `sources`, whose turn is next first.
    order: VecDeque<SourceKey>,
    spare: Vec<VecDeque<T>>,
    /// Bytes of a turn.
    quantum: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    queue: VecDeque<T>,
    /// Bytes that it may still take in its turn, or has left over from the last.
    credit: usize,
    /// Whether its turn has begun.
    is_on: bool,
}

impl<T: Weighed> Turns<T> {
    /// Nothing waits; a turn will be of `quantum` bytes.
    pub(super) fn new(quantum: usize) -> Self {
        Self {
            sources: HashMap::new(),
            order: VecDeque::new(),
            spare: Vec::new(),
            quantum: quantum.max(1),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Lets something wait behind what its source has waiting.
    pub(super) fn push(&mut self, item: T) {
        let source = item.source();
        let waiting = self.sources.entry(source).or_insert_with(|| {
            self.order.push_back(source);
            Waiting {
                queue: self.spare.pop().unwrap_or_default(),
                credit: 0,
                is_on: false,
            }
        });
        waiting.queue.push_back(item);
    }

    /// Takes what comes next, as much as one commit may hold. A turn that a full commit cuts short
    /// goes on in the next.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<T> {
        let mut batch = Batch {
            items: Vec::new(),
            room: limits,
        };
        while let Some(&source) = self.order.front() {
            let Some(waiting) = self.sources.get_mut(&source) else {
                self.order.pop_front();
                continue;
            };
            if !waiting.is_on {
                waiting.is_on = true;
                waiting.credit = waiting.credit.saturating_add(self.quantum);
            }
            if waiting.serve(&mut batch).is_full() {
                break;
            }
            waiting.is_on = false;
            self.order.pop_front();
            if waiting.queue.is_empty() {
                self.leave(source);
            } else {
                self.order.push_back(source);
            }
        }
        batch.items
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.order.clear();
        std::mem::take(&mut self.sources)
            .into_values()
            .flat_map(|waiting| waiting.queue)
    }

    fn leave(&mut self, source: SourceKey) {
        if let Some(waiting) = self.sources.remove(&source)
            && self.spare.len() < SPARE_QUEUES
            && waiting.queue.capacity() <= SPARE_PLACES
        {
            self.spare.push(waiting.queue);
        }
    }
}

/// A commit as it is filled.
struct Batch<T> {
    items: Vec<T>,
    room: BatchLimits,
}

/// How a turn has ended.
#[derive(Debug, PartialEq, Eq)]
enum TurnEnd {
    /// The source has taken what it may, or has nothing more.
    Over,
    /// The commit holds no more.
    CommitFull,
}

impl TurnEnd {
    fn is_full(&self) -> bool {
        *self == Self::CommitFull
    }
}

impl<T: Weighed> Waiting<T> {
    /// Moves to the batch what the source's credit and the batch have room for.
    fn serve(&mut self, batch: &mut Batch<T>) -> TurnEnd {
        while let Some(next) = self.queue.front() {
            let (rows, bytes) = (next.rows(), next.bytes());
            let Some(credit) = self.credit.checked_sub(bytes) else {
                return TurnEnd::Over;
            };
            let has_room = rows <= batch.room.rows && bytes <= batch.room.bytes;
            if !has_room && !batch.items.is_empty() {
                return TurnEnd::CommitFull;
            }
            self.credit = credit;
            batch.room.rows = batch.room.rows.saturating_sub(rows);
            batch.room.bytes = batch.room.bytes.saturating_sub(bytes);
            batch.items.extend(self.queue.pop_front());
        }
        TurnEnd::Over
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A source, its number among those of the source, and its bytes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Item(SourceKey, usize, usize);

    impl Weighed for Item {
        fn source(&self) -> SourceKey {
            self.0
        }
        fn rows(&self) -> usize {
            1
        }
        fn bytes(&self) -> usize {
            self.2
        }
    }

    const QUANTUM: usize = 100;

    fn limits(rows: usize, bytes: usize) -> BatchLimits {
        BatchLimits { rows, bytes }
    }

    fn sources(batch: &[Item]) -> Vec<SourceKey> {
        batch.iter().map(|item| item.0).collect()
    }

    #[test]
    fn a_flood_delays_another_source_by_one_turn() {
        let mut turns = Turns::new(QUANTUM);
        for number in 0..10_000 {
            turns.push(Item(1, number, 10));
        }
        turns.push(Item(2, 0, 10));
        turns.push(Item(3, 0, 10));
        let batch = turns.take(limits(5_000, 200));
        assert_eq!(
            sources(&batch),
            [&[1; 10][..], &[2, 3], &[1; 8][..]].concat()
        );
    }

    #[test]
    fn a_lone_source_fills_the_commit_in_order() {
        let mut turns = Turns::new(QUANTUM);
        for number in 0..1_000 {
            turns.push(Item(1, number, 10));
        }
        for start in [0, 400] {
            let batch = turns.take(limits(400, 1 << 20));
            let expected: Vec<_> = (start..start + 400).map(|n| Item(1, n, 10)).collect();
            assert_eq!(batch, expected);
        }
        assert_eq!(turns.take(limits(5_000, 1 << 20)).len(), 200);
        assert!(turns.is_empty());
        assert!(turns.take(limits(5_000, 1 << 20)).is_empty());
    }

    #[test]
    fn what_alone_exceeds_a_commit_is_taken_alone() {
        let mut turns = Turns::new(QUANTUM);
        turns.push(Item(1, 0, 5_000));
        turns.push(Item(2, 0, 10));
        turns.push(Item(1, 1, 10));
        // It saves up for more turns than the other needs.
        assert_eq!(sources(&turns.take(limits(10, 1_000))), [2]);
        assert_eq!(sources(&turns.take(limits(10, 1_000))), [1]);
        assert_eq!(sources(&turns.take(limits(10, 1_000))), [1]);
        assert!(turns.is_empty());
    }

    #[test]
    fn a_source_that_comes_back_has_no_credit_left() {
        let mut turns = Turns::new(QUANTUM);
        turns.push(Item(1, 0, 10));
        assert_eq!(turns.take(limits(10, 1_000)).len(), 1);
        turns.push(Item(1, 1, 150));
        turns.push(Item(2, 0, 90));
        assert_eq!(sources(&turns.take(limits(10, 1_000))), [2, 1]);
    }

    proptest! {
        #[test]
        fn everything_is_taken_once_in_the_order_of_its_source(
            items in prop::collection::vec((0..5_u64, 1_usize..400), 1..200),
            bytes in 1_usize..600,
        ) {
            let mut turns = Turns::new(QUANTUM);
            let mut counts = [0; 5];
            for &(source, bytes) in &items {
                let count = &mut counts[usize::try_from(source).unwrap()];
                turns.push(Item(source, *count, bytes));
                *count += 1;
            }
            let mut taken = [0; 5];
            while !turns.is_empty() {
                let batch = turns.take(limits(20, bytes));
                prop_assert!(!batch.is_empty() && batch.len() <= 20);
                let total: usize = batch.iter().map(|item| item.2).sum();
                prop_assert!(total <= bytes || batch.len() == 1);
                for Item(source, number, _) in batch {
                    let next = &mut taken[usize::try_from(source).unwrap()];
                    prop_assert_eq!(number, *next);
                    *next += 1;
                }
            }
            prop_assert_eq!(taken, counts);
        }

        /// Two sources that always have something waiting get the same, but for a turn and an item.
        #[test]
        fn whoever_waits_gets_as_much_as_the_others(
            sizes in prop::collection::vec((1_usize..90, 1_usize..90), 400..500),
            bytes in 50_usize..600,
        ) {
            let mut turns = Turns::new(QUANTUM);
            for &(one, other) in &sizes {
                turns.push(Item(1, 0, one));
                turns.push(Item(2, 0, other));
            }
            let mut got = [0_usize; 2];
            for _ in 0..10 {
                for item in turns.take(limits(1_000, bytes)) {
                    got[usize::try_from(item.0 - 1).unwrap()] += item.2;
                }
                prop_assert!(got[0].abs_diff(got[1]) <= 2 * (QUANTUM + 90), "{:?}", got);
            }
        }
    }
}
