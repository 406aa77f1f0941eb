//! One connection and the requests that go over it, one after the other.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::target::Target;

/// How long Segment waits for an answer, connection included.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read; a receiver's answers are a line.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;

/// How much of a refusal is shown.
const REFUSAL_CHARS: usize = 200;

/// Why a request has no answer. The receiver may have committed its events or not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The connection was refused, or broke before an answer.
    #[error("{0}")]
    Connection(String),
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What an answer other than 2xx said, shortened; else empty.
    pub(crate) refusal: String,
}

/// An open connection and the task that drives it, which ends with it.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self, Failure> {
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(broken)?;
        // A request is written in one piece; waiting for more to fill a packet only costs time.
        stream.set_nodelay(true).map_err(broken)?;
        match &target.tls {
            None => Self::over(stream).await,
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), stream).await;
                Self::over(stream.map_err(broken)?).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, Failure> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let driver = tokio::spawn(async move {
            // The error also reaches the request that was under way, and is counted there.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }
}

/// Posts a body and reads the answer, over `connection` where it is still open; whatever is left in
/// `connection` can take the next request. Takes [`TIMEOUT`] at most.
pub(crate) async fn post(
    connection: &mut Option<Connection>,
    target: &Target,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, Failure> {
    let exchange = exchange(connection, target, headers, body);
    let result = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or(Err(Failure::Timeout));
    if result.is_err() {
        // Whatever state it is in, it is not used again.
        *connection = None;
    }
    result
}

async fn exchange(
    connection: &mut Option<Connection>,
    target: &Target,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, Failure> {
    let mut message = Request::new(Full::new(body));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = target.path.clone();
    *message.headers_mut() = headers;
    // The receiver may close a connection that has been idle; that is no error.
    if let Some(open) = connection.as_mut()
        && open.sender.ready().await.is_err()
    {
        *connection = None;
    }
    if let Some(open) = connection.as_mut() {
        match open.sender.try_send_request(message).await {
            Ok(answer) => return finish(connection, answer).await,
            Err(mut error) => match error.take_message() {
                // It was closed meanwhile, and nothing of the request was written.
                Some(unsent) => message = unsent,
                None => return Err(broken(error.into_error())),
            },
        }
    }
    let open = connection.insert(Connection::open(target).await?);
    let answer = open.sender.send_request(message).await.map_err(broken)?;
    finish(connection, answer).await
}

async fn finish(
    connection: &mut Option<Connection>,
    answer: Response<Incoming>,
) -> Result<Answer, Failure> {
    let status = answer.status();
    let text = read(answer).await;
    if text.is_none() {
        // The status has been said and counts; the rest of the answer stays unread.
        *connection = None;
    }
    let refusal = if status.is_success() { None } else { text };
    Ok(Answer {
        status: status.as_u16(),
        refusal: refusal.unwrap_or_default(),
    })
}

/// The text of an answer, shortened; none when it breaks off or is unreasonably long.
async fn read(answer: Response<Incoming>) -> Option<String> {
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES)
        .collect()
        .await
        .ok()?
        .to_bytes();
    let text = String::from_utf8_lossy(&body);
    Some(text.trim().chars().take(REFUSAL_CHARS).collect())
}

/// A failure with its whole chain of causes: hyper's own message seldom says enough.
fn broken(error: impl std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    Failure::Connection(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// Answers 200 to whatever comes over TLS. Its port, and its certificate as PEM.
    async fn server() -> (u16, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["hooks.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        });
        (port, cert.pem())
    }

    async fn posted(url: &str, port: u16, trusted: Option<&str>) -> Result<u16, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), trusted.unwrap_or_default()).unwrap();
        let target = Target::parse_trusting(url, trusted.map(|_| file.path())).unwrap();
        let target = target.connecting_to(&format!("127.0.0.1:{port}")).unwrap();
        let answer = post(&mut None, &target, HeaderMap::new(), Bytes::new()).await;
        answer.map(|answer| answer.status)
    }

    #[tokio::test]
    async fn https_is_spoken_with_whoever_is_trusted_and_nobody_else() {
        let (port, certificate) = server().await;
        let url = "https://hooks.example/x";
        assert_eq!(posted(url, port, Some(&certificate)).await, Ok(200));
        for (url, trusted) in [
            (url, None),
            ("https://other.example/x", Some(&*certificate)),
        ] {
            let refused = posted(url, port, trusted).await.unwrap_err().to_string();
            assert!(refused.contains("certificate"), "{refused}");
        }
    }
}
