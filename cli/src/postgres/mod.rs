//! A private PostgreSQL from the machine's own binaries, for `trunkline dev` and for tests.
//!
//! The way of a start: [`Installation::find`] locates the binaries, `DataDir` opens and locks the
//! folder, `init` fills an empty one or copies a [`Template`], `postmaster` runs the server, [`PrivatePostgres`] holds them
//! together and answers once a connection works.
//!
//! Invariants: the server listens on 127.0.0.1 alone and always asks for a password; a folder that
//! Trunkline did not make is never written to; the server does not outlive the process that started
//! it, even when that one is killed.

mod account;
mod data_dir;
mod error;
mod find;
mod init;
mod orphan;
mod postmaster;
mod private;
mod ready;
mod template;
#[cfg(test)]
mod tests;
mod watchdog;

pub use error::Error;
pub use find::Installation;
pub use private::{Options, PrivatePostgres};
pub use template::Template;

/// The oldest major version that Trunkline works with.
pub const OLDEST_MAJOR: u32 = 14;

/// The database that every private server holds and that [`PrivatePostgres::url`] names.
pub const DATABASE: &str = "trunkline";

/// The superuser that `initdb` creates.
pub(crate) const SUPERUSER: &str = "postgres";
