//! Which database to connect to: a connection URL, read once and complete.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslNegotiation};
use tokio_rustls::TlsConnector;
use trunkline_model::database::DatabaseLogin;
use trunkline_model::secret::SecretBytes;

use crate::connector::connector;
use crate::parameters::{Parts, SYSTEM_ROOTS, split};

/// The port of PostgreSQL when the URL names none.
const DEFAULT_PORT: u16 = 5432;

/// Why a connection URL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It does not parse. The driver's own words are left out, since they may quote the URL.
    #[error(
        "the database URL is not a PostgreSQL URL; write \
         postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters of the password \
         percent-encoded"
    )]
    NotAUrl,
    /// It names no user.
    #[error("the database URL names no user; write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoUser,
    /// It names no host.
    #[error("the database URL names no host; write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoHost,
    /// It lists ports or addresses that do not match its hosts.
    #[error(
        "the database URL lists another number of ports or hostaddr than hosts; give one for each"
    )]
    UnequalLists,
    /// `sslmode` is unknown, or `allow`.
    #[error(
        "sslmode in the database URL is not one that Trunkline knows; write disable, prefer, \
         require, verify-ca or verify-full"
    )]
    SslMode,
    /// `sslnegotiation=direct`.
    #[error(
        "sslnegotiation in the database URL asks for TLS without negotiation, which Trunkline does \
         not speak; remove it"
    )]
    SslNegotiation,
    /// `channel_binding` is unknown.
    #[error("channel_binding in the database URL is unknown; write disable, prefer or require")]
    ChannelBinding,
    /// `channel_binding=require` without TLS.
    #[error(
        "channel_binding=require in the database URL needs TLS, which its sslmode=disable turns \
         off; write sslmode=verify-full"
    )]
    BindingWithoutTls,
    /// `target_session_attrs` asks for a server that takes no writes.
    #[error(
        "target_session_attrs in the database URL asks for a server that may take no writes; write \
         read-write, primary or any"
    )]
    SessionAttributes,
    /// It names files.
    #[error(
        "the database URL names a file (sslrootcert, sslcert or sslkey), which pods do not have; \
         remove it and put the certificate into the Secret, as ca.crt, tls.crt or tls.key"
    )]
    File,
    /// `verify-ca` without an authority.
    #[error(
        "sslmode=verify-ca needs the certificate of an authority of your own, as anyone can have \
         one of a public authority; name it in spec.database.caSecretRef or in the Secret's key \
         ca.crt, or write sslmode=verify-full"
    )]
    NoAuthority,
    /// `sslrootcert=system` with a weaker mode.
    #[error("sslrootcert=system in the database URL needs sslmode=verify-full; write that")]
    WeakSystemRoots,
    /// The authorities' certificates are no PEM.
    #[error(
        "the authority's certificate for the database (ca.crt) is not one in PEM; give the text \
         between and including BEGIN CERTIFICATE and END CERTIFICATE"
    )]
    Authorities,
    /// The client's certificate cannot be used.
    #[error(
        "the client certificate for the database (tls.crt, tls.key) cannot be used; give a \
         certificate and the private key that belongs to it, both in PEM"
    )]
    ClientCertificate,
    /// The TLS library has no protocol version that it may speak.
    #[error("TLS is not available in this build")]
    Tls,
}

/// How much a connection is protected, as libpq's `sslmode` means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS when the server offers it, else none. The default.
    Prefer,
    /// TLS, with whoever answers; with an authority's certificate, the same as `VerifyCa`.
    Require,
    /// TLS with a server that the authority vouches for.
    VerifyCa,
    /// The same, and its certificate is for the host of the URL.
    VerifyFull,
}

impl SslMode {
    fn parse(text: Option<&str>) -> Result<Self, TargetError> {
        Ok(match text {
            Some("disable") => Self::Disable,
            None | Some("prefer") => Self::Prefer,
            Some("require") => Self::Require,
            Some("verify-ca") => Self::VerifyCa,
            Some("verify-full") => Self::VerifyFull,
            Some(_) => return Err(TargetError::SslMode),
        })
    }

    /// The value in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Whether SCRAM is bound to the TLS session that it runs in, as libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// It is not.
    Disable,
    /// It is when the server offers it. The default.
    Prefer,
    /// It is, or there is no login.
    Require,
}

impl ChannelBinding {
    fn parse(text: Option<&str>) -> Result<Self, TargetError> {
        Ok(match text {
            Some("disable") => Self::Disable,
            None | Some("prefer") => Self::Prefer,
            Some("require") => Self::Require,
            Some(_) => return Err(TargetError::ChannelBinding),
        })
    }
}

/// A database as one role.
#[derive(Clone)]
pub struct Target {
    /// What it was made of.
    login: DatabaseLogin,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) user: String,
    pub(crate) password: Option<SecretBytes>,
    pub(crate) database: Option<String>,
    pub(crate) options: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) ssl_mode: SslMode,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) tls: Option<TlsConnector>,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.login == other.login
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("endpoints", &self.endpoints)
            .field("ssl_mode", &self.ssl_mode)
            .finish_non_exhaustive()
    }
}

/// One server of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host of the URL, which a certificate has to be for. None for a socket.
    pub(crate) host: Option<String>,
    pub(crate) place: Place,
}

