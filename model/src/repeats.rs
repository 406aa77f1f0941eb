//! What the tables and the ingester agree on to tell a message that arrives again from a new one.
//!
//! Partitions of sources whose readers are shown no repeats have a unique index on the message. The
//! database refuses a commit that it would be violated by, and names the index; the ingester then
//! asks [`FUNCTION`] which rows repeat what is there, and commits them as repeats.

/// What the name of such an index ends with. Before it stands the partition's name.
pub const INDEX_SUFFIX: &str = "_message_id_key";

/// Length of the longest `message_id` that such an index holds, in bytes: an entry has to fit into a
/// third of a page. Longer ones are compared once their partition's time is over.
pub const MAX_MESSAGE_ID_BYTES: usize = 512;

/// Says which of some messages are in a bucket already: a bucket, the sources and the ids of the
/// messages in, the places of repeats among them, from 1, out.
pub const FUNCTION: &str = "trunkline.repeats";

/// The bucket of a partition, by the name of the index that it has for repeats; none for any other
/// index.
///
/// ```
/// use trunkline_model::repeats::bucket_of_index;
/// assert_eq!(bucket_of_index("bucket_7_20261124_message_id_key"), Some(7));
/// assert_eq!(bucket_of_index("bucket_7_20261124_received_at_idx"), None);
/// ```
#[must_use]
pub fn bucket_of_index(index: &str) -> Option<i32> {
    let partition = index.strip_suffix(INDEX_SUFFIX)?;
    let (bucket, _) = partition.strip_prefix("bucket_")?.split_once('_')?;
    bucket.parse().ok()
}
