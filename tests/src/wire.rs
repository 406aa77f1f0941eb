//! Requests as bytes on raw sockets, for senders that are lean, slow, or not quite HTTP.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use trunkline_cli::segment::{HEADERS, SIGNATURE_HEADER};

use crate::segment::signed_single;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// A POST whose headers say how long its body is.
#[must_use]
pub fn post_bytes(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").expect("memory");
    }
    write!(request, "content-length: {}\r\n\r\n", body.len()).expect("memory");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// A signed event as Segment posts it.
#[must_use]
pub fn signed_post_bytes(path: &str, secret: &str, json: &str) -> Vec<u8> {
    let (body, signature) = signed_single(secret.as_bytes(), json);
    let mut headers = HEADERS.to_vec();
    headers.push((SIGNATURE_HEADER, &signature));
    post_bytes(path, &headers, &body)
}

/// Reads one answer whole and returns its status. `buffer` is only there to be used again.
///
/// # Errors
/// When the connection ends before the answer does.
pub async fn read_status(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<u16> {
    buffer.clear();
    let whole = loop {
        if let Some(whole) = length(buffer) {
            break whole;
        }
        receive(stream, buffer).await?;
    };
    while buffer.len() < whole {
        receive(stream, buffer).await?;
    }
    let status = buffer
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    status
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| io::Error::other(String::from_utf8_lossy(buffer).into_owned()))
}

async fn receive(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<()> {
    if buffer.len() > MAX_ANSWER {
        return Err(io::Error::other("an answer without an end"));
    }
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// How long an answer is in all, once its headers are there.
fn length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let body = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0);
    Some(end + body)
}