/// Where an [`Endpoint`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host name to resolve at every attempt, or a textual address.
    Name(String, u16),
    /// `hostaddr`, which needs no name service.
    Address(IpAddr, u16),
    /// The socket file of a server on this machine.
    Socket(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Name(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Place::Name(name, port) => write!(f, "{name}:{port}"),
            Place::Address(address, port) => write!(f, "{}", SocketAddr::new(*address, *port)),
            Place::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Endpoint {
    /// What libpq takes as `host` and `port`: a name, an address, or the folder of a socket.
    #[must_use]
    pub fn host_and_port(&self) -> (String, u16) {
        match (&self.host, &self.place) {
            (Some(host), Place::Name(_, port) | Place::Address(_, port)) => (host.clone(), *port),
            (None, Place::Name(name, port)) => (name.clone(), *port),
            (None, Place::Address(address, port)) => (address.to_string(), *port),
            (_, Place::Socket(file)) => {
                let folder = file.parent().unwrap_or(file).to_string_lossy().into_owned();
                let port = file
                    .extension()
                    .and_then(|port| port.to_str()?.parse().ok());
                (folder, port.unwrap_or_default())
            }
        }
    }
}

impl Target {
    /// Reads a connection URL, or a `key=value` string, as libpq has them, with its certificates.
    ///
    /// Several hosts are tried in order, and one that takes no writes counts as unavailable,
    /// whether `target_session_attrs` is `read-write`, `primary`, `any` or not there.
    ///
    /// # Errors
    /// [`TargetError`] when the URL cannot be used; nothing it asks for is ignored in silence.
    pub fn parse(login: impl Into<DatabaseLogin>) -> Result<Self, TargetError> {
        let login = login.into();
        let text = login.url.expose_str().ok_or(TargetError::NotAUrl)?.trim();
        let parts = split(text);
        let config: Config = parts.rest.parse().map_err(|_| TargetError::NotAUrl)?;
        // A password that was not encoded: the driver takes its end for a part of the host.
        let is_password_in = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(is_password_in) {
            return Err(TargetError::NotAUrl);
        }
        let ssl_mode = SslMode::parse(parts.get("sslmode"))?;
        refuse_files(&parts, ssl_mode)?;
        let channel_binding = ChannelBinding::parse(parts.get("channel_binding"))?;
        if channel_binding == ChannelBinding::Require && ssl_mode == SslMode::Disable {
            return Err(TargetError::BindingWithoutTls);
        }
        if config.get_ssl_negotiation() == SslNegotiation::Direct {
            return Err(TargetError::SslNegotiation);
        }
        if !matches!(
            parts.get("target_session_attrs"),
            None | Some("any" | "read-write" | "primary")
        ) {
            return Err(TargetError::SessionAttributes);
        }
        Ok(Self {
            endpoints: endpoints(&config)?,
            user: config.get_user().ok_or(TargetError::NoUser)?.to_owned(),
            password: config.get_password().map(SecretBytes::new),
            database: config.get_dbname().map(str::to_owned),
            options: config.get_options().map(str::to_owned),
            application_name: config.get_application_name().map(str::to_owned),
            connect_timeout: config.get_connect_timeout().copied(),
            ssl_mode,
            channel_binding,
            tls: connector(ssl_mode, &login.certificates)?,
            login,
        })
    }

    /// Shows itself under this name in `pg_stat_activity`, unless the URL says another.
    #[must_use]
    pub fn named(mut self, application: &str) -> Self {
        self.application_name
            .get_or_insert_with(|| application.to_owned());
        self
    }

    /// In the order in which to try them.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The role.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its password.
    #[must_use]
    pub fn password(&self) -> Option<&SecretBytes> {
        self.password.as_ref()
    }

    /// The database: by default, that of the user's name.
    #[must_use]
    pub fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }

    /// The startup parameter `options`; PgBouncer refuses it unless told otherwise.
    #[must_use]
    pub fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// Bound on an attempt to connect to one address, when the URL sets one.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// How much connections are protected.
    #[must_use]
    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// Whether SCRAM is bound to TLS.
    #[must_use]
    pub fn channel_binding(&self) -> ChannelBinding {
        self.channel_binding
    }

    /// What it was made of.
    #[must_use]
    pub fn login(&self) -> &DatabaseLogin {
        &self.login
    }
}

/// Hosts and ports, as messages name them.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{endpoint}")?;
        }
        Ok(())
    }
}

/// `sslrootcert=system` is libpq's name for the public authorities, with its condition.
fn refuse_files(parts: &Parts, mode: SslMode) -> Result<(), TargetError> {
    if parts.get("sslcert").or(parts.get("sslkey")).is_some() {
        return Err(TargetError::File);
    }
    match parts.get("sslrootcert") {
        None => Ok(()),
        Some(SYSTEM_ROOTS) if mode == SslMode::VerifyFull => Ok(()),
        Some(SYSTEM_ROOTS) => Err(TargetError::WeakSystemRoots),
        Some(_) => Err(TargetError::File),
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
        let host = match hosts.get(index) {
            Some(Host::Tcp(name)) => Some(name.clone()),
            _ => None,
        };
        let (host, place) = match (addresses.get(index), hosts.get(index)) {
            (Some(&address), _) => (
                host.or_else(|| Some(address.to_string())),
                Place::Address(address, port),
            ),
            (None, Some(Host::Tcp(name))) => (host, Place::Name(name.clone(), port)),
            #[cfg(unix)]
            (None, Some(Host::Unix(folder))) => {
                let file = folder.join(format!(".s.PGSQL.{port}"));
                (None, Place::Socket(file))
            }
            (None, _) => return Err(TargetError::NoHost),
        };
        Ok(Endpoint { host, place })
    };
    (0..count).map(endpoint).collect()
}

#[cfg(test)]
mod tests;
