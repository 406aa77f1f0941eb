//! What the operating system lets a test use.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process and those that it starts hold `count` files and sockets at once.
///
/// # Panics
/// Where the hard limit is lower and may not be raised.
pub fn allow_files(count: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft >= count {
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, count, hard.max(count))
        .unwrap_or_else(|error| panic!("{count} open files: {error}; raise ulimit -n"));
}
