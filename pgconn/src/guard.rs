//! Keeps the driver from sending a password in clear text where others can read it.
//!
//! The driver answers whatever way to log in the server asks for, and whoever sits between us and a
//! server can ask for any. Pure: bytes from the server in, a verdict out.
//!
//! Invariant: no byte of a request for the password is passed on after which the driver could
//! answer it.

use std::io;

/// What is said instead of the password.
pub const CLEAR_TEXT: &str = "the server asks for the password in clear text over a connection \
     without TLS; set scram-sha-256 in its pg_hba.conf, or let it speak TLS and set \
     sslmode=require or stronger in the database URL";

/// A message of authentication: its type, its length, and what it asks for (protocol
/// documentation, "Message Formats").
const AUTHENTICATION: u8 = b'R';

/// `AuthenticationOk`: nothing is asked any more.
const OK: [u8; 4] = 0_u32.to_be_bytes();

/// `AuthenticationCleartextPassword`.
const CLEAR_TEXT_PASSWORD: [u8; 4] = 3_u32.to_be_bytes();

/// The error of a stream whose server has asked.
#[derive(Debug, thiserror::Error)]
#[error("{CLEAR_TEXT}")]
pub(crate) struct ClearText;

impl ClearText {
    /// Whether this is what ended a login.
    pub(crate) fn ended(login: &tokio_postgres::Error) -> bool {
        let cause = std::error::Error::source(login);
        cause
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .and_then(io::Error::get_ref)
            .is_some_and(|cause| cause.is::<Self>())
    }
}

/// Follows what a server says until the login has ended.
#[derive(Debug, Default)]
pub(crate) struct LoginGuard {
    /// The head of the message that is arriving.
    head: Vec<u8>,
    /// Bytes of its body that are still to come.
    body: usize,
    is_over: bool,
}

impl LoginGuard {
    /// Looks at the next bytes before anyone acts on them.
    ///
    /// # Errors
    /// [`ClearText`].
    pub(crate) fn look(&mut self, mut bytes: &[u8]) -> Result<(), ClearText> {
        while !self.is_over && !bytes.is_empty() {
            if self.body > 0 {
                let (_, rest) = bytes.split_at(self.body.min(bytes.len()));
                self.body -= bytes.len() - rest.len();
                bytes = rest;
                continue;
            }
            let (next, rest) = bytes.split_at(1);
            self.head.extend_from_slice(next);
            bytes = rest;
            self.judge()?;
        }
        Ok(())
    }

    /// Decides about a head once it is complete.
    fn judge(&mut self) -> Result<(), ClearText> {
        let [kind, a, b, c, d, asked @ ..] = self.head.as_slice() else {
            return Ok(());
        };
        if *kind == AUTHENTICATION && asked.len() < OK.len() {
            return Ok(());
        }
        if asked == CLEAR_TEXT_PASSWORD {
            return Err(ClearText);
        }
        self.is_over = asked == OK;
        // A length counts itself.
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.body = length.saturating_sub(self.head.len() - 1);
        self.head.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn asks(what: u32, rest: &[u8]) -> Vec<u8> {
        message(AUTHENTICATION, &[&what.to_be_bytes(), rest].concat())
    }

    fn verdict(messages: &[Vec<u8>], chunk: usize) -> bool {
        let mut guard = LoginGuard::default();
        messages
            .concat()
            .chunks(chunk)
            .all(|bytes| guard.look(bytes).is_ok())
    }

    #[test]
    fn a_request_for_the_password_is_seen_however_it_arrives() {
        // Before it may come a notice, and word of a protocol version that the server lacks.
        let notice = message(b'N', b"SNOTICE\0R\0\0\0\x08\0\0\0\x03\0");
        let version = message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0]);
        for before in [vec![], vec![notice.clone()], vec![version, notice]] {
            for chunk in 1..=40 {
                let request = |what| [before.clone(), vec![asks(what, b"")]].concat();
                assert!(!verdict(&request(3), chunk), "{chunk}");
                // MD5, and SCRAM.
                assert!(verdict(&request(5), chunk), "{chunk}");
                assert!(verdict(&request(10), chunk), "{chunk}");
            }
        }
    }

    #[test]
    fn no_later_request_goes_through_before_the_login_is_over() {
        let scram = [asks(10, b"SCRAM-SHA-256\0\0"), asks(11, b"r=1")];
        for chunk in 1..=40 {
            let later = [&scram[..], &[asks(3, b"")]].concat();
            assert!(!verdict(&later, chunk), "{chunk}");
            // From then on it is data.
            let over = [&scram[..], &[asks(12, b"v=1"), asks(0, b""), asks(3, b"")]].concat();
            assert!(verdict(&over, chunk), "{chunk}");
        }
    }
}
