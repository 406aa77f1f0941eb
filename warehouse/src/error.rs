//! What can go wrong with the database, each with the field to look at and the fix.
//!
//! Invariant: no text here quotes a password or any other part of a connection URL than host, port,
//! role and database.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use trunkline_model::names::{quote_identifier, quote_literal};
use trunkline_pgconn::{CLEAR_TEXT, TargetError, TlsError};

/// Why the warehouse as a whole could not be reached or changed.
///
/// `Display` prints one error alone; the chain of `source()` holds the server's own words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL or its certificates cannot be used.
    #[error(transparent)]
    Url(#[from] TargetError),
    /// The connection cannot be protected as `sslmode` asks.
    #[error("PostgreSQL at {address} gives no connection as sslmode asks for")]
    Tls {
        /// Host and port.
        address: String,
        /// Why, with the fix.
        #[source]
        source: TlsError,
    },
    /// 28000: no line of pg_hba.conf fits us. Servers that ask for TLS say the same.
    #[error(
        "PostgreSQL at {address} has no line in pg_hba.conf that lets role {role:?} in from here \
         with sslmode={mode}; add a line, or, where the server asks for TLS (hostssl), write \
         sslmode=verify-full in the database URL"
    )]
    NotAllowed {
        /// Host and port.
        address: String,
        /// The role that was to log in.
        role: String,
        /// How the connection was to be protected.
        mode: &'static str,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// No server answers.
    #[error(
        "no PostgreSQL answers at {address}; check host and port in the database URL and that the \
         server runs and is not overloaded ({answer})"
    )]
    Unreachable {
        /// Hosts and ports of the URL.
        address: String,
        /// What each host or the system answered.
        answer: String,
    },
    /// Hosts answer, and none of them takes writes.
    #[error(
        "no host of the database URL takes writes; name the primary too, or promote a standby \
         ({hosts})"
    )]
    NoPrimary {
        /// What each host answered.
        hosts: String,
    },
    /// 28P01.
    #[error(
        "PostgreSQL refused the password of role {role:?}; correct user or password in the \
         database URL"
    )]
    Password {
        /// The role that was to log in.
        role: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server asks for the password where others could read it.
    #[error("role {role:?} cannot log in to PostgreSQL at {address} safely: {CLEAR_TEXT}")]
    ClearText {
        /// Host and port.
        address: String,
        /// The role that was to log in.
        role: String,
    },
    /// 3D000.
    #[error(
        "database {database:?} does not exist; create it with `CREATE DATABASE {}` or correct the \
         database URL",
        quote_identifier(database)
    )]
    NoDatabase {
        /// The database of the URL.
        database: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server turned the login down for another reason.
    #[error("PostgreSQL at {address} does not let role {role:?} in")]
    Refused {
        /// Hosts and ports of the URL.
        address: String,
        /// The role that was to log in.
        role: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server is older than [`crate::OLDEST_MAJOR`].
    #[error(
        "PostgreSQL {0} is too old; use PostgreSQL {oldest} or newer",
        oldest = crate::OLDEST_MAJOR
    )]
    TooOld(i32),
    /// 25006: a standby, or a primary that takes no writes.
    #[error("the database takes no writes (a standby?); name the primary in the database URL")]
    ReadOnly(#[source] Option<tokio_postgres::Error>),
    /// A newer version of Trunkline has been here.
    #[error(
        "the layout of this database has version {found} and this program knows {known}; upgrade \
         this program (nothing was changed)"
    )]
    NewerLayout {
        /// The version in the database.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// Nothing has prepared the database.
    #[error("the layout of this database is missing or not up to date; run `ensure_layout` first")]
    NoLayout,
    /// A schema of Trunkline's own is taken by someone else.
    #[error(
        "schema {schema:?} exists and does not bear trunkline's mark; drop or rename it, or, if it \
         is meant for trunkline, run: COMMENT ON SCHEMA {} IS {}",
        quote_identifier(schema),
        quote_literal(mark)
    )]
    ForeignSchema {
        /// The schema.
        schema: String,
        /// The comment that would make it ours.
        mark: String,
    },
    /// A role that would be ours is taken by someone else.
    #[error(transparent)]
    ForeignRole(#[from] ForeignRole),
    /// Roles are to be made by an owner that may not.
    #[error(
        "role {role:?} may not create roles, which roles: Managed needs; run as an administrator: \
         {fix}, or set spec.database.roles: Owner"
    )]
    NeedsCreateRole {
        /// The owner's role.
        role: String,
        /// The statement that allows it.
        fix: String,
    },
    /// The ingesters' role, which somebody else was to make.
    #[error(
        "the ingesters' role {role:?} does not exist; create it, or correct the user in the Secret \
         that spec.database.ingestSecretRef names"
    )]
    NoIngestRole {
        /// The role.
        role: String,
    },
    /// What is to be dropped is used by somebody else.
    #[error("could not {doing}: others depend on it; drop or change first: {objects}")]
    Dependants {
        /// What was to be done.
        doing: String,
        /// What depends on it, as the server lists it.
        objects: String,
    },
    /// A view of a source's own would take the place of what somebody else has made.
    #[error(
        "relation {relation} exists and is not a view that spec.views declared; give the view \
         another name, or drop or rename that relation{}",
        adopt.as_ref().map_or_else(String::new, |sql| format!(
            ", or, if it is meant to be replaced, run: {sql}"
        ))
    )]
    ForeignView {
        /// The relation.
        relation: String,
        /// The statement that would make it ours, where it is a view.
        adopt: Option<String>,
    },
    /// A source that changed its kind of body, or that took up the rows of one with another kind.
    #[error(
        "{relation} has rows whose body is {found}, and spec.body.format makes it {wanted}; set \
         spec.body.format back, or create another source"
    )]
    OtherBody {
        /// The view.
        relation: String,
        /// The type of its column `body`.
        found: String,
        /// The type that the format asks for.
        wanted: &'static str,
    },
    /// A name that a relation of ours would have.
    #[error(
        "{relation} exists and is not trunkline's; rename or drop it, and the relation of that name \
         is made"
    )]
    ForeignRelation {
        /// The relation, with its schema.
        relation: String,
    },
    /// A source that was asked for is not in the catalog.
    #[error(
        "there is no source {source_name} in this database; there are: {}",
        known.join(", ")
    )]
    UnknownSource {
        /// namespace/name.
        source_name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A password that no login can have.
    #[error("the ingest password is empty or has a NUL byte; choose another one")]
    UnusablePassword,
    /// 42501.
    #[error("role {role:?} may not {doing}; run as its administrator: {fix}")]
    Denied {
        /// The owner's role.
        role: String,
        /// What was to be done.
        doing: String,
        /// The statement that allows it.
        fix: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Others hold locks that a step needs, and did not let go.
    #[error("could not {doing}: other sessions hold the lock; it is safe to try again")]
    Locked {
        /// What was to be done.
        doing: String,
    },
    /// The server refused a statement.
    #[error("could not {doing}")]
    Statement {
        /// What was to be done.
        doing: String,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The connection ended under a statement.
    #[error("the connection to PostgreSQL broke while trying to {doing}; it is safe to try again")]
    ConnectionLost {
        /// What was to be done.
        doing: String,
        /// What the driver saw.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The database's clock shows a year that no calendar of ours reaches.
    #[error("the clock of the database server says {0}; set it right")]
    Clock(String),
    /// A query that always gives a row gave none.
    #[error("PostgreSQL gave no answer when asked to {doing}; is a proxy in between?")]
    NoRow {
        /// What was to be done.
        doing: String,
    },
    /// The server did not answer a statement.
    #[error(
        "PostgreSQL did not answer within {} s while trying to {doing}; it is safe to try again",
        within.as_secs()
    )]
    Unanswered {
        /// What was to be done.
        doing: String,
        /// How long was waited.
        within: Duration,
    },
}

impl Error {
    /// Sorts an error of a statement.
    pub(crate) fn statement(doing: &str, source: tokio_postgres::Error) -> Self {
        let doing = doing.to_owned();
        match source.code() {
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Self::ReadOnly(Some(source)),
            // The server ended the session: shutdown, crash recovery, an administrator.
            Some(
                &SqlState::ADMIN_SHUTDOWN
                | &SqlState::CRASH_SHUTDOWN
                | &SqlState::CANNOT_CONNECT_NOW
                | &SqlState::IDLE_SESSION_TIMEOUT
                | &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            )
            | None => Self::ConnectionLost { doing, source },
            Some(_) => Self::Statement { doing, source },
        }
    }

    /// The SQLSTATE of the server's answer, when that is what the error is about.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Statement { source, .. } | Self::Denied { source, .. } => source.code(),
            _ => None,
        }
    }

    /// Others' objects that keep an object from being dropped, as the server lists them; None of any other
    /// error.
    pub(crate) fn dependants(&self) -> Option<String> {
        match self {
            Self::Statement { source, .. }
                if source.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) =>
            {
                Some(dependants(source))
            }
            _ => None,
        }
    }

    /// Whether a table that it concerns was dropped meanwhile.
    pub(crate) fn is_gone(&self) -> bool {
        self.code() == Some(&SqlState::UNDEFINED_TABLE)
    }

    /// Whether it concerns the one object that was being changed, so that others can go on.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Statement { .. }
                | Self::Denied { .. }
                | Self::Locked { .. }
                | Self::OtherBody { .. }
                | Self::ForeignRelation { .. }
                | Self::ForeignView { .. }
                | Self::ForeignRole(_)
        )
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What depends on an object that the server would not drop: "view a.b depends on view c.events",
/// one a line.
fn dependants(error: &tokio_postgres::Error) -> String {
    let detail = error
        .as_db_error()
        .and_then(|error| error.detail())
        .unwrap_or("unknown objects");
    let names: Vec<_> = detail
        .lines()
        .map(|line| line.split(" depends on ").next().unwrap_or(line))
        .collect();
    names.join(", ")
}

/// A role has a name that Trunkline would give, and someone else made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "role {role:?} exists and does not bear trunkline's mark; drop or rename it, or, if it is \
     meant for this database, run: COMMENT ON ROLE {} IS {}",
    quote_identifier(role),
    quote_literal(mark)
)]
pub struct ForeignRole {
    /// The role.
    pub role: String,
    /// The comment that would make it ours.
    pub mark: String,
}
