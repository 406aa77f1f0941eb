//! From a [`Target`] to a logged-in [`Connection`].

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::fallible_iterator::FallibleIterator;
use trunkline_pgconn::{Address, CLEAR_TEXT, ChannelBinding, Stream, Target};

use super::failure::Failure;
use super::wire::{Connection, server_error};

/// Bound on the TCP handshake with one address. Less than two seconds, so that a new SYN is sent
/// soon after an unreachable network has returned (the kernel's own repeats come after 1, 3, 7 s).
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Bound on the delivery of a cancel request; nobody waits for it.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);

/// How the server sees us in `pg_stat_activity`.
const APPLICATION_NAME: &str = "trunkline-ingester";

/// What is needed to cancel a statement from beside its connection.
#[derive(Debug, Clone)]
pub(super) struct CancelKey {
    target: Arc<Target>,
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
            // With TLS where the connection has it: the key is a secret.
            let stream = self.target.dial(&self.address, DIAL_TIMEOUT).await?;
            let mut connection = Connection::new(stream);
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
    address: &Address,
    target: &Arc<Target>,
) -> Result<(Connection, CancelKey), Failure> {
    let stream = target.dial(address, DIAL_TIMEOUT).await?;
    let was_tls = stream.is_tls();
    match log_in(stream, address, target).await {
        Err(Failure::Server(error))
            if error.code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                && target.may_retry_in_the_clear(was_tls) =>
        {
            let stream = target.dial_in_the_clear(address, DIAL_TIMEOUT).await?;
            log_in(stream, address, target).await
        }
        outcome => outcome,
    }
}

async fn log_in(
    stream: Stream,
    address: &Address,
    target: &Arc<Target>,
) -> Result<(Connection, CancelKey), Failure> {
    let binding = match target.channel_binding() {
        ChannelBinding::Disable => None,
        ChannelBinding::Prefer | ChannelBinding::Require => stream.server_end_point(),
    };
    let is_protected = stream.is_protected();
    let mut connection = Connection::new(stream);
    let mut parameters = vec![
        ("user", target.user()),
        ("database", target.database()),
        ("client_encoding", "UTF8"),
        ("application_name", APPLICATION_NAME),
    ];
    parameters.extend(target.options().map(|options| ("options", options)));
    connection
        .send(|out| frontend::startup_message(parameters, out))
        .await?;
    let is_bound = authenticate(&mut connection, target, binding, is_protected).await?;
    if target.channel_binding() == ChannelBinding::Require && !is_bound {
        return Err(Failure::Login(
            "the server did not bind the login to TLS, which channel_binding=require asks for; it \
             needs scram-sha-256 in its pg_hba.conf and a certificate with an RSA or ECDSA \
             signature",
        ));
    }

    let mut cancel = CancelKey {
        target: Arc::clone(target),
        address: address.clone(),
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

/// Whether the login was bound to TLS.
async fn authenticate(
    connection: &mut Connection,
    target: &Target,
    binding: Option<Vec<u8>>,
    is_protected: bool,
) -> Result<bool, Failure> {
    let mut is_bound = false;
    match connection.receive().await? {
        Message::AuthenticationOk => return Ok(false),
        Message::AuthenticationMd5Password(body) => {
            let hash = md5_hash(target.user().as_bytes(), password(target)?, body.salt());
            connection
                .send(|out| frontend::password_message(hash.as_bytes(), out))
                .await?;
        }
        Message::AuthenticationSasl(body) => {
            is_bound = scram(connection, &body, password(target)?, binding).await?;
        }
        Message::AuthenticationCleartextPassword if is_protected => {
            let password = password(target)?;
            connection
                .send(|out| frontend::password_message(password, out))
                .await?;
        }
        Message::AuthenticationCleartextPassword => {
            return Err(Failure::Login(CLEAR_TEXT));
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
        Message::AuthenticationOk => Ok(is_bound),
        Message::ErrorResponse(body) => Err(Failure::Server(server_error(&mut body.fields())?)),
        _ => Err(Failure::Protocol("an unknown message in the login")),
    }
}

fn password(target: &Target) -> Result<&[u8], Failure> {
    let password = target.password().map(|password| password.expose());
    password.ok_or(Failure::Login(
        "the server asks for a password and the database URL has none; add it",
    ))
}

/// Whether the login was bound to TLS.
async fn scram(
    connection: &mut Connection,
    body: &AuthenticationSaslBody,
    password: &[u8],
    binding: Option<Vec<u8>>,
) -> Result<bool, Failure> {
    let offered: Vec<_> = body
        .mechanisms()
        .map(|mechanism| Ok(mechanism.to_owned()))
        .collect()?;
    let offers = |mechanism: &str| offered.iter().any(|offered| offered == mechanism);
    let (mechanism, binding) = match binding {
        Some(binding) if offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, Binding::tls_server_end_point(binding))
        }
        // Tells the server that we could, so that it notices a stranger who took the offer away.
        Some(_) => (SCRAM_SHA_256, Binding::unrequested()),
        None => (SCRAM_SHA_256, Binding::unsupported()),
    };
    if !offers(mechanism) {
        return Err(Failure::Login(
            "the server offers no SCRAM-SHA-256; enable it",
        ));
    }
    let mut scram = ScramSha256::new(password, binding);
    connection
        .send(|out| frontend::sasl_initial_response(mechanism, scram.message(), out))
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
        Message::AuthenticationSaslFinal(body) => {
            scram.finish(body.data())?;
            Ok(mechanism == SCRAM_SHA_256_PLUS)
        }
        Message::ErrorResponse(body) => Err(Failure::Server(server_error(&mut body.fields())?)),
        _ => Err(Failure::Protocol("no proof of the server in SCRAM")),
    }
}
