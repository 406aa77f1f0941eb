//! [`Template`]: what many servers begin with, without an `initdb` for each.

use super::data_dir::DataDir;
use super::watchdog::Watchdog;
use super::{Error, PrivatePostgres};

/// The data of a server that has stopped. Further servers begin as copies of it, with its password,
/// roles and databases: [`super::Options::template`].
///
/// A temporary folder is removed with this value, and also when the process ends without dropping it.
#[derive(Debug)]
pub struct Template {
    data_dir: DataDir,
    _watchdog: Watchdog,
}

impl Template {
    /// Stops a server and keeps its data.
    ///
    /// # Errors
    /// [`Error::Io`] when no process can be started to clear up behind this one.
    pub async fn of(server: PrivatePostgres) -> Result<Self, Error> {
        let data_dir = server.stop_and_keep().await;
        // There is no server to stop, only a folder to remove.
        let watchdog = Watchdog::start(
            0,
            &data_dir.cluster().join("postmaster.pid"),
            data_dir.temporary(),
            data_dir.account(),
        )
        .map_err(Error::io("starting a shell to watch over the template"))?;
        Ok(Self {
            data_dir,
            _watchdog: watchdog,
        })
    }

    pub(crate) fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }
}
