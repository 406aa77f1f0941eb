//! From a [`Target`] to a logged-in [`Connection`].

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_postgres::fallible_iterator::FallibleIterator;

use super::failure::Failure;
use super::target::{Endpoint, Target};
use super::wire::{Connection, Reader, Writer, server_error};

/// Bound on the TCP handshake with one address. Less than two seconds, so that a new SYN is sent
/// soon after an unreachable network has returned (the kernel's own repeats come after 1, 3, 7 s).
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Bound on the delivery of a cancel request; nobody waits for it.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);

/// How the server sees us in `pg_stat_activity`.
const APPLICATION_NAME: &str = "trunkline-ingester";

/// An endpoint after name resolution.
#[derive(Debug, Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What is needed to cancel a statement from beside its connection.
#[derive(Debug, Clone)]
pub(super) struct CancelKey {
    address: Address,
    process_id: i32,
    secret_key: i32,
}

impl CancelKey {
    /// Asks the server to cancel what the connection runs. For a commit whose deadline has passed:
    /// when it waits for a lock, the server would otherwise commit it long after the sender has
    /// been told to come again, and when it waits for a standby, its backend would stay for good.
    pub(super) async fn cancel(self) {
        let request = async {
            let (reader, writer) = dial(&self.address).await?;
            let mut connection = Connection::new(reader, writer);
            let write = |out: &mut BytesMut| {
                frontend::cancel_request(self.process_id, self.secret_key, out);
                Ok(())
            };
            connection.send(write).await?;
            // The server closes when it has passed the request on.
            connection.receive().await
        };
        // Best effort: a server that cannot be reached has nothing to cancel that we could stop.
        let _ = timeout(CANCEL_TIMEOUT, request).await;
    }
}

/// Connects and logs in to one server.
pub(super) async fn login(
    endpoint: &Endpoint,
    target: &Target,
) -> Result<(Connection, CancelKey), Failure> {
    let (address, (reader, writer)) = reach(endpoint).await?;
    let mut connection = Connection::new(reader, writer);
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", target.database.as_str()),
        ("client_encoding", "UTF8"),
        ("application_name", APPLICATION_NAME),
    ];
    parameters.extend(
        target
            .options
            .as_deref()
            .map(|options| ("options", options)),
    );
    connection
        .send(|out| frontend::startup_message(parameters, out))
        .await?;
    authenticate(&mut connection, target).await?;

    let mut cancel = CancelKey {
        address,
        process_id: 0,
        secret_key: 0,
    };
    loop {
        match connection.receive().await? {
            Message::BackendKeyData(body) => {
                cancel.process_id = body.process_id();
                cancel.secret_key = body.secret_key();
            }
            Message::ReadyForQuery(_) => return Ok((connection, cancel)),
            Message::ErrorResponse(body) => {
                return Err(Failure::Server(server_error(&mut body.fields())?));
            }
            Message::ParameterStatus(_) | Message::NoticeResponse(_) => {}
            _ => return Err(Failure::Protocol("an unknown message after the login")),
        }
    }
}

async fn reach(endpoint: &Endpoint) -> Result<(Address, (Reader, Writer)), Failure> {
    let addresses: Vec<_> = match endpoint {
        Endpoint::Socket(path) => vec![Address::Unix(path.clone())],
        Endpoint::Address(ip, port) => vec![Address::Tcp(SocketAddr::new(*ip, *port))],
        Endpoint::Name(name, port) => {
            let found = tokio::net::lookup_host((name.as_str(), *port)).await?;
            found.map(Address::Tcp).collect()
        }
    };
    let mut failure = Failure::Io(io::Error::other("the host name has no address"));
    for address in addresses {
        match timeout(DIAL_TIMEOUT, dial(&address)).await {
            Ok(Ok(stream)) => return Ok((address, stream)),
            Ok(Err(error)) => failure = Failure::Io(error),
            Err(_) => failure = Failure::Deadline(DIAL_TIMEOUT),
        }
    }
    Err(failure)
}

/// Opens a stream. Dead peers are noticed by the deadline of every flight and by the regular look
/// at the server's settings, so that TCP keepalives would add nothing.
async fn dial(address: &Address) -> io::Result<(Reader, Writer)> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        Address::Unix(path) => {
            let (reader, writer) = UnixStream::connect(path).await?.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}

async fn authenticate(connection: &mut Connection, target: &Target) -> Result<(), Failure> {
    match connection.receive().await? {
        Message::AuthenticationOk => return Ok(()),
        Message::AuthenticationMd5Password(body) => {
            let hash = md5_hash(target.user.as_bytes(), password(target)?, body.salt());
            connection
                .send(|out| frontend::password_message(hash.as_bytes(), out))
                .await?;
        }
        Message::AuthenticationSasl(body) => scram(connection, &body, password(target)?).await?,
        Message::AuthenticationCleartextPassword => {
            return Err(Failure::Login(
                "the server asks for the password in clear text over a connection without TLS; \
                 set scram-sha-256 in its pg_hba.conf",
            ));
        }
        Message::ErrorResponse(body) => {
            return Err(Failure::Server(server_error(&mut body.fields())?));
        }
        _ => {
            return Err(Failure::Login(
                "the server asks for a way to log in other than scram-sha-256, md5 or trust; set \
                 scram-sha-256 in its pg_hba.conf",
            ));
        }
    }
    match connection.receive().await? {
        Message::AuthenticationOk => Ok(()),
        Message::ErrorResponse(body) => Err(Failure::Server(server_error(&mut body.fields())?)),
        _ => Err(Failure::Protocol("an unknown message in the login")),
    }
}

fn password(target: &Target) -> Result<&[u8], Failure> {
    let password = target.password.as_ref().map(|password| password.expose());
    password.ok_or(Failure::Login(
        "the server asks for a password and the database URL has none; add it",
    ))
}

async fn scram(
    connection: &mut Connection,
    body: &AuthenticationSaslBody,
    password: &[u8],
) -> Result<(), Failure> {
    if !body
        .mechanisms()
        .any(|mechanism| Ok(mechanism == SCRAM_SHA_256))?
    {
        return Err(Failure::Login(
            "the server offers no SCRAM-SHA-256; enable it",
        ));
    }
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    connection
        .send(|out| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out))
        .await?;
    match connection.receive().await? {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data())?,
        Message::ErrorResponse(body) => {
            return Err(Failure::Server(server_error(&mut body.fields())?));
        }
        _ => return Err(Failure::Protocol("no SCRAM challenge")),
    }
    connection
        .send(|out| frontend::sasl_response(scram.message(), out))
        .await?;
    match connection.receive().await? {
        // Proves that the server knows the password too.
        Message::AuthenticationSaslFinal(body) => Ok(scram.finish(body.data())?),
        Message::ErrorResponse(body) => Err(Failure::Server(server_error(&mut body.fields())?)),
        _ => Err(Failure::Protocol("no proof of the server in SCRAM")),
    }
}
