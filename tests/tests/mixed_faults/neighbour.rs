//! The owner, who adds and drops sources and changes views all the while.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use trunkline_model::headers::HeaderColumn;
use trunkline_model::secret::SecretBytes;
use trunkline_tests::{ConfigDir, Station};
use trunkline_warehouse::{DesiredSource, Error, Warehouse};

/// Pause between two changes.
const PAUSE: Duration = Duration::from_millis(200);

/// The owner at work, beside the faults and under them.
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Changes>,
}

/// What the owner has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    provided: usize,
    dropped: usize,
    failed: usize,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the owner added {} sources with a new view beside, dropped {}, and was refused {} times",
            self.provided, self.dropped, self.failed
        )
    }
}

impl Neighbour {
    pub(crate) async fn move_in(station: &Station) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let url = SecretBytes::new(station.database.url());
        let served = station.sources[0].clone();
        let desired = DesiredSource {
            name: served.name.clone(),
            schema: served.name.default_schema(&ConfigDir::cluster()).unwrap(),
            url: None,
            body: served.settings.body,
            header_columns: Vec::new(),
            readers: Vec::new(),
            retention_days: None,
            partition_by: None,
            storage: None,
            indexes: None,
            layout: None,
            shaping: None,
            views: None,
        };
        let warehouse = Warehouse::connect(url).await.unwrap();
        let task = tokio::spawn(work(warehouse, desired, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Ends after the change that is under way.
    pub(crate) async fn move_out(self) -> Changes {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn work(warehouse: Warehouse, served: DesiredSource, stop: Arc<AtomicBool>) -> Changes {
    let mut changes = Changes::default();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let mut served = served.clone();
        // Each has another view.
        served.header_columns = vec![HeaderColumn {
            name: "x-round".to_owned(),
            column: format!("round_{}", round % 2),
            bytes: false,
        }];
        match change(&warehouse, served, &mut changes).await {
            Ok(()) => {}
            // Faults are the owner's, too.
            Err(_) => changes.failed += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    changes
}

/// Adds a source, changes the view of the one that is served, and drops the new source again.
async fn change(
    warehouse: &Warehouse,
    served: DesiredSource,
    changes: &mut Changes,
) -> Result<(), Error> {
    let cluster = ConfigDir::cluster();
    let guest = DesiredSource {
        name: "default/guest".parse().expect("a name"),
        schema: "guest".parse().expect("a schema"),
        header_columns: Vec::new(),
        ..served.clone()
    };
    let guest_name = guest.name.clone();
    let results = warehouse
        .ensure_sources(&cluster, &[served, guest], &[], None)
        .await?;
    if results.iter().all(|(_, result)| result.is_ok()) {
        changes.provided += 1;
    }
    warehouse.drop_source(&cluster, &guest_name).await?;
    changes.dropped += 1;
    Ok(())
}
