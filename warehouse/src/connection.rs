//! The owner's connection: opened, kept, and thrown away when in doubt.
//!
//! Invariant: a connection is kept only after a piece of work that ended well. Whatever is
//! cancelled or fails drops it, and the server then rolls back; the next piece of work connects
//! anew, to whichever host takes writes by then.

use std::ops::Deref;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use trunkline_pgconn::{Connected, DialError, Endpoint, HostError, Target, connect};

use crate::error::Error;

/// One connection at a time: one DDL worker per process, as the DDL lock makes it one per database.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Target,
    idle: Mutex<Option<Client>>,
}

impl Connection {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            idle: Mutex::new(None),
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Takes the connection for a piece of work, opening one if there is none.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, Error> {
        let mut idle = self.idle.lock().await;
        let client = match idle.take() {
            Some(client) if !client.is_closed() => client,
            _ => open(&self.target).await?.client,
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
pub(crate) async fn open(target: &Target) -> Result<Connected, Error> {
    connect(target)
        .await
        .map_err(|error| explain(target, error.0))
}

/// Whether a failed login says that the password is wrong.
pub(crate) fn is_wrong_password(error: &Error) -> bool {
    matches!(error, Error::Password { .. })
}

/// One error for all hosts: of the one that tells most, since a host that is down says nothing of
/// another whose password is wrong.
fn explain(target: &Target, failures: Vec<(Endpoint, HostError)>) -> Error {
    let hosts: Vec<_> = failures
        .iter()
        .map(|(endpoint, error)| format!("{endpoint}: {error}"))
        .collect();
    let is_read_only = |(_, error): &(_, HostError)| matches!(error, HostError::ReadOnly);
    let takes_no_writes = failures.iter().any(is_read_only);
    let telling = failures
        .into_iter()
        .filter(|failure| !is_read_only(failure))
        .max_by_key(|(_, error)| match error {
            HostError::Login(error) if error.as_db_error().is_some() => 3,
            HostError::ClearText => 3,
            HostError::Dial(DialError::Tls(_)) => 2,
            HostError::Login(_) => 1,
            HostError::Dial(_) | HostError::ReadOnly => 0,
        });
    match telling {
        Some((endpoint, HostError::Login(source))) if source.as_db_error().is_some() => {
            refused(target, endpoint.to_string(), source)
        }
        Some((endpoint, HostError::ClearText)) => Error::ClearText {
            address: endpoint.to_string(),
            role: target.user().to_owned(),
        },
        Some((endpoint, HostError::Dial(DialError::Tls(source)))) => Error::Tls {
            address: endpoint.to_string(),
            source,
        },
        _ if takes_no_writes => Error::NoPrimary {
            hosts: hosts.join("; "),
        },
        // The driver's own refusal to log in, for want of a password, has no place in the network.
        Some((endpoint, HostError::Login(source)))
            if !source.is_closed() && !is_network(&source) =>
        {
            Error::Refused {
                address: endpoint.to_string(),
                role: target.user().to_owned(),
                source,
            }
        }
        _ => Error::Unreachable {
            address: target.to_string(),
            answer: hosts.join("; "),
        },
    }
}

fn refused(target: &Target, address: String, source: tokio_postgres::Error) -> Error {
    let role = target.user().to_owned();
    match source.code() {
        Some(&SqlState::INVALID_PASSWORD) => Error::Password { role, source },
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            let database = target.database().to_owned();
            Error::NoDatabase { database, source }
        }
        Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
            if source
                .as_db_error()
                .is_some_and(|refusal| refusal.message().contains("pg_hba.conf")) =>
        {
            Error::NotAllowed {
                address,
                role,
                mode: target.ssl_mode().as_str(),
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
