//! One connection that speaks PostgreSQL's protocol, version 3.
//!
//! A driver is not used here, because its COPY prepares a named statement, which PgBouncer's
//! transaction pooling breaks, and waits for several answers. A commit of ours is one flight: the
//! simple Query `BEGIN; …; COPY …; COMMIT` and the whole COPY stream behind it, without waiting for
//! CopyInResponse. (Where repeats are not stored, it is two: see [`super::unseen`].) After an error the server ignores the rest of the stream (protocol
//! documentation, "COPY Operations") and never comes to COMMIT.
//!
//! Invariants: [`Reply::committed`] is true only when the server has sent the tag COMMIT (it says
//! ROLLBACK when it ends a failed transaction). While a flight is sent, answers are read, so that
//! neither side waits for the other with full buffers.

use std::io;

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::backend::{ErrorFields, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::fallible_iterator::FallibleIterator;
use trunkline_pgconn::{ReadHalf, Stream, WriteHalf};

use super::failure::{Failure, ServerError};

/// What comes before the tuples: signature, no flags, no header extension.
const COPY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What comes after the tuples: a count of fields of -1.
const COPY_TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Bound on one CopyData message, since the server holds a whole message in memory.
const COPY_DATA_BYTES: usize = 256 << 10;

/// Up to this much is gathered into one write; what is larger is written from where it lies.
const GATHERED_BYTES: usize = 64 << 10;

/// How much the read buffer grows when it is full.
const READ_BYTES: usize = 4 << 10;

/// A connection whose server has been logged in to, or is being logged in to.
pub(super) struct Connection {
    reader: ReadHalf,
    incoming: BytesMut,
    sender: Sender,
}

struct Sender {
    writer: WriteHalf,
    outgoing: BytesMut,
}

/// Everything that the server said to one Query.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The first error; nothing of the Query after it has run.
    pub(super) error: Option<ServerError>,
    /// Rows that COPY stored, by its command tag.
    pub(super) copied: Option<u64>,
    /// Whether COMMIT has succeeded.
    pub(super) committed: bool,
    /// Whether a WARNING came between the end of COPY and the end of COMMIT. A cancelled wait for
    /// a synchronous standby is told in this way only.
    pub(super) warned_at_commit: bool,
    /// Whether a WARNING came at all.
    pub(super) warned: bool,
    /// Whether the server has been left in a transaction.
    pub(super) in_transaction: bool,
    /// Rows of a SELECT, as text.
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        let (reader, writer) = stream.into_split();
        let sender = Sender {
            writer,
            outgoing: BytesMut::with_capacity(GATHERED_BYTES),
        };
        Self {
            reader,
            incoming: BytesMut::with_capacity(READ_BYTES),
            sender,
        }
    }

    /// Sends a message that `write` makes.
    pub(super) async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), Failure> {
        write(&mut self.sender.outgoing)?;
        Ok(self.sender.flush().await?)
    }

    /// The next message, whatever it is. Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self) -> Result<Message, Failure> {
        receive(&mut self.reader, &mut self.incoming).await
    }

    /// Runs statements that take no data. An error of the server is in the reply.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Reply, Failure> {
        self.send(|out| frontend::query(sql, out)).await?;
        reply(&mut self.reader, &mut self.incoming).await
    }

    /// Runs statements of which one is a COPY FROM STDIN of `tuples`, in one flight.
    pub(super) async fn copy(&mut self, sql: &str, tuples: &[&[u8]]) -> Result<Reply, Failure> {
        let Self {
            reader,
            incoming,
            sender,
        } = self;
        let mut sending = std::pin::pin!(sender.copy(sql, tuples));
        let mut replying = std::pin::pin!(reply(reader, incoming));
        let mut is_sent = false;
        loop {
            tokio::select! {
                sent = &mut sending, if !is_sent => {
                    is_sent = true;
                    if sent.is_err() {
                        // The server's last words tell more than a broken pipe.
                        return replying.await;
                    }
                }
                reply = &mut replying => {
                    if reply.is_ok() && !is_sent {
                        // An early error. The server still reads the stream, and the next Query
                        // must not begin in its middle.
                        sending.await?;
                    }
                    return reply;
                }
            }
        }
    }

    /// Waits until the server ends an idle connection, or says that it takes no more writes.
    pub(super) async fn ended(&mut self) -> Failure {
        loop {
            match self.receive().await {
                Ok(Message::ErrorResponse(body)) => match server_error(&mut body.fields()) {
                    Ok(error) => return Failure::Server(error),
                    Err(failure) => return failure,
                },
                Ok(Message::ParameterStatus(body)) => match (body.name(), body.value()) {
                    (Ok("in_hot_standby"), Ok("on")) => return Failure::Standby,
                    (Ok("default_transaction_read_only"), Ok("on")) => return Failure::ReadOnly,
                    _ => {}
                },
                // A notice.
                Ok(_) => {}
                Err(failure) => return failure,
            }
        }
    }

    /// Says goodbye, so that the server does not log a lost connection.
    pub(super) async fn terminate(mut self) {
        let goodbye = |out: &mut BytesMut| {
            frontend::terminate(out);
            Ok(())
        };
        // The connection is given up in any case.
        let _ = self.send(goodbye).await;
        let _ = self.sender.writer.shutdown().await;
    }
}

