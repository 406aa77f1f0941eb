//! Takes up what the ingester notes of events, as the operator does: on a connection of its own, so that
//! nothing else that goes on delays it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::names::{ClusterName, SourceName};
use trunkline_warehouse::{Error, Relator, Warehouse};

use super::output::Output;

/// The pause after a failure, which is told once until it ends.
const RETRY: Duration = Duration::from_secs(5);

/// Begins to look, until the handle is dropped.
pub(super) fn start(
    owner: &DatabaseLogin,
    cluster: &ClusterName,
    output: Output,
) -> AbortOnDropHandle<()> {
    let (owner, cluster) = (owner.clone(), cluster.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut told = None;
        loop {
            let Err(error) = look(&owner, &cluster, output, &mut told).await;
            let failure = format!("{:#}", anyhow::Error::from(error));
            if told.as_ref() != Some(&failure) {
                output.warning(&format!("relations for analysts: {failure}"));
                told = Some(failure);
            }
            tokio::time::sleep(RETRY).await;
        }
    }))
}

/// Looks until something fails.
async fn look(
    owner: &DatabaseLogin,
    cluster: &ClusterName,
    output: Output,
    told: &mut Option<String>,
) -> Result<std::convert::Infallible, Error> {
    let mut relator = Relator::new(Warehouse::connect(owner).await?);
    let mut troubles = BTreeMap::<SourceName, Vec<String>>::new();
    loop {
        let news = relator.poll(cluster).await?;
        *told = None;
        for (source, whys) in &news.troubles {
            let known = troubles.get(source).map_or(&[][..], Vec::as_slice);
            for why in whys.iter().filter(|why| !known.contains(why)) {
                output.warning(&format!("{source}: {why}"));
            }
        }
        troubles = news.troubles;
        tokio::time::sleep(Relator::EVERY).await;
    }
}
