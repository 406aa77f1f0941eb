//! [`Standby`]: a server that follows another by streaming replication.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown};
use tempfile::TempDir;
use tokio_postgres::NoTls;
use trunkline_cli::ReservedPort;

use crate::database::Database;

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A hot standby. Dropping it stops it.
#[derive(Debug)]
pub struct Standby {
    child: Child,
    folder: TempDir,
    port: ReservedPort,
    url: String,
}

impl Standby {
    /// Copies the primary and follows it; returns once it answers.
    pub async fn of(primary: &Database) -> Self {
        let server = primary.server();
        let owner = std::fs::metadata(server.data_dir()).unwrap();
        let (user, group) = (owner.uid(), owner.gid());
        let folder = tempfile::tempdir().unwrap();
        let ids = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        chown(folder.path(), ids.0, ids.1).unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        let port = ReservedPort::any().unwrap();

        let data = folder.path().join("data");
        let program = |name: &str| {
            let mut command = Command::new(server.installation().bin_dir().join(name));
            command
                .uid(user)
                .gid(group)
                .current_dir("/")
                .env("LC_ALL", "C");
            command
        };
        let copy = program("pg_basebackup")
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .arg("--dbname")
            .arg(primary.url())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&copy.stderr);
        assert!(copy.status.success(), "{complaint}");
        let log = File::create(folder.path().join("log")).unwrap();
        // The primary has its settings on its command line, and a standby must have no less.
        let settings = primary
            .rows(
                "SELECT name || '=' || setting FROM pg_settings WHERE name IN ('max_connections', \
                 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', \
                 'max_locks_per_transaction')",
                &[],
            )
            .await;
        let settings = settings
            .iter()
            .flat_map(|row| ["-c".to_owned(), row.get(0)]);
        let child = program("postgres")
            .arg("-D")
            .arg(&data)
            .args([
                "-p",
                &port.number().to_string(),
                "-h",
                "127.0.0.1",
                "-k",
                "",
            ])
            .args(settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let own = format!(":{}/", primary.port());
        let url = primary.url().replace(&own, &format!(":{}/", port.number()));
        let standby = Self {
            child,
            folder,
            port,
            url,
        };
        let begun = Instant::now();
        while tokio_postgres::connect(&standby.url, NoTls).await.is_err() {
            assert!(begun.elapsed() < START_DEADLINE, "{}", standby.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        standby
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Where the superuser connects.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A new connection as the superuser.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Makes it the primary, and returns once it takes writes.
    pub async fn promote(&self) {
        let client = self.connect().await;
        let promoted: bool = client
            .query_one("SELECT pg_promote(true, 30)", &[])
            .await
            .unwrap()
            .get(0);
        assert!(promoted, "{}", self.log());
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        // Ends at once and takes its children along; it may have ended already.
        let _ = kill(pid, Signal::SIGQUIT);
        let _ = self.child.wait();
    }
}
