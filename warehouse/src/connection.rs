//! The owner's connection: opened, kept, and thrown away when in doubt.
//!
//! Invariant: a connection is kept only after a piece of work that ended well. Whatever is
//! cancelled or fails drops it, and the server then rolls back; the next piece of work connects
//! anew.

use std::ops::Deref;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::error::Error;
use crate::url;

/// How long a login may take, over all hosts of the URL.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// One connection at a time: one DDL worker per process, as the DDL lock makes it one per database.
#[derive(Debug)]
pub(crate) struct Connection {
    config: Config,
    idle: Mutex<Option<Client>>,
}

impl Connection {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            idle: Mutex::new(None),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Takes the connection for a piece of work, opening one if there is none.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, Error> {
        let mut idle = self.idle.lock().await;
        let client = match idle.take() {
            Some(client) if !client.is_closed() => client,
            _ => open(&self.config).await?,
        };
        Ok(Lease { client, idle })
    }
}

/// The connection during a piece of work.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    client: Client,
    idle: MutexGuard<'a, Option<Client>>,
}

impl Lease<'_> {
    /// Keeps the connection for the next piece of work.
    pub(crate) fn give_back(mut self) {
        *self.idle = Some(self.client);
    }
}

impl Deref for Lease<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Logs in.
pub(crate) async fn open(config: &Config) -> Result<Client, Error> {
    match tokio::time::timeout(LOGIN_TIMEOUT, config.connect(NoTls)).await {
        Ok(Ok((client, driver))) => {
            tokio::spawn(async move {
                // Whoever uses the client meets the same error, with more to say about it.
                if let Err(error) = driver.await {
                    tracing::debug!(%error, "connection to PostgreSQL ended");
                }
            });
            Ok(client)
        }
        Ok(Err(source)) => Err(explain(config, source)),
        Err(_) => Err(Error::ConnectTimeout {
            address: url::address(config),
            within: LOGIN_TIMEOUT,
        }),
    }
}

/// Whether a failed login says that the password is wrong.
pub(crate) fn is_wrong_password(error: &Error) -> bool {
    matches!(error, Error::Password { .. })
}

fn explain(config: &Config, source: tokio_postgres::Error) -> Error {
    let address = url::address(config);
    let role = config.get_user().unwrap_or_default().to_owned();
    let Some(refusal) = source.as_db_error() else {
        // The driver's own refusal to log in, for want of a password, has no place in the network.
        return if source.is_closed() || is_network(&source) {
            Error::Unreachable { address, source }
        } else {
            Error::Refused {
                address,
                role,
                source,
            }
        };
    };
    match *refusal.code() {
        SqlState::INVALID_PASSWORD => Error::Password { role, source },
        SqlState::INVALID_CATALOG_NAME => {
            let database = config.get_dbname().unwrap_or(&role).to_owned();
            Error::NoDatabase { database, source }
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            if refusal.message().contains("pg_hba.conf") =>
        {
            Error::NotAllowed {
                address,
                role,
                source,
            }
        }
        _ => Error::Refused {
            address,
            role,
            source,
        },
    }
}

/// Whether the system or the network is the cause.
fn is_network(error: &tokio_postgres::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}
