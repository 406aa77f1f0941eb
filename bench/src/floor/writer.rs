//! Writers: each a thread with one connection, which takes what gathered while its last COPY ran.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio::sync::{Notify, oneshot};
use tokio_postgres::{Client, NoTls, Statement};
use trunkline_model::columns;

/// Signature, no flags, no header extension (PostgreSQL documentation, COPY, "Binary Format").
const COPY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A count of fields of -1 ends the stream.
const COPY_TRAILER: i16 = -1;

/// Requests in one commit at most.
const MAX_BATCH: usize = 5_000;

struct Waiting {
    rows: BytesMut,
    answer: oneshot::Sender<bool>,
}

/// Where requests wait for a writer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    arrival: Notify,
}

impl Queue {
    /// Whether the rows were committed.
    pub(crate) async fn commit(&self, rows: BytesMut) -> bool {
        let (answer, answered) = oneshot::channel();
        self.lock().push(Waiting { rows, answer });
        self.arrival.notify_one();
        answered.await.unwrap_or(false)
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        if waiting.len() <= MAX_BATCH {
            return std::mem::take(&mut *waiting);
        }
        let batch = waiting.drain(..MAX_BATCH).collect();
        self.arrival.notify_one();
        batch
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, then starts the thread.
pub(crate) fn start(number: usize, url: &str, queue: &Arc<Queue>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (client, statement) = runtime.block_on(connect(url))?;
    let queue = Arc::clone(queue);
    thread::Builder::new()
        .name(format!("writer-{number}"))
        .spawn(move || runtime.block_on(write(&client, &statement, &queue)))?;
    Ok(())
}

async fn connect(url: &str) -> anyhow::Result<(Client, Statement)> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.options("-c synchronous_commit=on");
    let (client, connection) = config.connect(NoTls).await.context("connecting")?;
    tokio::spawn(connection);
    let names: Vec<_> = columns::copied()
        .map(|spec| format!("\"{}\"", spec.name))
        .collect();
    let copy = format!(
        "COPY trunkline.events ({}) FROM STDIN (FORMAT binary)",
        names.join(", ")
    );
    let statement = client.prepare(&copy).await?;
    Ok((client, statement))
}

async fn write(client: &Client, statement: &Statement, queue: &Queue) {
    loop {
        let batch = queue.take();
        if batch.is_empty() {
            queue.arrival.notified().await;
            continue;
        }
        let bytes = batch
            .iter()
            .map(|waiting| waiting.rows.len())
            .sum::<usize>();
        let mut stream = BytesMut::with_capacity(bytes + 21);
        stream.put_slice(COPY_HEADER);
        for waiting in &batch {
            stream.put_slice(&waiting.rows);
        }
        stream.put_i16(COPY_TRAILER);
        let is_committed = copy(client, statement, stream.freeze()).await.is_ok();
        for waiting in batch {
            // An error means that the sender has gone.
            let _ = waiting.answer.send(is_committed);
        }
    }
}

/// A COPY outside of a transaction block is one transaction: it has been committed when this
/// returns.
async fn copy(
    client: &Client,
    statement: &Statement,
    stream: Bytes,
) -> Result<(), tokio_postgres::Error> {
    let sink = client.copy_in(statement).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(stream).await?;
    sink.finish().await?;
    Ok(())
}
