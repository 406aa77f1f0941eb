//! Logs in with the usual driver, over streams of our own.
//!
//! The driver would resolve, dial and negotiate by itself, but its TLS knows neither `verify-ca`
//! nor libpq's `prefer`, and it would try the hosts by other rules than the commit path.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_postgres::config::{self, Config, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding as DriverBinding, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Client};

use crate::dial::{Address, DialError};
use crate::guard::{CLEAR_TEXT, ClearText, LoginGuard};
use crate::stream::Stream;
use crate::target::{ChannelBinding, Endpoint, Target};

/// Bound on reaching one address, when the URL sets no `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bound on the login at one address. A pooler may hold it up until a server is there.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How the server sees us in `pg_stat_activity`, when the URL does not say.
const APPLICATION_NAME: &str = "trunkline";

/// Asked where there is another host to go to.
const TAKES_WRITES: &str = "SELECT NOT pg_is_in_recovery() \
     AND current_setting('default_transaction_read_only') = 'off'";

/// A client that is logged in. Its connection is driven by a task of its own, which ends with it.
#[derive(Debug)]
pub struct Connected {
    /// To speak with the server.
    pub client: Client,
    target: Target,
    address: Address,
}

impl Connected {
    /// How to cancel what the client runs.
    pub fn canceller(&self) -> impl Future<Output = ()> + Send + 'static {
        cancel(
            self.client.cancel_token(),
            self.target.clone(),
            self.address.clone(),
        )
    }
}

/// Why no host could be logged in to.
#[derive(Debug, thiserror::Error)]
#[error("{}", summary(.0))]
pub struct ConnectError(
    /// One for each address of each host, in the order in which they were tried. Never empty.
    pub Vec<(Endpoint, HostError)>,
);

/// Why one host could not be logged in to.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no stream to it.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It refused the login.
    #[error("{}", login(.0))]
    Login(#[source] tokio_postgres::Error),
    /// It asks for the password where others could read it.
    #[error("{CLEAR_TEXT}")]
    ClearText,
    /// It takes no writes.
    #[error("the server takes no writes: a standby, or default_transaction_read_only is on")]
    ReadOnly,
}

impl From<tokio_postgres::Error> for HostError {
    fn from(error: tokio_postgres::Error) -> Self {
        if ClearText::ended(&error) {
            Self::ClearText
        } else {
            Self::Login(error)
        }
    }
}

fn summary(failures: &[(Endpoint, HostError)]) -> String {
    let one = |(endpoint, error): &(Endpoint, HostError)| format!("{endpoint}: {error}");
    failures.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What the server says, else the driver's words: its own for an answer is `db error`.
fn login(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(answer), _) => format!("{} (SQLSTATE {})", answer.message(), answer.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// Logs in to the first host that takes writes; when there is one host only, to that, whatever it
/// takes, so that the caller can look why.
///
/// # Errors
/// [`ConnectError`] speaks of every host.
pub async fn connect(target: &Target) -> Result<Connected, ConnectError> {
    let mut failures = Vec::new();
    let mut fail = |endpoint: &Endpoint, error| failures.push((endpoint.clone(), error));
    for endpoint in target.endpoints() {
        let addresses = match endpoint.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                fail(endpoint, error.into());
                continue;
            }
        };
        let is_alone = target.endpoints().len() == 1 && addresses.len() == 1;
        for address in addresses {
            match at(target, &address, is_alone).await {
                Ok(connected) => return Ok(connected),
                Err(error) => fail(endpoint, error),
            }
        }
    }
    Err(ConnectError(failures))
}

async fn at(target: &Target, address: &Address, is_alone: bool) -> Result<Connected, HostError> {
    let patience = target.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
    let attempt = async {
        let stream = target.dial(address, patience).await?;
        let was_tls = stream.is_tls();
        let client = match log_in(target, stream).await {
            Err(error)
                if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
                    && target.may_retry_in_the_clear(was_tls) =>
            {
                log_in(target, target.dial_in_the_clear(address, patience).await?).await?
            }
            other => other?,
        };
        if !is_alone {
            let rows = client.query_typed(TAKES_WRITES, &[]).await?;
            let takes_writes = rows
                .first()
                .is_some_and(|row| row.try_get(0).unwrap_or(false));
            if !takes_writes {
                return Err(HostError::ReadOnly);
            }
        }
        Ok(Connected {
            client,
            target: target.clone(),
            address: address.clone(),
        })
    };
    timeout(LOGIN_TIMEOUT, attempt)
        .await
        .unwrap_or(Err(DialError::Deadline(LOGIN_TIMEOUT).into()))
}

async fn log_in(target: &Target, stream: Stream) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config(target).connect_raw(stream, Dialled).await?;
    tokio::spawn(async move {
        // Whoever uses the client meets the same error, with more to say about it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to PostgreSQL ended");
        }
    });
    Ok(client)
}

/// Best effort: a server that cannot be reached has nothing to cancel that we could stop. TLS is
/// used here too, since the key that cancels is a secret.
async fn cancel(token: CancelToken, target: Target, address: Address) {
    let patience = target.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
    let request = async {
        if let Ok(stream) = target.dial(&address, patience).await {
            let _ = token.cancel_query_raw(stream, Dialled).await;
        }
    };
    let _ = timeout(LOGIN_TIMEOUT, request).await;
}

/// The login alone; where to and how protected is decided before the driver comes into it.
fn config(target: &Target) -> Config {
    let mut config = Config::new();
    config
        .user(&target.user)
        .dbname(target.database())
        .application_name(
            target
                .application_name
                .as_deref()
                .unwrap_or(APPLICATION_NAME),
        )
        .channel_binding(match target.channel_binding {
            ChannelBinding::Disable => config::ChannelBinding::Disable,
            ChannelBinding::Prefer => config::ChannelBinding::Prefer,
            ChannelBinding::Require => config::ChannelBinding::Require,
        })
        // Makes the driver hand the stream to `Dialled` at once, without asking for TLS again.
        .ssl_mode(config::SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    config
}

/// The driver's TLS for a stream that has been through it, where it should.
struct Dialled;

impl TlsConnect<Stream> for Dialled {
    type Stream = Protected;
    type Error = io::Error;
    type Future = Ready<io::Result<Protected>>;

    fn connect(self, stream: Stream) -> Self::Future {
        let guard = (!stream.is_protected()).then(LoginGuard::default);
        ready(Ok(Protected { stream, guard }))
    }
}

/// A [`Stream`], for the driver.
struct Protected {
    stream: Stream,
    /// What a stream without protection needs.
    guard: Option<LoginGuard>,
}

impl TlsStream for Protected {
    fn channel_binding(&self) -> DriverBinding {
        match self.stream.server_end_point() {
            Some(binding) => DriverBinding::tls_server_end_point(binding),
            None => DriverBinding::none(),
        }
    }
}

impl AsyncRead for Protected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let (Poll::Ready(Ok(())), Some(guard)) = (&polled, &mut self.guard) {
            let arrived = buffer.filled().get(before..).unwrap_or_default();
            guard.look(arrived).map_err(io::Error::other)?;
        }
        polled
    }
}

impl AsyncWrite for Protected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialled")
    }
}
