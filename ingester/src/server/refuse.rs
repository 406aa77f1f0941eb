//! How a connection is turned away for which there is no place.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// What is told before the connection is closed. Nothing of its request has been read.
const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 19\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    \r\n\
    service unavailable";

/// How long a peer is waited for to read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// What is discarded meanwhile, in reads of 4 KiB.
const LINGER_READS: usize = 16;

/// Connections that linger at once; beyond them the answer may be lost in a reset.
const LINGERING: usize = 64;

/// Turns connections away.
#[derive(Debug)]
pub(super) struct Refuser {
    places: Arc<Semaphore>,
}

impl Refuser {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(LINGERING)),
        }
    }

    /// Answers with 503 and closes.
    pub(super) fn refuse(&self, mut stream: TcpStream, tasks: &TaskTracker) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // It goes into the socket's empty buffer whole, or not at all.
            let _ = stream
                .into_std()
                .and_then(|mut stream| stream.write(ANSWER));
            return;
        };
        tasks.spawn(async move {
            let answer = async {
                stream.write_all(ANSWER).await?;
                stream.shutdown().await?;
                // What is closed with unread bytes is reset, and the reset overtakes the answer.
                let mut discarded = [0; 4 << 10];
                for _ in 0..LINGER_READS {
                    if stream.read(&mut discarded).await? == 0 {
                        break;
                    }
                }
                std::io::Result::Ok(())
            };
            // The peer went away, or is too slow.
            let _ = timeout(LINGER, answer).await;
            drop(place);
        });
    }
}
