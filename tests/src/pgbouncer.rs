//! [`PgBouncer`]: the pooler between a database and everyone who connects to it.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;
use trunkline_cli::ReservedPort;

use crate::certificates::Certificate;

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// A PgBouncer that pools transactions. Dropping it kills it.
#[derive(Debug)]
pub struct PgBouncer {
    child: Child,
    folder: TempDir,
    port: ReservedPort,
}

impl PgBouncer {
    /// The settings that docs/postgresql.md asks for.
    pub const SETTINGS: &str = "pool_mode = transaction\n\
                                auth_type = scram-sha-256\n\
                                auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n\
                                server_login_retry = 1\n";

    /// Starts one in front of the server of this URL, with at most `pool_size` connections to it
    /// for each role and database. It looks roles up in the server (`auth_query`) as the role of
    /// the URL.
    pub async fn start(server_url: &str, pool_size: u32) -> Self {
        Self::start_with(server_url, pool_size, None).await
    }

    /// The same, which lets nobody in without TLS when it has a certificate to show.
    pub async fn start_with(
        server_url: &str,
        pool_size: u32,
        certificate: Option<&Certificate>,
    ) -> Self {
        let server: tokio_postgres::Config = server_url.parse().unwrap();
        let role = server.get_user().unwrap();
        let password = String::from_utf8_lossy(server.get_password().unwrap());
        let upstream = server.get_ports()[0];
        let port = ReservedPort::any().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let roles = folder.path().join("userlist.txt");
        let settings = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={upstream}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             {user}\n\
             default_pool_size = {pool_size}\n\
             auth_file = {roles}\n\
             auth_user = {role}\n\
             {settings}{tls}",
            port.number(),
            settings = Self::SETTINGS,
            tls = match certificate {
                Some(_) => format!(
                    "client_tls_sslmode = require\n\
                     client_tls_cert_file = {folder}/server.crt\n\
                     client_tls_key_file = {folder}/server.key\n",
                    folder = folder.path().display()
                ),
                None => String::new(),
            },
            roles = roles.display(),
            // It refuses to run as root.
            user = match nix::unistd::geteuid().is_root() {
                true => "user = nobody",
                false => "",
            },
        );
        write(&roles, &format!("\"{role}\" \"{password}\"\n"));
        write(&folder.path().join("pgbouncer.ini"), &settings);
        if let Some(certificate) = certificate {
            write(&folder.path().join("server.crt"), &certificate.certificate);
            write(&folder.path().join("server.key"), &certificate.key);
        }
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let child = spawn(folder.path());
        let mut pooler = Self {
            child,
            folder,
            port,
        };
        pooler.listening().await;
        pooler
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The URL of a server or of a role there, by way of this pooler.
    #[must_use]
    pub fn url(&self, server_url: &str) -> String {
        let (role, place) = server_url.rsplit_once('@').unwrap();
        let (_, database) = place.split_once('/').unwrap();
        format!("{role}@127.0.0.1:{}/{database}", self.port())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        // Only fails for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after its end, on the same port.
    pub async fn start_again(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path());
        self.listening().await;
    }

    async fn listening(&mut self) {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(self.port.address()).await.is_err() {
            let ended = self.child.try_wait().unwrap();
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    // For the user that it steps down to, whatever the umask.
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

fn spawn(folder: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    // It is in /usr/sbin, which is not on every user's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("pgbouncer")
        .arg(folder.join("pgbouncer.ini"))
        .env("PATH", format!("{path}:/usr/sbin"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("pgbouncer; scripts/install test installs it")
}
