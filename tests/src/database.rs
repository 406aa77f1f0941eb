//! [`Database`]: a PostgreSQL with the warehouse in it, and the ways in which it can fail.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::OnceCell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use trunkline_cli::postgres::{Options, PrivatePostgres, Template};
use trunkline_model::names::ClusterName;
use trunkline_model::secret::SecretBytes;
use trunkline_warehouse::Warehouse;

use crate::certificates::{Certificate, write};
use crate::clock::FakeClock;
use crate::config_dir::SourceDraft;

/// The password of the ingest login.
const INGEST_PASSWORD: &[u8] = b"of the tests";

/// A server of the test's own, and where to connect as the ingest role.
#[derive(Debug)]
pub struct Database {
    server: PrivatePostgres,
    ingest_url: String,
}

impl Database {
    /// Starts a server with the layout in it.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with settings of the server.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options = Options {
            settings: settings.iter().map(own).collect(),
            ..Options::default()
        };
        Self::start_as(options).await
    }

    /// The same, whose processes have a clock of their own.
    pub async fn start_by(clock: &FakeClock) -> Self {
        Self::start_as(Options {
            bin_dir: Some(clock.bin_dir().to_owned()),
            ..Options::default()
        })
        .await
    }

    async fn start_as(options: Options) -> Self {
        let laid_out = LaidOut::shared().await;
        let server = PrivatePostgres::start(Options {
            template: Some(Arc::clone(&laid_out.template)),
            ..options
        })
        .await
        .expect("a private PostgreSQL");
        let ingest_url = laid_out.ingest_url.replace(
            &format!(":{}/", laid_out.port),
            &format!(":{}/", server.port()),
        );
        Self { server, ingest_url }
    }

    /// Looks at everything again, as the operator does, and mends it.
    pub async fn mend(&self, cluster: &ClusterName, drafts: &mut [SourceDraft]) {
        let ingest_url = lay_out(&self.server).await;
        assert_eq!(ingest_url, self.ingest_url);
        self.provision(cluster, drafts).await;
    }

    /// Gives the sources of `drafts` storage and writes their buckets into them.
    pub async fn provision(&self, cluster: &ClusterName, drafts: &mut [SourceDraft]) {
        let desired: Vec<_> = drafts.iter().map(|draft| draft.desired(cluster)).collect();
        let results = self
            .warehouse()
            .await
            .ensure_sources(cluster, &desired, &[], None)
            .await
            .expect("the sources");
        for (name, provisioned) in results {
            let draft = drafts.iter_mut().find(|draft| draft.name == name).unwrap();
            draft.settings.bucket = provisioned.unwrap().bucket;
        }
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &PrivatePostgres {
        &self.server
    }

    /// Changes a setting of the running server.
    pub async fn set(&self, name: &str, value: &str) {
        let client = self.connect().await;
        let change = format!("ALTER SYSTEM SET {name} = '{value}'");
        client.batch_execute(&change).await.expect(&change);
        self.reload().await;
    }

    /// Lets the server show a certificate from now on.
    pub async fn show(&self, certificate: &Certificate) {
        certificate.write(&self.server.data_dir().join("cluster"));
        self.set("ssl", "on").await;
    }

    /// Replaces pg_hba.conf.
    pub async fn admit(&self, lines: &str) {
        let folder = self.server.data_dir().join("cluster");
        write(&folder, "pg_hba.conf", lines);
        self.reload().await;
    }

    /// Lets the server read its files again.
    async fn reload(&self) {
        let postmaster = self.server.pid().expect("a server that runs");
        kill(pid(postmaster), Signal::SIGHUP).unwrap();
        // The server's processes read the files a moment later.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Where the ingesters connect.
    #[must_use]
    pub fn ingest_url(&self) -> &str {
        &self.ingest_url
    }

    /// [`Database::ingest_url`] by way of another port.
    #[must_use]
    pub fn ingest_url_through(&self, port: u16) -> String {
        let own = format!(":{}/", self.port());
        assert!(self.ingest_url.contains(&own));
        self.ingest_url.replace(&own, &format!(":{port}/"))
    }

    /// Where the superuser connects.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The server's process, whose children are its backends. None when it could not be started
    /// again.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The warehouse as the superuser.
    pub async fn warehouse(&self) -> Warehouse {
        connect_warehouse(&self.server).await
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.server.log_path()).expect("the server's log")
    }

    /// A new connection as the superuser.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.server.url(), NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// Rows of a query on a connection of its own.
    pub async fn rows(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.connect()
            .await
            .query(sql, parameters)
            .await
            .expect(sql)
    }

    /// The number that a query counts.
    pub async fn count(&self, sql: &str) -> i64 {
        self.rows(sql, &[]).await[0].get(0)
    }

    /// `kill -9` of every process of the server.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Stops every process of the server where it stands; its sockets stay open.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets them run again.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Stops the server as an administrator does (`pg_ctl stop -m fast`).
    pub async fn shut_down(&mut self) {
        let postmaster = self.server.pid().expect("a server that runs");
        kill(pid(postmaster), Signal::SIGINT).unwrap();
        while self.server.is_running().unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the server after its end, on the same port.
    pub async fn start_again(&mut self) {
        self.server
            .start_again()
            .await
            .expect("the server starts again");
    }

    /// Starts it again if it has ended by itself. Says whether it had.
    pub async fn start_if_ended(&mut self) -> bool {
        let has_ended = !self.server.is_running().unwrap();
        if has_ended {
            self.start_again().await;
        }
        has_ended
    }

    /// Sends a signal to the postmaster first, so that it starts no new children, then to them.
    fn signal(&self, signal: Signal) {
        let Some(postmaster) = self.server.pid() else {
            return;
        };
        let children = children(postmaster);
        for process in std::iter::once(postmaster).chain(children) {
            // One that has ended meanwhile needs no signal.
            let _ = kill(pid(process), signal);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A frozen server would not hear that it shall stop.
        self.thaw();
    }
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap())
}

/// The children of a process, from `/proc`.
fn children(parent: u32) -> Vec<u32> {
    let wanted = parent.to_string();
    let is_child = |process: &u32| {
        std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
            // The name in brackets may hold spaces; after it come the state and the parent.
            stat.rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1))
                == Some(wanted.as_str())
        })
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(is_child)
        .collect()
}

