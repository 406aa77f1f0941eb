//! Runs a test once more within Linux namespaces of its own, which end with it.

use std::process::Command;

/// Set in the process that runs within them.
const INSIDE: &str = "TRUNKLINE_TEST_INSIDE";

/// Whether this process has namespaces of its own. When it has none, the calling test, whose name
/// is `test`, has been run in one that has when this returns.
///
/// `kind` is the option of unshare that makes them. Root needs nothing else; other users need a
/// kernel that lets them make user namespaces.
///
/// # Panics
/// When the test fails there.
pub(crate) fn is_inside(kind: &str, test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let rights: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &[],
        // PostgreSQL refuses to run as root, even as one that is root nowhere else.
        false => &["--user", "--map-current-user", "--keep-caps"],
    };
    let output = Command::new("unshare")
        .args(rights)
        .arg(kind)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .expect("unshare, of the package util-linux");
    let (out, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{out}{errors}");
    assert!(
        output.status.success(),
        "the test failed in its own namespace, or there was none: run it as root, or let users \
         make namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    );
    // A wrong name would run no test and succeed.
    assert!(out.contains("test result: ok. 1 passed"), "no test {test}");
    false
}

/// Runs a program to its end.
///
/// # Panics
/// When it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    // Some are in /usr/sbin, which is not on every user's PATH. The lock file of iptables is not
    // everyone's to write, and two who change tables of different networks need none.
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("XTABLES_LOCKFILE", "/dev/null")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/install test installs it"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}