impl Sender {
    async fn flush(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        self.writer.flush().await
    }

    async fn copy(&mut self, sql: &str, tuples: &[&[u8]]) -> io::Result<()> {
        frontend::query(sql, &mut self.outgoing)?;
        self.data(COPY_HEADER).await?;
        for tuple in tuples {
            for part in tuple.chunks(COPY_DATA_BYTES) {
                self.data(part).await?;
            }
        }
        self.data(&COPY_TRAILER).await?;
        frontend::copy_done(&mut self.outgoing);
        self.flush().await
    }

    /// One CopyData message. Tuples may be cut anywhere: COPY sees one stream.
    async fn data(&mut self, part: &[u8]) -> io::Result<()> {
        let length = i32::try_from(part.len() + 4).map_err(io::Error::other)?;
        self.outgoing.put_u8(b'd');
        self.outgoing.put_i32(length);
        if self.outgoing.len() + part.len() <= GATHERED_BYTES {
            self.outgoing.put_slice(part);
            return Ok(());
        }
        self.writer.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        if part.len() <= GATHERED_BYTES / 2 {
            self.outgoing.put_slice(part);
            return Ok(());
        }
        self.writer.write_all(part).await
    }
}

async fn receive(reader: &mut ReadHalf, incoming: &mut BytesMut) -> Result<Message, Failure> {
    loop {
        if let Some(message) = Message::parse(incoming)? {
            return Ok(message);
        }
        incoming.reserve(READ_BYTES);
        if reader.read_buf(incoming).await? == 0 {
            return Err(Failure::Closed);
        }
    }
}

/// Reads until the server is ready for the next Query.
async fn reply(reader: &mut ReadHalf, incoming: &mut BytesMut) -> Result<Reply, Failure> {
    let mut reply = Reply::default();
    loop {
        match receive(reader, incoming).await? {
            Message::ErrorResponse(body) => {
                let error = server_error(&mut body.fields())?;
                if error.is_fatal {
                    return Err(Failure::Server(error));
                }
                reply.error.get_or_insert(error);
            }
            Message::CommandComplete(body) => {
                let tag = body.tag()?;
                if let Some(rows) = tag.strip_prefix("COPY ") {
                    reply.copied = rows.parse().ok();
                }
                reply.committed |= tag == "COMMIT";
            }
            Message::NoticeResponse(body) => {
                let is_at_commit = reply.copied.is_some() && !reply.committed;
                let is_warning = is_warning(&mut body.fields())?;
                reply.warned |= is_warning;
                reply.warned_at_commit |= is_at_commit && is_warning;
            }
            Message::DataRow(body) => {
                let text = |range: std::ops::Range<usize>| {
                    body.buffer()
                        .get(range)
                        .map(|value| String::from_utf8_lossy(value).into_owned())
                };
                let row = body
                    .ranges()
                    .map(|range| Ok(range.and_then(text)))
                    .collect()?;
                reply.rows.push(row);
            }
            Message::ReadyForQuery(body) => {
                reply.in_transaction = body.status() != b'I';
                return Ok(reply);
            }
            Message::CopyInResponse(_)
            | Message::RowDescription(_)
            | Message::EmptyQueryResponse
            | Message::ParameterStatus(_)
            | Message::NotificationResponse(_) => {}
            _ => {
                return Err(Failure::Protocol(
                    "a message of the extended query protocol",
                ));
            }
        }
    }
}

pub(super) fn server_error(fields: &mut ErrorFields<'_>) -> Result<ServerError, Failure> {
    let mut error = ServerError {
        code: SqlState::INTERNAL_ERROR,
        is_fatal: false,
        message: String::new(),
        constraint: None,
    };
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes());
        match field.type_() {
            b'C' => error.code = SqlState::from_code(&value),
            b'M' => error.message = value.into_owned(),
            b'n' => error.constraint = Some(value.into_owned()),
            // The severity that is never translated.
            b'V' => error.is_fatal = matches!(&*value, "FATAL" | "PANIC"),
            _ => {}
        }
    }
    Ok(error)
}

fn is_warning(fields: &mut ErrorFields<'_>) -> Result<bool, Failure> {
    while let Some(field) = fields.next()? {
        if field.type_() == b'V' {
            return Ok(field.value_bytes() == b"WARNING");
        }
    }
    Ok(false)
}
