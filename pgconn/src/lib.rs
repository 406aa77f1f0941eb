//! The way to a PostgreSQL server: which hosts, with which protection, as whom.
//!
//! The owner's statements (`warehouse`) and the commit path (`ingester`) speak differently once
//! they are logged in, and reach the server in the same way:
//!
//! 1. [`Target`] reads a URL as libpq does, with its certificates.
//! 2. [`Endpoint::addresses`] resolves a host; each address is tried.
//! 3. [`Target::dial`] opens a stream to one address, with TLS as `sslmode` says.
//! 4. [`connect`] logs in with the usual driver; the commit path logs in by itself.
//!
//! Invariants: protection that a URL asks for is never ignored: what cannot be honoured is refused.
//! A password travels in clear text where nobody can read it only.
//! Neither an error nor `Debug` shows any part of a URL, since a wrongly encoded password can end
//! up in any of its parts.

mod binding;
mod connector;
mod dial;
mod driver;
mod files;
mod guard;
mod parameters;
mod stream;
mod target;
mod url;
mod verify;

pub use dial::{Address, DialError, TlsError};
pub use driver::{ConnectError, Connected, HostError, connect};
pub use files::{FileError, read_files};
pub use guard::CLEAR_TEXT;
pub use parameters::add_missing;
pub use stream::{ReadHalf, Stream, WriteHalf};
pub use target::{ChannelBinding, Endpoint, SslMode, Target, TargetError};
