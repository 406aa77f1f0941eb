//! [`Postgres`]: the PostgreSQL beside a cluster, reached by pods and by tests at the same address.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::signal::Signal;
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use tokio_postgres::{Client, NoTls};
use trunkline_cli::postgres::Installation;

use super::component::{Component, Program};
use super::enclosure::{Enclosure, write_private};
use super::network::Network;
use super::patience::eventually;
use crate::Authority;

/// PostgreSQL runs as no other user than its own.
const USER: &str = "postgres";

const PORT: u16 = 5432;

/// Of the superuser, on a network that ends with the test.
const PASSWORD: &str = "of the tests";

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server with default settings. Its data is in memory, and gone with the cluster.
#[derive(Debug)]
pub struct Postgres {
    server: Component,
    address: Ipv4Addr,
    authority: Authority,
}

/// A database and its owner.
#[derive(Debug, Clone)]
pub struct DatabaseLogin {
    /// The server's address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The owner of the database.
    pub user: String,
    /// The owner's password.
    pub password: String,
    /// The name of the database.
    pub dbname: String,
}

impl Postgres {
    /// Starts one at the node's address.
    pub(crate) async fn start(enclosure: &Enclosure) -> Self {
        let address = Network::of(enclosure).node();
        let installation = Installation::find().expect("PostgreSQL; run scripts/install");
        let bin_dir = installation.bin_dir();
        let initdb = bin_dir.join("initdb");
        let data = enclosure.path("node/postgres");
        let data = data.to_str().unwrap();
        let password = enclosure.path("postgres-password");
        write_private(&password, PASSWORD);
        enclosure.run("install", &["-d", "-o", USER, "-m", "0700", data]);
        enclosure.run("chown", &[USER, password.to_str().unwrap()]);
        enclosure.run(
            "setpriv",
            &[
                "--reuid",
                USER,
                "--regid",
                USER,
                "--init-groups",
                initdb.to_str().unwrap(),
                "--pgdata",
                data,
                "--username",
                USER,
                "--pwfile",
                password.to_str().unwrap(),
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-sync",
            ],
        );
        let rules = enclosure.path("node/postgres/pg_hba.conf");
        enclosure
            .inside(move || std::fs::write(rules, "host all all all scram-sha-256\n"))
            .unwrap();
        let authority = Authority::new();
        let certificate = authority.server(&address.to_string());
        for (file, text) in [
            ("server.crt", certificate.certificate),
            ("server.key", certificate.key),
        ] {
            let file = enclosure.path("node/postgres").join(file);
            let written = file.clone();
            enclosure.inside(move || write_private(&written, &text));
            enclosure.run("chown", &[USER, file.to_str().unwrap()]);
        }
        let program = Program::new("postgres", bin_dir.join("postgres"))
            .user(USER)
            .argument("-D")
            .argument(data)
            .flag("listen_addresses", address)
            .flag("port", PORT)
            .flag("unix_socket_directories", "")
            .flag("max_locks_per_transaction", 512);
        let mut postgres = Self {
            server: enclosure.start(program),
            address,
            authority,
        };
        postgres.ready().await;
        postgres
    }

    /// The superuser, and the database of the same name.
    #[must_use]
    pub fn superuser(&self) -> DatabaseLogin {
        DatabaseLogin {
            host: self.address.to_string(),
            port: PORT,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            dbname: USER.to_owned(),
        }
    }

    /// A new connection as the superuser.
    pub async fn connect(&self) -> Client {
        self.superuser().connect().await
    }

    /// Makes a database and a role that owns it, with further options of `CREATE ROLE` such as
    /// `CREATEROLE`. CloudNativePG's owner has none.
    pub async fn create_database(&self, name: &str, role_options: &str) -> DatabaseLogin {
        let login = DatabaseLogin {
            user: name.to_owned(),
            // With what a URL has to escape, as generated passwords have it.
            password: format!("{name}'s/pass:word@100%"),
            dbname: name.to_owned(),
            ..self.superuser()
        };
        let client = self.connect().await;
        let password = login.password.replace('\'', "''");
        for statement in [
            format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}' {role_options}"),
            format!("CREATE DATABASE \"{name}\" OWNER \"{name}\""),
        ] {
            client.batch_execute(&statement).await.expect(&statement);
        }
        login
    }

    /// Offers TLS from now on, with a certificate for its address. Who does not ask for it gets it
    /// too, if they take it.
    pub async fn offer_tls(&self) {
        let client = self.connect().await;
        for statement in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
            client.batch_execute(statement).await.expect(statement);
        }
    }

    /// Whose certificate it shows.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// `kill -9` of every process of the server.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops the server as an administrator does (`pg_ctl stop -m fast`).
    pub fn shut_down(&mut self) {
        self.server.stop_by(Signal::SIGINT);
    }

    /// Stops every process of the server where it stands; its sockets stay open.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Lets them run again.
    pub fn thaw(&self) {
        self.server.thaw();
    }

    /// Starts the server after its end and waits until it takes connections.
    pub async fn start_again(&mut self) {
        self.server.start_again();
        self.ready().await;
    }

    async fn ready(&mut self) {
        let login = url(&self.superuser());
        eventually("PostgreSQL", PATIENCE, async || {
            self.server.check();
            tokio_postgres::connect(&login, NoTls).await.map(drop)
        })
        .await;
    }
}

impl DatabaseLogin {
    /// The connection string.
    #[must_use]
    pub fn uri(&self) -> String {
        url(self)
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&url(self), NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// A Secret as CloudNativePG writes it for the owner of a cluster's database
    /// (<https://cloudnative-pg.io/documentation/current/applications/#secrets>).
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> String {
        let Self {
            host,
            port,
            user,
            password,
            dbname,
        } = self;
        let mut manifest = format!(
            "apiVersion: v1
kind: Secret
type: kubernetes.io/basic-auth
metadata: {{name: {name}, namespace: {namespace}}}
stringData:
"
        );
        let jdbc = format!(
            "jdbc:postgresql://{host}:{port}/{dbname}?password={}&user={user}",
            escaped(password)
        );
        for (key, value) in [
            ("dbname", dbname.as_str()),
            ("host", host),
            ("jdbc-uri", &jdbc),
            ("password", password),
            (
                "pgpass",
                &format!("{host}:{port}:{dbname}:{user}:{password}\n"),
            ),
            ("port", &port.to_string()),
            ("uri", &self.uri()),
            ("user", user),
            ("username", user),
        ] {
            // A string of JSON is one of YAML.
            let value = serde_json::to_string(value).unwrap();
            writeln!(manifest, "  {key}: {value}").unwrap();
        }
        manifest
    }
}

fn url(login: &DatabaseLogin) -> String {
    let DatabaseLogin {
        host, port, dbname, ..
    } = login;
    let (user, password) = (escaped(&login.user), escaped(&login.password));
    format!("postgresql://{user}:{password}@{host}:{port}/{dbname}")
}

/// As a part of a URL.
fn escaped(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}
