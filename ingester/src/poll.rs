//! Looks at files again and again, to see that they have changed.
//!
//! It looks every 250 ms instead of asking the kernel for events: inotify does not see through the
//! links that Kubernetes swaps, loses events when its queue overflows, and is missing on some
//! mounts, while a look costs some twenty microseconds. A thread of its own keeps the file system,
//! which may hang, away from requests.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{io, thread};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// The thread that looks. It ends at its next look when this is dropped.
#[derive(Debug)]
pub(crate) struct Poll {
    _alive: mpsc::Sender<()>,
}

impl Poll {
    /// Looks at once, and from then on at every interval, on a thread of that name.
    pub(crate) fn start(name: &str, mut look: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (alive, ended) = mpsc::channel();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                look();
                while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    look();
                }
            })?;
        Ok(Self { _alive: alive })
    }
}
