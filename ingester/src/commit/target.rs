//! Which database to connect to: a connection URL, read once and complete.
//!
//! Invariant: neither an error nor `Debug` shows any part of the URL, since a wrongly encoded
//! password can end up in any of its parts.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{
    ChannelBinding, Config, Host, SslMode, SslNegotiation, TargetSessionAttrs,
};
use trunkline_model::secret::SecretBytes;

/// Bound on one attempt to connect to one host, when the URL sets no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The port of PostgreSQL when the URL names none.
const DEFAULT_PORT: u16 = 5432;

/// Why a connection URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It does not parse.
    #[error(
        "database URL is not a connection string that PostgreSQL clients read; write \
         postgres://USER:PASSWORD@HOST:PORT/DATABASE and percent-encode the password"
    )]
    NotAUrl,
    /// It names no user.
    #[error("database URL names no user; write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoUser,
    /// It names no host.
    #[error("database URL names no host; write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoHost,
    /// It lists ports or addresses that do not match its hosts.
    #[error("database URL lists another number of ports or hostaddr than hosts; give one for each")]
    UnequalLists,
    /// It asks for TLS.
    #[error(
        "database URL asks for TLS (sslmode, sslnegotiation or channel_binding), which the \
         ingester does not speak yet; use sslmode=prefer or sslmode=disable"
    )]
    Tls,
    /// It asks for a server that takes no writes.
    #[error("database URL asks for a read-only server; remove target_session_attrs")]
    ReadOnly,
}

/// A database as the ingest role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// In the order in which to try them.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) user: String,
    pub(super) password: Option<SecretBytes>,
    pub(super) database: String,
    /// The startup parameter `options`; PgBouncer refuses it unless told otherwise.
    pub(super) options: Option<String>,
    /// Bound on an attempt to connect to one endpoint.
    pub(super) connect_timeout: Duration,
}

/// One server of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A host name to resolve at every attempt, or a textual address.
    Name(String, u16),
    /// `hostaddr`, which needs no name service.
    Address(IpAddr, u16),
    /// The socket file of a server on this machine.
    Socket(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Address(address, port) => write!(f, "{}", SocketAddr::new(*address, *port)),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// Reads a connection URL, or a `key=value` string, as libpq has them.
    ///
    /// Several hosts are tried in order, and one that takes no writes counts as unavailable, as if
    /// `target_session_attrs=read-write` were always there. `sslmode=prefer`, libpq's default,
    /// connects without TLS until the ingester speaks it.
    ///
    /// # Errors
    /// [`TargetError`] when the URL cannot be used; nothing it asks for is ignored in silence.
    pub fn parse(url: &SecretBytes) -> Result<Self, TargetError> {
        let text = url.expose_str().ok_or(TargetError::NotAUrl)?;
        // The driver's error is dropped on purpose: it may quote the URL.
        let config: Config = text.parse().map_err(|_| TargetError::NotAUrl)?;
        if config.get_ssl_mode() == SslMode::Require
            || config.get_ssl_negotiation() == SslNegotiation::Direct
            || config.get_channel_binding() == ChannelBinding::Require
        {
            return Err(TargetError::Tls);
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(TargetError::ReadOnly);
        }
        let user = config.get_user().ok_or(TargetError::NoUser)?.to_owned();
        Ok(Self {
            endpoints: endpoints(&config)?,
            password: config.get_password().map(SecretBytes::new),
            database: config.get_dbname().unwrap_or(&user).to_owned(),
            user,
            options: config.get_options().map(str::to_owned),
            connect_timeout: config
                .get_connect_timeout()
                .copied()
                .unwrap_or(CONNECT_TIMEOUT),
        })
    }
}

fn endpoints(config: &Config) -> Result<Vec<Endpoint>, TargetError> {
    let (hosts, addresses, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err(TargetError::NoHost);
    }
    let matches = |list: usize, or_one: bool| list == 0 || list == count || (or_one && list == 1);
    if !matches(hosts.len(), false)
        || !matches(addresses.len(), false)
        || !matches(ports.len(), true)
    {
        return Err(TargetError::UnequalLists);
    }
    let endpoint = |index: usize| {
        let port = ports
            .get(index)
            .or(ports.first())
            .copied()
            .unwrap_or(DEFAULT_PORT);
        match (addresses.get(index), hosts.get(index)) {
            (Some(&address), _) => Ok(Endpoint::Address(address, port)),
            (None, Some(Host::Tcp(name))) => Ok(Endpoint::Name(name.clone(), port)),
            #[cfg(unix)]
            (None, Some(Host::Unix(folder))) => {
                Ok(Endpoint::Socket(folder.join(format!(".s.PGSQL.{port}"))))
            }
            (None, _) => Err(TargetError::NoHost),
        }
    };
    (0..count).map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(&SecretBytes::new(url))
    }

    #[test]
    fn hosts_keep_their_order_and_ports() {
        let target = parse("postgres://u:p@a:1,b:2/d").unwrap();
        let name = |name: &str, port| Endpoint::Name(name.to_owned(), port);
        assert_eq!(target.endpoints, [name("a", 1), name("b", 2)]);
        let target = parse("host=/run/pg,c user=u port=7").unwrap();
        assert_eq!(
            target.endpoints,
            [
                Endpoint::Socket(PathBuf::from("/run/pg/.s.PGSQL.7")),
                name("c", 7)
            ]
        );
        assert_eq!(target.database, "u");
        let target = parse("host=x hostaddr=10.0.0.1 user=u connect_timeout=9").unwrap();
        assert_eq!(
            target.endpoints,
            [Endpoint::Address([10, 0, 0, 1].into(), 5432)]
        );
        assert_eq!(target.connect_timeout, Duration::from_secs(9));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let cases = [
            ("postgres://u:p@h/d?sslmode=require", TargetError::Tls),
            (
                "postgres://u:p@h/d?channel_binding=require",
                TargetError::Tls,
            ),
            (
                "postgres://u:p@h/d?target_session_attrs=read-only",
                TargetError::ReadOnly,
            ),
            ("postgres://h/d", TargetError::NoUser),
            ("user=u", TargetError::NoHost),
            ("host=a,b,c port=1,2 user=u", TargetError::UnequalLists),
            (
                "postgres://u:p@h/d?sslmode=verify-full",
                TargetError::NotAUrl,
            ),
            ("not a url", TargetError::NotAUrl),
        ];
        for (url, error) in cases {
            assert_eq!(parse(url).unwrap_err(), error, "{url}");
        }
    }

    #[test]
    fn neither_debug_nor_an_error_shows_the_password() {
        let target = parse("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{target:?}").contains("hunter2"));
        let error = parse("postgres://u:hun/ter2@h:hunter2/d?hunter2=1").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }
}
