//! The process's file descriptors, of which each connection takes one.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors for all else: listeners, the database, files, connections that are being refused.
const RESERVED: usize = 256;

/// Raises the soft limit of open files to the hard one, which the system lets every process do; many
/// start their programs with a soft limit of 1,024.
///
/// # Errors
/// The operating system's error.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// How many connections the limit of open files has room for.
pub(crate) fn room() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(soft, _)| soft);
    let soft = usize::try_from(soft).unwrap_or(usize::MAX);
    soft.saturating_sub(RESERVED).max(soft / 2)
}
