//! What can go wrong on a connection, and whose fault an SQLSTATE is.

use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use trunkline_pgconn::DialError;

/// A failure of a connection or of a statement on it. `Display` is fit for the owner: it shows no
/// part of a row.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server said no.
    #[error(transparent)]
    Server(ServerError),
    /// The network said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no stream to the server.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server ended the connection without a word.
    #[error("the server closed the connection")]
    Closed,
    /// The server does not speak as we expect.
    #[error("the server sent what the protocol does not allow here: {0}")]
    Protocol(&'static str),
    /// The server asks for a way to log in that we refuse.
    #[error("{0}")]
    Login(&'static str),
    /// A standby, which takes no writes.
    #[error("the server is a standby in recovery and takes no writes")]
    Standby,
    /// A server that an administrator has closed for writes.
    #[error("the server takes no writes, since default_transaction_read_only is on")]
    ReadOnly,
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
}

/// An ErrorResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) code: SqlState,
    /// FATAL or PANIC: the server closes the connection.
    pub(super) is_fatal: bool,
    /// The primary message. It may quote a row; only `Display` decides whether to show it.
    pub(super) message: String,
    /// The constraint, or the index, that a row does not obey.
    pub(super) constraint: Option<String>,
}

impl std::error::Error for ServerError {}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // These classes speak of connections, settings and names of relations. Others, class 22
        // above all, quote the value that they refuse.
        const SPEAKS_OF_NO_ROW: [&str; 10] =
            ["08", "25", "28", "3D", "3F", "42", "53", "55", "57", "58"];
        let code = self.code.code();
        if code
            .get(..2)
            .is_some_and(|class| SPEAKS_OF_NO_ROW.contains(&class))
        {
            write!(f, "{} (SQLSTATE {code})", self.message)
        } else {
            write!(f, "SQLSTATE {code}")
        }
    }
}

/// What an SQLSTATE that ended a COPY asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A row of the batch is to blame; the others can be committed without it.
    Row,
    /// The transaction failed for a passing reason; the connection is as good as before.
    Passing,
    /// The server takes no writes of ours as things are; connect again and look.
    Server,
}

impl Fault {
    pub(super) fn of(error: &ServerError) -> Self {
        if error.is_fatal {
            return Self::Server;
        }
        // Class 22, but not a fault of any single row: these say that the server does not
        // understand our encoding (a column of another type, for instance).
        let ours = [
            SqlState::BAD_COPY_FILE_FORMAT,
            SqlState::INVALID_BINARY_REPRESENTATION,
        ];
        if ours.contains(&error.code) {
            return Self::Server;
        }
        match error.code.code().get(..2) {
            // Data exception, integrity constraint (23514 is also "no partition"), limit exceeded.
            Some("22" | "23" | "54") => Self::Row,
            // Serialization or deadlock, insufficient resources, object in use.
            Some("40" | "53" | "55") => Self::Passing,
            _ if error.code == SqlState::QUERY_CANCELED => Self::Passing,
            _ => Self::Server,
        }
    }
}

#[cfg(test)]
impl ServerError {
    /// One of that SQLSTATE, whose message quotes a row.
    pub(super) fn coded(code: &str) -> Self {
        Self {
            code: SqlState::from_code(code),
            is_fatal: false,
            message: "value \"personal\"".to_owned(),
            constraint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_faults_lead_to_a_search_among_the_rows() {
        let cases = [
            ("22P05", Fault::Row),
            ("22P02", Fault::Row),
            ("22021", Fault::Row),
            ("22003", Fault::Row),
            ("54001", Fault::Row),
            ("23514", Fault::Row),
            ("22P04", Fault::Server),
            ("22P03", Fault::Server),
            ("42501", Fault::Server),
            ("42P01", Fault::Server),
            ("25006", Fault::Server),
            ("57P01", Fault::Server),
            ("XX000", Fault::Server),
            ("57014", Fault::Passing),
            ("53100", Fault::Passing),
            ("40P01", Fault::Passing),
        ];
        for (code, fault) in cases {
            assert_eq!(Fault::of(&ServerError::coded(code)), fault, "{code}");
        }
        let fatal = ServerError {
            is_fatal: true,
            ..ServerError::coded("53300")
        };
        assert_eq!(Fault::of(&fatal), Fault::Server);
    }

    #[test]
    fn a_message_that_may_quote_a_row_is_not_shown() {
        for code in ["22P02", "23514", "P0001", "54000"] {
            assert_eq!(
                ServerError::coded(code).to_string(),
                format!("SQLSTATE {code}")
            );
        }
        assert_eq!(
            ServerError::coded("42501").to_string(),
            "value \"personal\" (SQLSTATE 42501)"
        );
    }
}