/// A server with the layout in it, which has stopped: the others begin as copies of it.
struct LaidOut {
    template: Arc<Template>,
    /// Where the ingesters connected.
    ingest_url: String,
    port: u16,
}

impl LaidOut {
    /// That of this process.
    async fn shared() -> &'static Self {
        static SHARED: OnceCell<LaidOut> = OnceCell::const_new();
        SHARED
            .get_or_init(async || {
                let server = PrivatePostgres::start(Options::default())
                    .await
                    .expect("a private PostgreSQL");
                let (ingest_url, port) = (lay_out(&server).await, server.port());
                let template = Template::of(server).await.expect("a template");
                Self {
                    template: Arc::new(template),
                    ingest_url,
                    port,
                }
            })
            .await
    }
}

/// Makes the layout and the ingest login, and says where that connects.
async fn lay_out(server: &PrivatePostgres) -> String {
    let warehouse = connect_warehouse(server).await;
    warehouse.ensure_layout().await.expect("the layout");
    let password = SecretBytes::new(INGEST_PASSWORD.to_vec());
    let ingest = warehouse
        .ensure_ingest(None, &password)
        .await
        .expect("the ingest login");
    let login = ingest.login.expect("a superuser can create roles");
    login.url.expose_str().unwrap().to_owned()
}

async fn connect_warehouse(server: &PrivatePostgres) -> Warehouse {
    Warehouse::connect(SecretBytes::new(server.url().into_bytes()))
        .await
        .expect("the warehouse")
}
