//! What rows are told apart by where repeats are not stored.

use uuid::Uuid;

/// What of a delivery is stored only once within some seconds. Keys are hashes: whoever made them has
/// put the source into them, so that those of two sources never meet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keys {
    /// Nothing: every row is stored.
    #[default]
    None,
    /// The delivery, with all of its rows.
    Delivery {
        /// Names it.
        key: Uuid,
        /// For how long.
        window_seconds: u32,
    },
    /// Each row for itself.
    Rows {
        /// One for each row; a row without one is stored in any case.
        keys: Vec<Option<Uuid>>,
        /// For how long.
        window_seconds: u32,
    },
}

impl Keys {
    /// Each row for itself, of a delivery that has none yet.
    #[must_use]
    pub fn of_rows(window_seconds: u32) -> Self {
        Self::Rows {
            keys: Vec::new(),
            window_seconds,
        }
    }

    /// A row without a key comes.
    pub(super) fn push(&mut self) {
        if let Self::Rows { keys, .. } = self {
            keys.push(None);
        }
    }

    /// The key of the row that came last. Of a delivery that has one for all, it changes nothing.
    pub(super) fn identify(&mut self, key: Uuid) {
        if let Self::Rows { keys, .. } = self
            && let Some(last) = keys.last_mut()
        {
            *last = Some(key);
        }
    }

    /// Bytes that they take.
    pub(super) fn byte_len(&self) -> usize {
        match self {
            Self::None | Self::Delivery { .. } => 0,
            Self::Rows { keys, .. } => size_of_val(keys.as_slice()),
        }
    }

    /// Every key, with its window in seconds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Uuid, u32)> {
        let (one, many, window) = match self {
            Self::None => (None, [].as_slice(), 0),
            Self::Delivery {
                key,
                window_seconds,
            } => (Some(*key), [].as_slice(), *window_seconds),
            Self::Rows {
                keys,
                window_seconds,
            } => (None, keys.as_slice(), *window_seconds),
        };
        let keys = one.into_iter().chain(many.iter().copied().flatten());
        keys.map(move |key| (key, window))
    }
}
