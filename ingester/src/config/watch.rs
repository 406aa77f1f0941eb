//! Follows the configuration directory and makes the instance serve what lies in it.
//!
//! Invariant: what cannot be read or decoded leaves the last good configuration in place.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use trunkline_model::document;

use super::directory::Fingerprint;
use crate::events::{ConfigurationRefused, chain};
use crate::instance::Instance;
use crate::poll::Poll;

/// The thread that watches. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ConfigWatch {
    _looks: Poll,
}

impl ConfigWatch {
    /// Starts the thread and waits for its first look.
    pub(crate) async fn start(directory: PathBuf, instance: Arc<Instance>) -> io::Result<Self> {
        let (looked, first_look) = oneshot::channel();
        let mut looked = Some(looked);
        let mut watcher = Watcher {
            directory,
            instance,
            settled: None,
        };
        let looks = Poll::start("config-watch", move || {
            watcher.look();
            if let Some(looked) = looked.take() {
                let _ = looked.send(());
            }
        })?;
        // An error means that the look panicked, which the thread's message has told.
        let _ = first_look.await;
        Ok(Self { _looks: looks })
    }

    /// Ends the thread at its next look.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

struct Watcher {
    directory: PathBuf,
    instance: Arc<Instance>,
    /// The directory at the last look, when nothing in it can have changed unseen since.
    settled: Option<Fingerprint>,
}

impl Watcher {
    fn look(&mut self) {
        let before = Fingerprint::of(&self.directory);
        if matches!((&before, &self.settled), (Ok(now), Some(then)) if now == then) {
            return;
        }
        let now = SystemTime::now();
        let files = before
            .as_ref()
            .map(|fingerprint| fingerprint.read(&self.directory));
        let after = Fingerprint::of(&self.directory);
        match (files, before.as_ref(), after) {
            (Ok(Ok(files)), Ok(before), Ok(after)) if *before == after => {
                self.adopt(&files);
                self.settled = after.is_settled(now).then_some(after);
            }
            // Still the same, so this is no change that the look was caught in.
            (Ok(Err(error)), Ok(before), Ok(after)) if *before == after => self.refuse_io(&error),
            (Err(error), Err(_), Err(_)) => self.refuse_io(error),
            // Caught in the middle of a change: the next look sees its end.
            _ => {}
        }
    }

    fn adopt(&self, files: &document::Files) {
        // The files of a new cluster may come after the pod. That is not ready, but nothing is
        // wrong; files that were there and have gone are.
        if files.is_empty() && self.instance.routing().is_none() {
            return;
        }
        let adopted = match document::decode(files) {
            Ok(configuration) => self
                .instance
                .adopt(configuration)
                .map_err(|e| e.to_string()),
            Err(error) => Err(chain(&error)),
        };
        if let Err(error) = adopted {
            self.refuse(&error);
        }
    }

    fn refuse_io(&self, error: &io::Error) {
        self.refuse(&format!(
            "the configuration directory cannot be read: {error}"
        ));
    }

    fn refuse(&self, error: &str) {
        if self.instance.refuse_config(error) {
            ConfigurationRefused { error }.emit(&self.instance.events);
        }
    }
}
