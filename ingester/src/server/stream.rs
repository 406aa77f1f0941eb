//! A connection's stream: the bytes that were read to know its protocol, then the others, of which
//! its [`Watch`] is told.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::watch::Watch;

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Size of the first read.
const FIRST_READ_BYTES: usize = 8 << 10;

/// The protocols that a connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the first bytes tell the protocol; returns them too.
pub(super) async fn sniff<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<(Protocol, BytesMut)> {
    let mut begun = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        let is_ended = stream.read_buf(&mut begun).await? == 0;
        let common = begun.len().min(PREFACE.len());
        if is_ended || begun[..common] != PREFACE[..common] {
            return Ok((Protocol::Http1, begun));
        }
        if common == PREFACE.len() {
            return Ok((Protocol::Http2, begun));
        }
    }
}

/// A stream that is watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    /// What was read before.
    begun: BytesMut,
    stream: S,
    watch: Option<Arc<Watch>>,
}

impl<S> Watched<S> {
    /// A stream of which the first bytes have been read. Without a watch nobody is told of the others.
    pub(super) fn new(begun: BytesMut, stream: S, watch: Option<Arc<Watch>>) -> Self {
        Self {
            begun,
            stream,
            watch,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.begun.is_empty() {
            let read = this.begun.len().min(buffer.remaining());
            buffer.put_slice(&this.begun.split_to(read));
            if this.begun.is_empty() {
                // Its memory is given back: the connection may live for long.
                this.begun = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before
            && let Some(watch) = &this.watch
        {
            watch.bytes_arrived();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn sniffed(pieces: &[&[u8]]) -> (Protocol, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let write = async {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(theirs);
        };
        let ((), sniffed) = tokio::join!(write, sniff(&mut ours));
        let (protocol, begun) = sniffed.unwrap();
        let mut whole = Vec::new();
        let mut watched = Watched::new(begun, ours, None);
        watched.read_to_end(&mut whole).await.unwrap();
        (protocol, whole)
    }

    #[tokio::test]
    async fn the_preface_decides_however_it_arrives_and_no_byte_is_lost() {
        let bytes: Vec<_> = PREFACE.chunks(1).collect();
        let cases: [(&[&[u8]], Protocol); 7] = [
            (&[b"POST / HTTP/1.1\r\n"], Protocol::Http1),
            (&[b"P", b"OST / HTTP/1.1\r\n"], Protocol::Http1),
            (&[b"PRI * HTTP/2.0\r\n\r\n", b"XX"], Protocol::Http1),
            (&[b"PRI * HTTP/2.0\r\n"], Protocol::Http1),
            (&[], Protocol::Http1),
            (&[PREFACE, b"more"], Protocol::Http2),
            (&bytes, Protocol::Http2),
        ];
        for (pieces, protocol) in cases {
            assert_eq!(sniffed(pieces).await, (protocol, pieces.concat()));
        }
    }
}
