//! Takes up what ingesters have noted of events: a task beside the database's own, since an analyst finds
//! a new event within two seconds, and freezing or dropping rows takes minutes.
//!
//! It runs while a source has relations for analysts and the database is as it is wanted, and asks by
//! one cheap query twice a second. What keeps a relation from being made it tells the other task, which
//! puts it into the status; names that senders gave are in no log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::{ClusterName, SourceName};
use trunkline_warehouse::{News, Relator, Warehouse, WarehouseLayout};

use super::{LONGEST_RETRY, Outcome, SILENT, Wanted};
use crate::backoff::Backoff;
use crate::error::chain;
use crate::sync::lock;

/// How long one look may take. Five hundred new events take some seconds.
const DEADLINE: Duration = Duration::from_secs(120);

/// What keeps relations from being made, by the source, and the news of it.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    found: Mutex<BTreeMap<SourceName, Vec<String>>>,
    changed: Notify,
}

impl Troubles {
    /// Those of one source.
    pub(super) fn of(&self, source: &SourceName) -> Vec<String> {
        lock(&self.found).get(source).cloned().unwrap_or_default()
    }

    /// Waits until there is something else to tell.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes over what a look has found.
    fn tell(&self, news: News) {
        let mut found = lock(&self.found);
        if news.left_out || *found != news.troubles {
            *found = news.troubles;
            self.changed.notify_one();
        }
    }
}

/// The task's own state.
pub(super) struct Poller {
    pub(super) cluster: ClusterName,
    pub(super) troubles: Arc<Troubles>,
    relator: Option<(DatabaseLogin, Relator)>,
    backoff: Backoff<()>,
}

impl Poller {
    pub(super) fn new(cluster: ClusterName, troubles: Arc<Troubles>) -> Self {
        Self {
            cluster,
            troubles,
            relator: None,
            backoff: Backoff::default(),
        }
    }

    /// Runs until nobody wants anything any more.
    pub(super) async fn run(
        mut self,
        mut wanted: watch::Receiver<Option<Arc<Wanted>>>,
        mut outcome: watch::Receiver<Option<Outcome>>,
    ) {
        loop {
            let current = wanted.borrow_and_update().clone();
            let is_there = matches!(
                &*outcome.borrow_and_update(),
                Some(Outcome { result: Ok(_), .. })
            );
            let pause = match current.filter(|wanted| is_there && asks_for_relations(wanted)) {
                Some(wanted) => Some(self.look(&wanted.owner).await),
                None => {
                    self.relator = None;
                    self.troubles.tell(News::default());
                    None
                }
            };
            let elapsed = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                changed = outcome.changed() => if changed.is_err() { return },
                () = elapsed => {}
            }
        }
    }

    /// Looks once. The pause until the next look.
    async fn look(&mut self, owner: &DatabaseLogin) -> Duration {
        let cluster = self.cluster.clone();
        let polled = timeout(DEADLINE, async {
            let relator = self.connect(owner).await?;
            relator.poll(&cluster).await
        });
        let failure = match polled.await {
            Ok(Ok(news)) => {
                self.backoff.succeeded(&());
                if news.changed > 0 {
                    tracing::info!(%cluster, changed = news.changed, "relations for analysts");
                }
                self.troubles.tell(news);
                return Relator::EVERY;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => SILENT.to_owned(),
        };
        // With the connection, what it may still do ends.
        self.relator = None;
        tracing::warn!(%cluster, "relations for analysts: {failure}");
        self.backoff.failed(()).min(LONGEST_RETRY)
    }

    async fn connect(
        &mut self,
        owner: &DatabaseLogin,
    ) -> Result<&mut Relator, trunkline_warehouse::Error> {
        let relator = match self.relator.take() {
            Some((known, relator)) if known == *owner => relator,
            _ => Relator::new(Warehouse::connect(owner).await?),
        };
        Ok(&mut self.relator.insert((owner.clone(), relator)).1)
    }
}

/// Whether a source may have relations. Of one that is not valid now the database alone knows.
fn asks_for_relations(wanted: &Wanted) -> bool {
    let mut sources = wanted.sources.iter();
    !wanted.is_suspended && sources.any(|source| source.layout != Some(WarehouseLayout::None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(trouble: &str) -> News {
        let source = "default/segment".parse().unwrap();
        News {
            troubles: BTreeMap::from([(source, vec![trouble.to_owned()])]),
            ..News::default()
        }
    }

    #[tokio::test]
    async fn what_is_told_again_is_no_news() {
        let troubles = Troubles::default();
        let is_changed = async || {
            timeout(Duration::from_millis(10), troubles.changed())
                .await
                .is_ok()
        };
        troubles.tell(News::default());
        assert!(!is_changed().await);
        troubles.tell(with("one"));
        assert!(is_changed().await);
        assert_eq!(troubles.of(&"default/segment".parse().unwrap()), ["one"]);
        troubles.tell(with("one"));
        assert!(!is_changed().await);
        troubles.tell(News {
            left_out: true,
            ..with("one")
        });
        assert!(is_changed().await);
        troubles.tell(News::default());
        assert!(is_changed().await);
        assert_eq!(troubles.of(&"default/segment".parse().unwrap()), [""; 0]);
    }
}
