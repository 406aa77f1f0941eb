//! One step of a path into JSON.

/// From a container to what is in it.
#[derive(Debug)]
pub(crate) struct Step {
    key: String,
    /// The place in an array, where the key is one.
    place: Option<usize>,
}

impl Step {
    pub(crate) fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            place: key.parse().ok(),
        }
    }

    /// Whether it leads to the member of an object with this key, decoded.
    pub(crate) fn is_key(&self, key: &str) -> bool {
        self.key == key
    }

    /// Whether it leads to this element of an array.
    pub(crate) fn is_place(&self, place: usize) -> bool {
        self.place == Some(place)
    }
}
