//! [`Client`]: a sender over one kept connection.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a sender waits; Segment's limit is 5 s for an answer and 10 s in all.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A sender that keeps its connection and opens another when that one ended.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub text: String,
    /// The headers.
    pub headers: HeaderMap,
    /// From the request's first byte, connection included, to the answer's last.
    pub elapsed: Duration,
}

/// Why a request has no answer.
#[derive(Debug, Clone)]
pub enum NoAnswer {
    /// No connection: nothing was sent.
    Connect(String),
    /// The connection ended before the answer.
    Broken(String),
    /// No answer in 20 s.
    Timeout,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Broken(error) => write!(f, "connection broke: {error}"),
            Self::Timeout => f.write_str("no answer"),
        }
    }
}

impl Client {
    /// A sender to this address; it connects with its first request.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Posts a body.
    ///
    /// # Errors
    /// [`NoAnswer`] when there is none.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        self.request(Method::POST, path, headers, body).await
    }

    /// Gets a page.
    ///
    /// # Errors
    /// [`NoAnswer`] when there is none.
    pub async fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.request(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends a request with these headers, repeated ones included.
    ///
    /// # Errors
    /// [`NoAnswer`] when there is none.
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(body.into()))
            .expect("a valid request");
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(NoAnswer::Timeout));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    /// Closes the connection; the next request opens another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let start = Instant::now();
        if let Some(open) = &mut self.connection
            && open.ready().await.is_err()
        {
            self.connection = None;
        }
        let open = match &mut self.connection {
            Some(open) => open,
            None => self.connection.insert(connect(self.address).await?),
        };
        let broken = |error: hyper::Error| match error.is_canceled() {
            // The other side had closed before the request was written.
            true => NoAnswer::Connect(error.to_string()),
            false => NoAnswer::Broken(format!("{error:?}")),
        };
        let answer = open.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            text: String::from_utf8_lossy(&body).into_owned(),
            headers: head.headers,
            elapsed: start.elapsed(),
        })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, NoAnswer> {
    let refused = |error: &dyn fmt::Display| NoAnswer::Connect(error.to_string());
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| refused(&error))?;
    stream.set_nodelay(true).map_err(|error| refused(&error))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| refused(&error))?;
    // Its error reaches the request that is under way.
    tokio::spawn(connection);
    Ok(sender)
}
