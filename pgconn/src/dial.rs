//! Opens a stream to one address of one host, with the protection that the URL asks for.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types::ServerName};

use crate::stream::Stream;
use crate::target::{Endpoint, Place, SslMode, Target};
use crate::verify::Refusal;

/// Asks for TLS: the length of the message, and a version of the protocol that there will never
/// be (protocol documentation, "SSLRequest").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    place: Reachable,
    /// What a certificate has to be for.
    host: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reachable {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Why there is no stream. Fit for the owner to read.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The name service knows no address of the host.
    #[error("the host name has no address")]
    NoAddress,
    /// Nobody answered in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// TLS is asked for and there is none, or not with the right server.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no TLS with this server, each with its fix.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server answers that it does not speak TLS.
    #[error(
        "the server offers no TLS, which sslmode={} asks for; set ssl = on in its \
         postgresql.conf, or, where the network may be trusted, sslmode=disable in the database URL",
        .0.as_str()
    )]
    NotOffered(SslMode),
    /// No authority that we know vouches for the certificate.
    #[error(
        "the server's certificate is not signed by {}; put the certificate of the authority that \
         signed it into the Secret that spec.database.caSecretRef names, or into the key ca.crt \
         beside the URL",
        if *.has_own { "the authority in ca.crt" } else { "a public authority" }
    )]
    NotTrusted {
        /// Whether the URL came with authorities of its own.
        has_own: bool,
    },
    /// The certificate is another host's.
    #[error(
        "the server's certificate is not for host {host:?} ({}); put a host name of the \
         certificate into the database URL, issue one for this host, or, where any server of this \
         authority may answer, set sslmode=verify-ca",
        held(.names)
    )]
    OtherName {
        /// The host of the URL.
        host: String,
        /// The names that the certificate holds.
        names: Vec<String>,
    },
    /// The certificate is not valid now.
    #[error("the server's certificate is out of its time; renew it and reload the server")]
    Expired,
    /// The host of the URL is no name that a certificate can be for.
    #[error("the host in the database URL is not a host name that a certificate can be for")]
    NoName,
    /// The handshake failed in another way; a server that refuses our certificate, for instance.
    #[error("TLS with the server failed: {0}")]
    Handshake(String),
}

fn held(names: &[String]) -> String {
    if names.is_empty() {
        "it holds no subject alternative name".to_owned()
    } else {
        format!("it is for {}", names.join(", "))
    }
}

impl Endpoint {
    /// Its addresses, each of which may be another server.
    ///
    /// # Errors
    /// [`DialError::Io`] and [`DialError::NoAddress`].
    pub async fn addresses(&self) -> Result<Vec<Address>, DialError> {
        let places: Vec<_> = match &self.place {
            Place::Socket(path) => vec![Reachable::Unix(path.clone())],
            Place::Address(ip, port) => vec![Reachable::Tcp(SocketAddr::new(*ip, *port))],
            Place::Name(name, port) => tokio::net::lookup_host((name.as_str(), *port))
                .await?
                .map(Reachable::Tcp)
                .collect(),
        };
        if places.is_empty() {
            return Err(DialError::NoAddress);
        }
        let host = self.host.clone();
        let address = |place| Address {
            place,
            host: host.clone(),
        };
        Ok(places.into_iter().map(address).collect())
    }
}

impl Target {
    /// Opens a stream to one address. `within` bounds the TCP handshake alone; the caller bounds
    /// the whole.
    ///
    /// With `sslmode=prefer`, a server without TLS, or one with which TLS fails, gets a stream
    /// without.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, address: &Address, within: Duration) -> Result<Stream, DialError> {
        let Some(tls) = &self.tls else {
            return self.dial_in_the_clear(address, within).await;
        };
        let mut stream = match reach(address, within).await? {
            Stream::Tcp(stream) => stream,
            // A socket of this machine needs no TLS, and libpq, too, has none there.
            other => return Ok(other),
        };
        let is_optional = self.ssl_mode == SslMode::Prefer;
        if !ask(&mut stream).await? {
            return if is_optional {
                Ok(Stream::Tcp(stream))
            } else {
                Err(TlsError::NotOffered(self.ssl_mode).into())
            };
        }
        match self.handshake(tls, stream, address).await {
            Ok(stream) => Ok(stream),
            Err(_) if is_optional => self.dial_in_the_clear(address, within).await,
            Err(error) => Err(error),
        }
    }

    /// The same without TLS: for what came after a [`Target::may_retry_in_the_clear`].
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial_in_the_clear(
        &self,
        address: &Address,
        within: Duration,
    ) -> Result<Stream, DialError> {
        reach(address, within).await
    }

    /// Whether a server that lets nobody in over this stream (SQLSTATE 28000) may be asked without
    /// TLS: with `sslmode=prefer`, its pg_hba.conf may have `hostnossl` lines only.
    #[must_use]
    pub fn may_retry_in_the_clear(&self, was_tls: bool) -> bool {
        was_tls && self.ssl_mode == SslMode::Prefer
    }

    async fn handshake(
        &self,
        tls: &TlsConnector,
        stream: TcpStream,
        address: &Address,
    ) -> Result<Stream, DialError> {
        let host = address.host.clone().unwrap_or_default();
        let name = match (ServerName::try_from(host.clone()), &address.place) {
            (Ok(name), _) => name,
            // Some names that resolve cannot be in a certificate. Where no name is checked, the
            // address stands in for it.
            (Err(_), Reachable::Tcp(address)) if self.ssl_mode != SslMode::VerifyFull => {
                ServerName::from(address.ip())
            }
            (Err(_), _) => return Err(TlsError::NoName.into()),
        };
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(self.explain(error, host)),
        }
    }

    fn explain(&self, error: io::Error, host: String) -> DialError {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        let Some(cause) = cause else {
            return DialError::Io(error);
        };
        let refusal: Option<Refusal> = Refusal::of(cause);
        DialError::Tls(match refusal {
            Some(Refusal::Untrusted) => TlsError::NotTrusted {
                has_own: self.login().certificates.authorities.is_some(),
            },
            Some(Refusal::OtherName(names)) => TlsError::OtherName { host, names },
            Some(Refusal::Expired) => TlsError::Expired,
            Some(Refusal::Other) | None => {
                let cause: &rustls::Error = cause;
                TlsError::Handshake(cause.to_string())
            }
        })
    }
}

/// Dead peers are noticed by the deadlines of those who speak, so that TCP keepalives would add
/// nothing.
async fn reach(address: &Address, within: Duration) -> Result<Stream, DialError> {
    let connecting = async {
        match &address.place {
            Reachable::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Reachable::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    };
    timeout(within, connecting)
        .await
        .unwrap_or(Err(DialError::Deadline(within)))
}

/// Whether the server speaks TLS. Exactly one byte is read, so that nothing which came before the
/// handshake, and could be a stranger's, is ever taken for the server's words.
async fn ask(stream: &mut TcpStream) -> Result<bool, DialError> {
    stream.write_all(&SSL_REQUEST).await?;
    match stream.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(TlsError::Handshake(
            "the server does not answer as PostgreSQL does when asked for TLS".to_owned(),
        )
        .into()),
    }
}
